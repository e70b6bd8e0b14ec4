"""The budgets as enforcement points see them, whether the books are kept in this process or elsewhere."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from headgate_control.budgets.amount import Amount
from headgate_control.budgets.budget import Place
from headgate_control.budgets.ledger import Answer
from headgate_control.budgets.owner import BudgetOwner


class Budgets(Protocol):
    """Reserves before a call, reserves more while it runs, and books it after.

    Whatever cannot be asked is refused by `TransientError`; what nobody settles is spent in full when it expires.
    """

    async def reserve(
        self,
        reservation_id: str,
        places: Iterable[Place],
        amount: Amount,
        *,
        at_unix_nano: int,
        expires_unix_nano: int,
        instead_of: str | None = None,
    ) -> Answer:
        """Reserve in every budget of the places, or in none; the same id again gives the reservation that stands.

        With `instead_of` it takes the place of another reservation of the same call, which is then free again, in one
        step; refused, that one stands.

        Raises:
            TransientError: it could not be granted for good.
        """
        ...

    async def top_up(self, reservation_id: str, amount: Amount, *, expires_unix_nano: int) -> Answer:
        """Reserve more for a call that runs; the reservation then expires no earlier than said here.

        Raises:
            KeyError: there is no such reservation, or it is settled or expired.
            TransientError: it could not be granted for good.
        """
        ...

    async def settle(self, reservation_id: str, amount: Amount) -> None:
        """Book what a call has really cost.

        Raises:
            KeyError: there is no such reservation, or it is settled or expired.
            TransientError: it could not be booked, and all that was reserved stays taken.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalBudgets:
    """The books of this process; nothing here waits."""

    owner: BudgetOwner

    async def reserve(
        self,
        reservation_id: str,
        places: Iterable[Place],
        amount: Amount,
        *,
        at_unix_nano: int,
        expires_unix_nano: int,
        instead_of: str | None = None,
    ) -> Answer:
        """As `Budgets.reserve`."""
        return self.owner.reserve(
            reservation_id,
            places,
            amount,
            at_unix_nano=at_unix_nano,
            expires_unix_nano=expires_unix_nano,
            instead_of=instead_of,
        )

    async def top_up(self, reservation_id: str, amount: Amount, *, expires_unix_nano: int) -> Answer:
        """As `Budgets.top_up`."""
        return self.owner.top_up(reservation_id, amount, expires_unix_nano=expires_unix_nano)

    async def settle(self, reservation_id: str, amount: Amount) -> None:
        """As `Budgets.settle`."""
        self.owner.settle(reservation_id, amount)
