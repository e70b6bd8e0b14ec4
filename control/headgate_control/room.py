"""Control as its commands see it: the store, the state that follows it, and the books."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from headgate_control.budgets.owner import BudgetOwner
from headgate_control.identity.instance import Instance
from headgate_control.manifests.spec import ManifestFile
from headgate_control.server.doors import Doors
from headgate_control.state import ControlState, State
from headgate_control.stops.points import Effects, EnforcementPoints
from headgate_control.store.port import ControlStore

TelemetryToken = Callable[[Instance], str]
"""Makes the token by which an instance sends its own telemetry, shown once."""

Heard = Callable[[str, int, Effects], None]
"""Told of each stop's effects: its id, its epoch, and who has acknowledged it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What commands work on. For one event loop; the store is called in threads.

    `end_tokens` ends the telemetry tokens of an instance; `held_age_ns` says how long ago it was known that no other
    control has the store.
    """

    store: ControlStore
    state: ControlState
    owner: BudgetOwner
    points: EnforcementPoints
    doors: Doors
    telemetry_token: TelemetryToken
    end_tokens: Callable[[str], None] = lambda _instance_id: None
    heard: Heard = lambda _stop_id, _epoch, _effects: None
    profiles: Callable[[], Mapping[str, ManifestFile]] = field(default=dict)
    clock: Callable[[], int] = time.time_ns
    held_age_ns: Callable[[], int] = lambda: 0

    def age_ns(self) -> int:
        """How long ago it was known that the state is that of the store, and the store nobody else's."""
        return max(self.state.age_ns(), self.held_age_ns())

    @property
    def now(self) -> State:
        """The state as it is."""
        return self.state.now

    async def refresh(self) -> State:
        """Take in what the journal has got; whoever listens has been told when this returns."""
        return await asyncio.to_thread(self.state.refresh)
