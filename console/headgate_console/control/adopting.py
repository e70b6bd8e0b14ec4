"""A control database given to the books of this folder, as where the machine that had them is lost.

What the store here was told of budgets counts as spent; what nobody here knows of begins at zero.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate_console.control.holding import books_change, held_database, let_the_last_notice
from headgate_console.control.keeping import person
from headgate_console.control.place import Place
from headgate_console.queries.opening import open_views
from headgate_control.audit.log import log_entries
from headgate_control.audit.pruning import PRUNED
from headgate_control.budgets.amount import MS_PER_S, Amount, nano_usd
from headgate_control.budgets.books import BOOKS, BOOKS_ID, make_books
from headgate_control.budgets.budget import Budget
from headgate_control.budgets.owner import BudgetOwner
from headgate_control.state import ControlState
from headgate_control.store.port import ControlStore
from headgate_control.store.record import Change
from headgate_processors.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from headgate_console.settings import Settings

ACTION = "control.adopt"
_SPENT = """
SELECT budget_id, turn,
    coalesce(settled_usd, 0) + coalesce(reserved_usd, 0) AS usd,
    coalesce(settled_tokens, 0) + coalesce(reserved_tokens, 0) AS tokens,
    coalesce(settled_calls, 0) + coalesce(reserved_calls, 0) AS calls,
    coalesce(settled_seconds, 0) + coalesce(reserved_seconds, 0) AS seconds
FROM budgets ORDER BY budget_id, turn
"""
Spent = tuple[str, str, Amount]
"""The id of a budget, the turn of its window, and what is spent in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """The books that the database has now: their id, whose it had before, what counts as spent, and what begins anew.

    `from_zero` are the budgets of which nothing is known here, `unread` is why the store here could not be asked.
    """

    books: str
    before: Mapping[str, Any] | None
    spent: tuple[Spent, ...]
    from_zero: tuple[str, ...]
    unread: str | None


def adopt(settings: "Settings", *, reason: str) -> Adopted:
    """Begin the books of the control database anew from what is known in this folder; the journal says so.

    Raises:
        ConfigError: control state is a file, or there is no reason.
        StoreError: a control has the database, or one runs on this folder.
        TransientError: the database cannot be used now.
        OSError: the disk refuses.
    """
    if settings.control.database is None:
        raise ConfigError("control state is a file, and its books lie beside it: nothing is to be adopted")
    if not reason.strip():
        raise ConfigError("--reason: say why, for the journal")
    place = Place(data=settings.data)
    rows, unread = _spent(settings)
    with held_database(settings, place) as (_, store):
        let_the_last_notice(store, place)
        budgets = ControlState(store).now.budgets
        now = time.time_ns()
        spent = tuple(row for row in rows if _counts(row, budgets, now))
        with closing(BudgetOwner.open(place.logs, budgets.values())) as owner:
            owner.seed(spent)
            known = {budget.budget_id for budget in budgets.values() if owner.account(budget, now).used != Amount()}
        before = store.get(BOOKS, BOOKS_ID)
        books = make_books(place.logs)
        changes = [books_change(place), *_unpruned(store, place.logs)]
        store.change(changes, author=person(), action=ACTION, reason=reason)
    return Adopted(
        books=books,
        before=None if before is None else before.body,
        spent=spent,
        from_zero=tuple(sorted(budgets.keys() - known)),
        unread=unread,
    )


def _spent(settings: "Settings") -> tuple[list[Spent], str | None]:
    """What the store of this folder was told last of each window; or why it cannot be asked."""
    try:
        with open_views(settings, only={"budgets"}) as connection:
            rows = connection.sql(_SPENT).to_arrow_table().to_pylist()
    except StoreError as error:
        return [], str(error)
    return [(str(row["budget_id"]), str(row["turn"] or ""), _amount(row)) for row in rows], None


def _amount(row: Mapping[str, Any]) -> Amount:
    return Amount(
        nano_usd=nano_usd(Decimal(row["usd"])),
        tokens=int(row["tokens"]),
        calls=int(row["calls"]),
        duration_ms=round(row["seconds"] * MS_PER_S),
    )


def _counts(row: Spent, budgets: Mapping[str, Budget], at_unix_nano: int) -> bool:
    """Whether it is of a window that is open."""
    budget = budgets.get(row[0])
    return budget is not None and budget.turn(at_unix_nano) == row[1]


def _unpruned(store: ControlStore, logs: Path) -> Iterator[Change]:
    """Forget what was pruned of the logs of another folder: those here begin where they begin."""
    for record in store.all(PRUNED):
        if record.body["kept"] == "log":
            first = next(iter(log_entries(logs, str(record.body["writer"]))), None)
            if first is None or first.number <= int(str(record.body["number"])):
                yield Change(kind=PRUNED, id=record.id, body=None)
