"""The budget owner: whatever moment it dies at, its books are those of its answers."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from headgate_control.audit.log import LogConfig, log_faults
from headgate_control.budgets.amount import Amount, Limits
from headgate_control.budgets.budget import Budget
from headgate_control.budgets.ledger import Account
from headgate_control.budgets.owner import ENTRIES_BETWEEN_BOOKS, BudgetOwner
from headgate_control.budgets.written import VALUE_MAX
from headgate_processors.errors import StoreError, TransientError

BUDGET = Budget(budget_id="b", place=("team", "payments"), window="total", limits=Limits(tokens=1_000_000))
TEAM = [BUDGET.place]
DEATHS = 5


def owner(folder: Path, config: LogConfig | None = None) -> BudgetOwner:
    """The owner of one budget."""
    return BudgetOwner.open(folder, [BUDGET], config)


def reserve(books: BudgetOwner, name: str, tokens: int, *, instead_of: str | None = None) -> bool:
    """Whether a reservation was granted."""
    answer = books.reserve(
        name, TEAM, Amount(tokens=tokens), at_unix_nano=0, expires_unix_nano=100, instead_of=instead_of
    )
    return answer.reservation is not None


def test_the_books_are_the_same_after_a_start(tmp_path: Path) -> None:
    """Settled, reserved, moved, topped up and expired."""
    with closing(owner(tmp_path)) as books:
        assert reserve(books, "before", 999_999)
        assert [True] * 3 == [reserve(books, name, 100, instead_of="before") for name in "abc"]
        books.top_up("a", Amount(tokens=11), expires_unix_nano=200)
        books.settle("b", Amount(tokens=7))
        assert ["c"] == [one.reservation_id for one in books.expire(100)]
    for _ in range(2):
        with closing(owner(tmp_path)) as books:
            assert Account(settled=Amount(tokens=107), reserved=Amount(tokens=111)) == books.account(BUDGET, 0)


def test_a_start_reads_from_the_last_books_on(tmp_path: Path) -> None:
    """Over many files and more entries than stand between two books."""
    with closing(owner(tmp_path, LogConfig(file_bytes_max=200_000))) as books:
        for number in range(ENTRIES_BETWEEN_BOOKS // 2 + 10):
            reserve(books, f"r{number}", 2)
            books.settle(f"r{number}", Amount(tokens=1))
    first = min(tmp_path.glob("*.jsonl"))
    first.write_bytes(b"")
    with closing(owner(tmp_path)) as books:
        assert Amount(tokens=ENTRIES_BETWEEN_BOOKS // 2 + 10) == books.account(BUDGET, 0).used


def test_what_cannot_be_logged_is_not_granted(tmp_path: Path) -> None:
    """And what cannot be booked stays taken."""
    with closing(owner(tmp_path)) as books:
        reserve(books, "a", 100)
        books._log.close()
        with pytest.raises(TransientError):
            reserve(books, "b", 1)
        with pytest.raises(TransientError):
            books.settle("a", Amount())
        assert Account(reserved=Amount(tokens=100)) == books.account(BUDGET, 0)


def test_budgets_have_one_owner(tmp_path: Path) -> None:
    """A second one would grant the same money again."""
    with closing(owner(tmp_path)), pytest.raises(StoreError, match="as writer 'budgets'"):
        owner(tmp_path)


def test_more_than_can_be_written_hinders_no_start(tmp_path: Path) -> None:
    """A gateway that means no good may say that it has spent as much, again and again."""
    with closing(owner(tmp_path)) as books:
        books.set(replace(BUDGET, mode="soft"))
        for name in ("r-1", "r-2", "r-3"):
            reserve(books, name, 1)
            books.settle(name, Amount(tokens=VALUE_MAX))
    with closing(owner(tmp_path)) as books:
        assert not reserve(books, "r-4", 1)


def test_what_nobody_holds_cannot_be_settled(tmp_path: Path) -> None:
    """Twice is once too often."""
    with closing(owner(tmp_path)) as books:
        reserve(books, "a", 1)
        books.settle("a", Amount())
        with pytest.raises(KeyError):
            books.settle("a", Amount())


@pytest.mark.slow
def test_killed_at_any_moment_it_has_booked_what_it_answered(tmp_path: Path) -> None:
    """Each answer is printed after it was given; the books hold at least those, and one more at most."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_owner import *
books = owner(Path({str(tmp_path / "log")!r}))
for number in range(1_000_000):
    name = f"{{sys.argv[1]}}-{{number}}"
    assert reserve(books, name, 3)
    print(3, flush=True)
    books.settle(name, Amount(tokens=1))
    print(-2, flush=True)
"""
    answered = 0
    for turn in range(DEATHS):
        command = [sys.executable, "-c", script, str(turn)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(200 * (turn + 1))]
            os.kill(process.pid, signal.SIGKILL)
            lines += process.stdout.readlines()
        answered += sum(int(line) for line in lines if line.endswith("\n"))
        with closing(owner(tmp_path / "log")) as books:
            used = books.account(BUDGET, 0).used.tokens
            assert used - answered in {0, 3, -2}
            answered = used
    assert [] == list(log_faults(tmp_path / "log", "budgets"))
