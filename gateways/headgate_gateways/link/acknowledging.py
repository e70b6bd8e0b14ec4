"""Stops carried out here, and told to control: what was cut, once the providers' sockets are closed.

What does not close in time, or cannot be told, is not acknowledged: control then names this gateway as silent.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from headgate_control.state import State
from headgate_control.stops.points import EPOCHS_MAX
from headgate_control.stops.stop import Facts, Stop

CLOSE_S = 4.0
TASKS_MAX = 256
Cut = Callable[[Callable[[Facts], Stop | None]], Awaitable[int]]
"""Cuts the open calls for which a stop is given, and returns when their upstreams are closed."""
Tell = Callable[[Mapping[str, Any]], Awaitable[None]]
_LOG = logging.getLogger(__name__)


class Acknowledging:
    """For one event loop. `strike` when stops have changed, `acknowledge` when control says that this was all."""

    def __init__(self, cut: Cut, tell: Tell, *, point: str, clock: Callable[[], int] = time.time_ns) -> None:
        self._cut, self._tell, self._point, self._clock = cut, tell, point, clock
        self._struck: frozenset[int] = frozenset()
        self._told_epoch: int | None = None
        self._strikes: list[asyncio.Task[Counter[int]]] = []
        self._telling: set[asyncio.Task[None]] = set()

    def another_run(self) -> None:
        """Control counts anew: everything that is stopped is struck again, and only the present epoch is told."""
        self._struck, self._told_epoch = frozenset(), None

    def strike(self, state: State) -> None:
        """Cut what the stops since the last time are about."""
        every = frozenset(stop.epoch for stop in state.snapshot.stops)
        fresh, self._struck = every - self._struck, every
        if fresh:
            self._strikes.append(asyncio.create_task(self._cut_for(state, fresh)))

    async def acknowledge(self, epoch: int) -> None:
        """Tell control of every epoch up to this one, as soon as what was cut is closed."""
        if epoch == self._told_epoch:
            return
        since = epoch - 1 if self._told_epoch is None or self._told_epoch > epoch else self._told_epoch
        self._told_epoch, strikes, self._strikes = epoch, self._strikes, []
        task = asyncio.create_task(self._told(max(since + 1, epoch - EPOCHS_MAX + 1), epoch, strikes))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        if len(self._telling) >= TASKS_MAX:
            await asyncio.wait(self._telling, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """End what still waits."""
        tasks = [*self._telling, *self._strikes]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _cut_for(self, state: State, epochs: frozenset[int]) -> Counter[int]:
        """How many calls were cut for each of these epochs."""
        stops, now, counts = state.snapshot.stops, self._clock(), Counter[int]()

        def matching(facts: Facts) -> Stop | None:
            found = stops.matching(facts, at_unix_nano=now)
            if found is None or found.mode != "stop" or found.epoch not in epochs:
                return None
            counts[found.epoch] += 1
            return found

        async with asyncio.timeout(CLOSE_S):
            await self._cut(matching)
        return counts

    async def _told(self, first: int, epoch: int, strikes: list[asyncio.Task[Counter[int]]]) -> None:
        try:
            counts = sum(await asyncio.gather(*strikes), Counter[int]())
        except TimeoutError:
            _LOG.error("epoch %d is not acknowledged: not every upstream that was cut has closed", epoch)
            return
        earlier = [{"epoch": one, "cut": counts[one]} for one in range(first, epoch)]
        said = {"point": self._point, "epoch": epoch, "cut": counts[epoch], "earlier": earlier, "upstream_closed": True}
        await self._tell(said)
