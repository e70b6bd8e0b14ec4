"""What is asked of the books before anything is reserved."""

from typing import Any

import pytest

from headgate_control.budgets.amount import Amount, Limits
from headgate_control.budgets.budget import Budget, Mode
from headgate_control.budgets.ledger import Ledger
from headgate_control.budgets.question import question_of

EVERY = Amount(nano_usd=10, tokens=10, calls=10, duration_ms=10)


def _books(limits: Limits, *, settled: Amount, reserved: Amount, mode: Mode = "hard") -> Ledger:
    books = Ledger()
    books.set(Budget(budget_id="b", place=("team", "payments"), window="total", limits=limits, mode=mode))
    books.restore("b", "", settled)
    held = books.quote("r", [("team", "payments")], reserved, at_unix_nano=0, expires_unix_nano=9).reservation
    assert held is not None
    books.hold(held)
    return books


@pytest.mark.parametrize(
    ("action", "is_read", "limits", "context", "expected"),
    [
        ("model.call", False, Limits(nano_usd=20), {}, "is spent: $0.00 left of $0.00000002"),
        ("model.call", False, Limits(calls=20), {}, "1 calls wanted, 0 calls left of 20 calls"),
        ("model.call", False, Limits(calls=21), {}, None),
        ("model.call", False, Limits(tokens=30), {"tokens_est": 11}, "11 tokens wanted, 10 tokens left of 30 tokens"),
        ("tools/call", False, Limits(nano_usd=20), {}, None),
        ("tools/call", False, Limits(nano_usd=20), {"cost_est": "0.00000001"}, "$0.00000001 wanted, $0.00 left"),
        ("tools/call", False, Limits(duration_ms=10), {}, "is spent: 0 s left of 0.01 s"),
        ("tools/call", False, Limits(calls=10), {}, None),
        ("file.read", True, Limits(nano_usd=10), {}, None),
    ],
)
def test_a_question_is_refused_by_what_it_says_and_by_what_is_gone(
    action: str, is_read: bool, limits: Limits, context: dict[str, Any], expected: str | None
) -> None:
    """Ten of each unit are settled and ten reserved by open calls, which only calls of models wait for."""
    reserved = EVERY if limits.duration_ms is None and limits.calls != 10 and not is_read else Amount()
    books = _books(limits, settled=EVERY, reserved=reserved)
    question = question_of(action, context, is_read=is_read)
    refused = books.look([("team", "payments")], question, at_unix_nano=0).refused
    assert (expected is None, True) == (refused is None, expected is None or expected in str(refused))


def test_a_soft_budget_warns_of_a_question_and_refuses_nothing() -> None:
    """Whatever is left of it, and nothing is reserved."""
    books = _books(Limits(nano_usd=10), settled=EVERY, reserved=Amount(), mode="soft")
    answer = books.look(
        [("team", "payments")], question_of("model.call", {"cost_est": 1}, is_read=False), at_unix_nano=0
    )
    assert (None, None, 1, 1) == (answer.reservation, answer.refused, len(answer.warnings), len(list(books.open())))
