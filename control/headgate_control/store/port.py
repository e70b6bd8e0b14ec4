"""The port of control state. `tests/control/store` has the suite that every implementation passes."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from headgate_control.audit.chain import Anchor
from headgate_control.audit.chain import Record as ChainRecord
from headgate_control.store.record import Change, Damage, Event, Record


class ControlStore(Protocol):
    """Control state with its journal. Any number of threads may call it."""

    def change(self, changes: Sequence[Change], *, author: str, action: str, reason: str = "") -> list[Event]:
        """Make all of the changes or none, each with its event in the journal; durable when this returns.

        Raises:
            ConflictError: a record is another one than whoever changes it has seen.
            TransientError: the database cannot be reached, or is too busy.
        """
        ...

    def get(self, kind: str, record_id: str) -> Record | None:
        """A record; None when there is none."""
        ...

    def all(self, kind: str, *, unreadable: list[str] | None = None) -> list[Record]:
        """Every record of a kind, by id; the ids of those that cannot be read are added to `unreadable`.

        Raises:
            ValueError: one cannot be read, and there is no `unreadable`.
        """
        ...

    def events(self, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """Events of all writers after a position, in their order.

        Raises:
            ValueError: a record of the journal is none; the message names it.
        """
        ...

    def chain(self, writer: str) -> Iterable[ChainRecord]:
        """The journal of a writer as a chain, from its beginning; what `damage` says of its columns is as text here."""
        ...

    def anchors(self) -> list[Anchor]:
        """The heads of all writers' chains."""
        ...

    def misplaced(self) -> list[tuple[str, int]]:
        """Events of the journal, by writer and number, whose position is not after that of the one before."""
        ...

    def damage(self) -> list[Damage]:
        """Rows that control cannot have written so, whatever they say."""
        ...

    def prune(self, position: int, *, author: str, reason: str) -> int:
        """Take away the events up to a position and say in the journal of whose chain up to where; how many went.

        The last event of each writer stays, out of sight of `events`, so that its chain goes on. What records are to be
        known by must have been said again after the position.

        Raises:
            TransientError: the database cannot be reached, or is too busy.
        """
        ...

    def close(self) -> None:
        """Let go of the database. Safe to call twice."""
        ...
