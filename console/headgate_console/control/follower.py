"""What control does about each change: calls are cut, budgets hold, the receiver hears of instances."""

import asyncio
import logging
from collections.abc import Sequence

from headgate_console.control.place import Place
from headgate_console.control.registry_file import write_registry
from headgate_control.kinds import BUDGET, DIRECTORY, EPOCH, INSTANCE, STOP, read_budget, read_stop
from headgate_control.room import Room
from headgate_control.state import State
from headgate_control.stops.stop import Stop
from headgate_control.stops.stop_set import StopSet
from headgate_control.store.record import Event
from headgate_gateways.model.open_calls import OpenCalls

_LOG = logging.getLogger("control")
_REGISTERED = frozenset({INSTANCE, *DIRECTORY})


class Follower:
    """Listens to control state for the model gateway of this process, which it calls `point`."""

    def __init__(
        self, room: Room, calls: OpenCalls, place: Place, *, point: str, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._room, self._calls, self._place, self._point, self._loop = room, calls, place, point, loop
        self._tasks: set[asyncio.Task[None]] = set()
        self._epoch: int | None = None
        self._told(room.now)

    def __call__(self, state: State, events: list[Event]) -> None:
        """Take in a change; in whatever thread has learned of it."""
        self._loop.call_soon_threadsafe(self._changed, events)
        if any(event.kind in _REGISTERED for event in events):
            try:
                self._told(state)
            except OSError as error:
                _LOG.error("the receiver cannot be told who is registered: %s", error)

    def _told(self, state: State) -> None:
        write_registry(self._place.registry, state.snapshot.instances.values(), state.snapshot.directory)

    def _changed(self, events: Sequence[Event]) -> None:
        """An epoch comes before its stops, and may end a page of the journal: it waits for the first of them."""
        for event in events:
            if event.kind == BUDGET:
                self._budget(event)
            elif event.kind == EPOCH and event.after is not None:
                self._epoch = int(str(event.after["epoch"]))
            elif event.kind == STOP:
                stop = read_stop(event.after) if event.after is not None else None
                epoch, self._epoch = self._epoch if stop is None else stop.epoch, None
                if stop is not None or epoch is not None:
                    self._start(epoch, stop)

    def _start(self, epoch: int | None, stop: Stop | None) -> None:
        task = self._loop.create_task(self._enforce(epoch, stop))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _budget(self, event: Event) -> None:
        if event.after is None:
            self._room.owner.remove(event.id)
        else:
            self._room.owner.set(read_budget(event.after))

    async def _enforce(self, epoch: int | None, stop: Stop | None) -> None:
        """New calls are denied by now; those that run are cut, and that is told when their upstreams are closed."""
        cut = 0
        if stop is not None and stop.mode == "stop":
            alone, now = StopSet.of([stop], epoch=stop.epoch), self._room.clock()
            cut = await self._calls.cut(lambda facts: alone.matching(facts, at_unix_nano=now))
        if epoch is not None:
            self._room.points.acknowledge(self._point, epoch, cut=cut)
