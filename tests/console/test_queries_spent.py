"""What a new budget begins with: what the calls of its scope have spent in its window."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from headgate_console.queries.spent import SpentBefore, begins_before, spent_before

Make = Callable[..., dict[str, Any]]
NOW = 1_763_000_000_000_000_000
HOUR = 3_600 * 1_000_000_000


@pytest.fixture
def spent(views: Any, session_row: Make, call_row: Make) -> Any:
    """Calls of two teams, an hour, a day and a month ago; one was denied, one kept, one failed, one has no price."""
    own = {"start_time_unix_nano": NOW, "duration_ns": 1_500_000_000, "request_model": "gpt-5", "provider": "openai"}
    calls = [
        {**own, "user_id": "ada", "instance_id": "ai-1", "task_class": "bugfix"},
        {**own, "team": "search", "workflow": "index"},
        {**own, "cost_usd": None, "input_tokens": None},
        {**own, "start_time_unix_nano": NOW - HOUR, "session_id": "dd" * 16},
        {**own, "start_time_unix_nano": NOW - 24 * HOUR},
        {**own, "start_time_unix_nano": NOW - 24 * 31 * HOUR},
        {**own, "status": "denied", "cost_usd": None},
        {**own, "status": "error", "cost_usd": None, "input_tokens": None, "output_tokens": None},
        {**own, "response_cache_hit": True, "cost_usd": Decimal(0)},
    ]
    rows = [call_row(model_call_id=f"c{at}", **one) for at, one in enumerate(calls)]
    return views({"sessions": [session_row()], "model_calls": rows})


@pytest.mark.parametrize(
    ("whose", "window", "expected"),
    [
        (("team", "payments"), "hour", (3, "0.01", 1)),
        (("team", "payments"), "day", (4, "0.02", 1)),
        (("team", "payments"), "month", (5, "0.03", 1)),
        (("platform", None), "hour", (4, "0.02", 1)),
        (("workflow", "index"), "day", (1, "0.01", 0)),
        (("user", "ada"), "day", (1, "0.01", 0)),
        (("task_class", "bugfix"), "day", (1, "0.01", 0)),
        (("instance", "ai-1"), "total", (1, "0.01", 0)),
        (("session", "thread-1"), "total", (6, "0.04", 1)),
        (("model", "openai/gpt-5"), "hour", (4, "0.02", 1)),
        (("team", "nobody"), "day", (0, "0", 0)),
    ],
)
def test_a_scope_has_spent_what_its_calls_have_cost_in_the_window(
    spent: Any, whose: tuple[str, str | None], window: str, expected: tuple[int, str, int]
) -> None:
    """In UTC; denied calls and kept answers are none, and what nobody knows is counted apart."""
    found = spent_before(spent, *whose, window, NOW)
    calls, usd, unpriced = expected
    assert (calls, Decimal(usd), unpriced) == (found.calls, found.usd, found.unpriced)


def test_tokens_and_time_are_added_up(spent: Any) -> None:
    """Those that are known."""
    expected = SpentBefore(usd=Decimal("0.01"), tokens=1200, calls=3, duration_ms=4500, unpriced=1)
    assert expected == spent_before(spent, "team", "payments", "hour", NOW)


@pytest.mark.parametrize(
    ("scope", "window", "expected"),
    [("team", "day", True), ("team", "total", False), ("instance", "total", True), ("session", "total", True)],
)
def test_a_budget_in_total_looks_back_on_what_lives_but_once(scope: str, window: str, expected: bool) -> None:
    """Of everything else it is what may be spent from now on."""
    assert expected == begins_before(scope, window)
