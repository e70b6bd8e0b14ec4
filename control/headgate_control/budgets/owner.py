"""The budget owner: the books, each entry in a log before it is answered, and the same books after a crash.

Every so many entries the log gets the books themselves, so that a start reads little.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from headgate_control.audit.log import AuditLog, LogConfig, records_since
from headgate_control.budgets import written
from headgate_control.budgets.amount import Amount, Limits
from headgate_control.budgets.budget import Budget, Place
from headgate_control.budgets.ledger import Account, Answer, Ledger, Reservation
from headgate_control.budgets.question import Question

WRITER = "budgets"
ENTRIES_BETWEEN_BOOKS = 10_000


class BudgetOwner:
    """Reserves and settles, in memory and on disk. One process owns the budgets of a site; for one thread."""

    def __init__(self, log: AuditLog, ledger: Ledger) -> None:
        self._log, self._ledger = log, ledger
        self._entries = 0
        self._log.append(written.books(ledger))

    @classmethod
    def open(cls, folder: Path, budgets: Iterable[Budget], config: LogConfig | None = None) -> "BudgetOwner":
        """The books as they were, with these ceilings.

        Raises:
            StoreError: another process owns them, or their log is damaged.
        """
        log, ledger = AuditLog.open(folder, WRITER, config or LogConfig()), Ledger()
        for budget in budgets:
            ledger.set(budget)
        for body in records_since(folder, WRITER, kind="books"):
            written.replay(ledger, body)
        return cls(log, ledger)

    @property
    def log(self) -> AuditLog:
        """The chain of its entries."""
        return self._log

    def set(self, budget: Budget) -> None:
        """Add a budget, or change one."""
        self._ledger.set(budget)

    def remove(self, budget_id: str) -> None:
        """Hold nobody to it any more."""
        self._ledger.remove(budget_id)

    def seed(self, found: Iterable[tuple[str, str, Amount]]) -> None:
        """Windows of budgets have settled no less than this, as somebody else knows; durable when this returns.

        Raises:
            TransientError: it cannot be logged.
        """
        for budget_id, turn, settled in found:
            self._ledger.at_least(budget_id, turn, settled)
        self._log.sync(self._log.append(written.books(self._ledger)))

    def account(self, budget: Budget, at_unix_nano: int) -> Account:
        """What the window of this moment holds."""
        return self._ledger.account(budget.budget_id, budget.turn(at_unix_nano))

    def headroom(self, places: Iterable[Place], at_unix_nano: int) -> Limits:
        """What may still be reserved in every hard budget of the places; None is no limit."""
        return self._ledger.headroom(places, at_unix_nano)

    def look(
        self, places: Sequence[Place], question: Question, *, at_unix_nano: int, instead_of: str | None = None
    ) -> Answer:
        """What would become of a reservation, without one."""
        return self._ledger.look(places, question, at_unix_nano=at_unix_nano, instead_of=instead_of)

    def reserve(
        self,
        reservation_id: str,
        places: Iterable[Place],
        amount: Amount,
        *,
        at_unix_nano: int,
        expires_unix_nano: int,
        instead_of: str | None = None,
    ) -> Answer:
        """Reserve in every budget of the places, or in none; what is granted is in the log.

        With `instead_of` it takes the place of another reservation in one step; refused, that one stands.

        Raises:
            TransientError: it cannot be logged, and is not granted.
        """
        answer = self._ledger.quote(
            reservation_id,
            places,
            amount,
            at_unix_nano=at_unix_nano,
            expires_unix_nano=expires_unix_nano,
            instead_of=instead_of,
        )
        return self._granted(answer, instead_of)

    def top_up(self, reservation_id: str, amount: Amount, *, expires_unix_nano: int) -> Answer:
        """Reserve more for a call that runs; what is granted is in the log.

        Raises:
            KeyError: there is no such reservation, or it is settled or expired.
            TransientError: it cannot be logged, and is not granted.
        """
        return self._granted(self._ledger.quote_more(reservation_id, amount, expires_unix_nano=expires_unix_nano))

    def settle(self, reservation_id: str, amount: Amount) -> None:
        """Book what a call has really cost.

        Raises:
            KeyError: there is no such reservation, or it is settled or expired.
            TransientError: it cannot be logged, and all that was reserved stays taken.
        """
        if self._ledger.held(reservation_id) is None:
            raise KeyError(reservation_id)
        self._write(written.settled(reservation_id, amount))
        self._ledger.settle(reservation_id, amount)

    def expire(self, at_unix_nano: int) -> list[Reservation]:
        """Settle in full what nobody settled in time.

        Raises:
            TransientError: it cannot be logged; the next start expires it again.
        """
        late = self._ledger.expire(at_unix_nano)
        for one in late:
            self._write(written.settled(one.reservation_id, one.amount))
        return late

    def close(self) -> None:
        """Let go of the log. Safe to call twice."""
        self._log.close()

    def _granted(self, answer: Answer, instead_of: str | None = None) -> Answer:
        held = answer.reservation
        if held is not None and self._ledger.held(held.reservation_id) != held:
            self._write(written.reserved(held, instead_of))
            self._ledger.hold(held, instead_of=instead_of)
        return answer

    def _write(self, body: Mapping[str, object]) -> None:
        if self._entries >= ENTRIES_BETWEEN_BOOKS:
            self._log.append(written.books(self._ledger))
            self._entries = 0
        self._log.append(body)
        self._entries += 1
