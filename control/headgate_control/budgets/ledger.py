"""The books of one budget owner: reserve, top up, settle, expire. Pure: time comes in, nothing is written here.

For every hard budget, what is settled and reserved never exceeds the ceiling, unless a call turns out to have cost
more than was reserved for it: that is booked as it was. Until a reservation is settled all of it counts as spent,
also when it expires, for whoever held it may have spent it all. Who answers for the money takes a `quote`, writes it
down, and then `hold`s it; what was written down builds the same books again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from headgate_control.budgets.amount import NOTHING, Amount, Limits, Unit, shown
from headgate_control.budgets.budget import Budget, Place
from headgate_control.budgets.question import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What a call may spend until it is settled; `turns` says in which window of each budget it is booked."""

    reservation_id: str
    amount: Amount
    expires_unix_nano: int
    turns: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """The budget that a reservation does not fit into, and by which unit.

    Nothing `wanted` is a request of which nobody knows what it costs, where nothing is left.
    """

    budget: Budget
    unit: Unit
    used: int
    wanted: int
    limit: int

    def __str__(self) -> str:
        scope, target = self.budget.place
        name = f"{self.budget.mode} budget of {scope} {target or '*'} ({self.budget.window})"
        left = f"{shown(self.unit, max(0, self.limit - self.used))} left of {shown(self.unit, self.limit)}"
        return f"{name}: {shown(self.unit, self.wanted)} wanted, {left}" if self.wanted else f"{name} is spent: {left}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a reservation: there it is, or there is the hard budget it does not fit; and soft ones passed."""

    reservation: Reservation | None
    refused: Excess | None = None
    warnings: tuple[Excess, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a budget's window holds: settled, and reserved by calls that are not."""

    settled: Amount = NOTHING
    reserved: Amount = NOTHING

    @property
    def used(self) -> Amount:
        """Both together."""
        return self.settled + self.reserved

    def used_of(self, unit: Unit) -> int:
        """Both together, of one unit."""
        return self.settled.of(unit) + self.reserved.of(unit)


_EMPTY = Account()


@dataclass(slots=True)
class Ledger:
    """The books. Not for several threads at once."""

    _budgets: dict[str, Budget] = field(default_factory=dict)
    _by_place: dict[Place, dict[str, Budget]] = field(default_factory=dict)
    _accounts: dict[tuple[str, str], Account] = field(default_factory=dict)
    _open: dict[str, Reservation] = field(default_factory=dict)

    def set(self, budget: Budget) -> None:
        """Add a budget, or change one; what its windows hold stays."""
        self.remove(budget.budget_id)
        self._budgets[budget.budget_id] = budget
        self._by_place.setdefault(budget.place, {})[budget.budget_id] = budget

    def remove(self, budget_id: str) -> None:
        """Hold nobody to it any more; its windows stay, in case it comes back."""
        budget = self._budgets.pop(budget_id, None)
        if budget is not None:
            del self._by_place[budget.place][budget_id]

    def account(self, budget_id: str, turn: str) -> Account:
        """What a window of a budget holds."""
        return self._accounts.get((budget_id, turn), _EMPTY)

    def headroom(self, places: Iterable[Place], at_unix_nano: int) -> Limits:
        """What may still be reserved in every hard budget of the places, the least of each unit; None is no limit."""
        left: dict[Unit, int] = {}
        for place in places:
            for budget in self._by_place.get(place, {}).values():
                if budget.mode != "hard":
                    continue
                account = self.account(budget.budget_id, budget.turn(at_unix_nano))
                for unit, limit in budget.limits.items():
                    left[unit] = min(left.get(unit, limit), max(0, limit - account.used_of(unit)))
        return Limits(
            nano_usd=left.get("usd"),
            tokens=left.get("tokens"),
            calls=left.get("calls"),
            duration_ms=left.get("seconds"),
        )

    def look(
        self, places: Sequence[Place], question: Question, *, at_unix_nano: int, instead_of: str | None = None
    ) -> Answer:
        """What would become of a reservation, without one; what `instead_of` holds counts as free."""
        answer = self.quote(
            "",
            places,
            question.amount,
            at_unix_nano=at_unix_nano,
            expires_unix_nano=at_unix_nano,
            instead_of=instead_of,
        )
        if answer.refused is not None or not question.unknown:
            return replace(answer, reservation=None)
        return Answer(reservation=None, refused=self._spent(places, question, at_unix_nano), warnings=answer.warnings)

    def open(self) -> Iterator[Reservation]:
        """The reservations that are not settled, the oldest first."""
        return iter(list(self._open.values()))

    def held(self, reservation_id: str) -> Reservation | None:
        """A reservation; None when there is none, or it is settled or expired."""
        return self._open.get(reservation_id)

    def quote(
        self,
        reservation_id: str,
        places: Iterable[Place],
        amount: Amount,
        *,
        at_unix_nano: int,
        expires_unix_nano: int,
        instead_of: str | None = None,
    ) -> Answer:
        """The reservation of `amount` in every budget of the places, if it fits in all; it is not made yet.

        The same id again gives the reservation that stands. What `instead_of` holds counts as free.
        """
        known = self._open.get(reservation_id)
        if known is not None:
            return Answer(reservation=known)
        budgets = [budget for place in places for budget in self._by_place.get(place, {}).values()]
        turns = {budget.budget_id: budget.turn(at_unix_nano) for budget in budgets}
        nothing = Reservation(
            reservation_id=reservation_id, amount=NOTHING, expires_unix_nano=expires_unix_nano, turns=turns
        )
        return self._grown(nothing, amount, self._open.get(instead_of) if instead_of is not None else None)

    def quote_more(self, reservation_id: str, amount: Amount, *, expires_unix_nano: int) -> Answer:
        """A reservation with more in it, for a call that runs, in the windows in which it began; not made yet.

        Raises:
            KeyError: there is no such reservation, or it is settled or expired.
        """
        held = self._open[reservation_id]
        return self._grown(replace(held, expires_unix_nano=max(held.expires_unix_nano, expires_unix_nano)), amount)

    def hold(self, held: Reservation, *, instead_of: str | None = None) -> None:
        """Make a reservation that was quoted, or one that was written down, whatever the ceilings are now.

        What `instead_of` holds, if it still stands, is free again in the same step.
        """
        if instead_of in self._open:
            self.settle(instead_of, NOTHING)
        before = self._open.get(held.reservation_id)
        more = held.amount - before.amount if before is not None else held.amount
        for key in held.turns.items():
            account = self._accounts.get(key, Account())
            self._accounts[key] = replace(account, reserved=account.reserved + more)
        self._open[held.reservation_id] = held

    def settle(self, reservation_id: str, amount: Amount) -> Amount:
        """Book what a call has really cost; what was reserved beyond it is free again. What was reserved, is returned.

        Raises:
            KeyError: there is no such reservation, or it is settled or expired.
        """
        held = self._open.pop(reservation_id)
        for key in held.turns.items():
            account = self._accounts[key]
            self._accounts[key] = Account(settled=account.settled + amount, reserved=account.reserved - held.amount)
        return held.amount

    def expire(self, at_unix_nano: int) -> list[Reservation]:
        """Settle in full what nobody settled in time, and drop the windows that are over."""
        late = [one for one in self._open.values() if one.expires_unix_nano <= at_unix_nano]
        for one in late:
            self.settle(one.reservation_id, one.amount)
        over = [
            (budget_id, turn)
            for (budget_id, turn), account in self._accounts.items()
            if account.reserved == NOTHING
            and (budget := self._budgets.get(budget_id)) is not None
            and turn < budget.turn(at_unix_nano)
        ]
        for key in over:
            del self._accounts[key]
        return late

    def accounts(self) -> Iterator[tuple[tuple[str, str], Account]]:
        """Every window of every budget: its budget and turn, and what it holds."""
        return iter(list(self._accounts.items()))

    def restore(self, budget_id: str, turn: str, settled: Amount) -> None:
        """Put what a window had settled into fresh books."""
        self._accounts[budget_id, turn] = Account(settled=settled)

    def at_least(self, budget_id: str, turn: str, settled: Amount) -> None:
        """A window has settled no less than somebody else knows of."""
        account = self.account(budget_id, turn)
        self._accounts[budget_id, turn] = replace(account, settled=account.settled.or_more(settled))

    def _grown(self, held: Reservation, amount: Amount, instead_of: Reservation | None = None) -> Answer:
        """The reservation with `amount` more, if it fits."""
        passed = [
            excess
            for budget_id, turn in held.turns.items()
            for excess in self._excesses(budget_id, turn, amount, _held_in(instead_of, budget_id, turn))
        ]
        hard = next((excess for excess in passed if excess.budget.mode == "hard"), None)
        if hard is not None:
            return Answer(reservation=None, refused=hard)
        return Answer(reservation=replace(held, amount=held.amount + amount), warnings=tuple(passed))

    def _spent(self, places: Iterable[Place], question: Question, at_unix_nano: int) -> Excess | None:
        """The first hard budget that has nothing left of a unit of which it is not known how much is wanted."""
        for budget in (one for place in places for one in self._by_place.get(place, {}).values()):
            account = self.account(budget.budget_id, budget.turn(at_unix_nano))
            gone = account.used if question.spends else account.settled
            for unit, limit in budget.limits.items():
                if budget.mode == "hard" and unit in question.unknown and gone.of(unit) >= limit:
                    return Excess(budget=budget, unit=unit, used=gone.of(unit), wanted=0, limit=limit)
        return None

    def _excesses(self, budget_id: str, turn: str, amount: Amount, freed: Amount) -> Iterator[Excess]:
        budget = self._budgets.get(budget_id)
        if budget is None:
            return
        account = self.account(budget_id, turn)
        for unit, limit in budget.limits.items():
            wanted, used = amount.of(unit), account.used_of(unit) - freed.of(unit)
            if wanted and used + wanted > limit:
                yield Excess(budget=budget, unit=unit, used=used, wanted=wanted, limit=limit)


def _held_in(held: Reservation | None, budget_id: str, turn: str) -> Amount:
    """What a reservation takes of one window."""
    return held.amount if held is not None and held.turns.get(budget_id) == turn else NOTHING
