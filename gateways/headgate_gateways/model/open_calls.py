"""The calls that run through a gateway at this moment, and how they are cut."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from headgate_control.stops.stop import Facts, Stop


@dataclass(slots=True, eq=False, kw_only=True)
class OpenCall:
    """One call: what stops may be about, and the reason for which it was cut once it is."""

    facts: Facts
    reason: tuple[str, str] | None = None
    _ends: Callable[[], object] | None = field(default=None, repr=False)
    upstream_closed: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def cut(self, code: str, message: str) -> None:
        """End it now; only the first reason counts."""
        if self.reason is None:
            self.reason = (code, message)
            if self._ends is not None:
                self._ends()

    def ends_by(self, ends: Callable[[], object]) -> None:
        """What ends it when it is cut; now, if it is."""
        self._ends = ends
        if self.reason is not None:
            ends()


class OpenCalls:
    """Every open call of one gateway. For one event loop."""

    def __init__(self, *, calls_max: int) -> None:
        self._calls: set[OpenCall] = set()
        self._calls_max = calls_max

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[OpenCall]:
        return iter(list(self._calls))

    @property
    def is_full(self) -> bool:
        """Whether no other call may be opened."""
        return len(self._calls) >= self._calls_max

    def opened(self, facts: Facts) -> OpenCall:
        """A call that begins; `closed` ends it."""
        call = OpenCall(facts=facts)
        self._calls.add(call)
        return call

    def closed(self, call: OpenCall) -> None:
        """A call that has ended."""
        call.upstream_closed.set()
        self._calls.discard(call)

    async def cut(self, matching: Callable[[Facts], Stop | None]) -> int:
        """Cut what is stopped, and return when its upstreams are closed; how many there were."""
        struck: list[OpenCall] = []
        for call in list(self._calls):
            stop = matching(call.facts)
            if stop is not None and stop.mode == "stop":
                call.cut("stopped", stop.reason)
                struck.append(call)
        for call in struck:
            await call.upstream_closed.wait()
        return len(struck)
