"""Instances run from the first decision about one of their requests; that is written once, beside the requests."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate_console.control.place import WRITER
from headgate_console.control.rounds import Round
from headgate_control.budgets.budget import Place
from headgate_control.decide.decision import Logged
from headgate_control.identity.instance import Instance
from headgate_control.identity.launch import began
from headgate_control.room import Room
from headgate_control.store.record import ConflictError
from headgate_gateways.model.named import CallTrace
from headgate_gateways.model.telling import Teller
from headgate_gateways.model.told import ToldCall
from headgate_processors.errors import TransientError


@dataclass(slots=True, kw_only=True)
class Running(Teller):
    """Hears of decisions, and passes all that it hears on to `teller`. No more wait than there are new instances."""

    teller: Teller
    room: Room
    _seen: set[str] = field(default_factory=set)

    def decision(self, logged: Logged, instance: Instance | None, trace: CallTrace) -> None:
        """As `Teller.decision`."""
        self._saw(instance)
        self.teller.decision(logged, instance, trace)

    def call(self, told: ToldCall) -> None:
        """As `Teller.call`."""
        self.teller.call(told)

    def again(self, row: Mapping[str, Any], instance: Instance | None) -> None:
        """As `Teller.again`."""
        self.teller.again(row, instance)

    def reserved(self, places: Iterable[Place]) -> None:
        """A gateway elsewhere has reserved for a call; it decides by itself."""
        for scope, target in places:
            if scope == "instance":
                self._saw(self.room.now.snapshot.instances.get(target))

    def round(self) -> Round:
        """Writes who runs."""
        return Round(what="instances that run are not written down as running", work=self._write)

    def _saw(self, instance: Instance | None) -> None:
        if instance is not None and instance.state == "created":
            self._seen.add(instance.instance_id)

    async def _write(self) -> None:
        seen, self._seen = self._seen, set()
        if not seen:
            return
        try:
            await asyncio.to_thread(began, self.room.store, seen, author=WRITER, at_unix_nano=self.room.clock())
        except ConflictError:
            # Somebody else changes one of them: they are looked at anew in the next round.
            self._seen |= seen
        except TransientError:
            self._seen |= seen
            raise
        await self.room.refresh()
