"""Enforcement points and what they acknowledge: who has heard of a stop, what they cut, and how long it took."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

EPOCHS_MAX = 1_024
POINTS_MAX = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one point did about an epoch: open calls that it cut, and the time from accepting the stop to hearing so.

    `effect_ns` is by control's own monotonic clock.
    """

    enforcement_point: str
    effect_ns: int
    cut: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """What all points did about an epoch; `silent` have not said so in time."""

    effects: tuple[Effect, ...]
    silent: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class _Epoch:
    """When it was accepted, and for each point when it spoke and what it cut."""

    accepted_ns: int
    heard: dict[str, tuple[int, int]] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()
    late: Callable[["Effect"], None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def effect(self, name: str) -> Effect:
        """What was heard of one point."""
        at_ns, cut = self.heard[name]
        return Effect(enforcement_point=name, effect_ns=max(0, at_ns - self.accepted_ns), cut=cut)

    def hear(self, name: str, at_ns: int, cut: int) -> None:
        """Take in what a point says, the first time that it does."""
        if name in self.heard:
            return
        self.heard[name] = (at_ns, cut)
        self.changed.set()
        if self.late is not None and name in self.silent:
            self.late(self.effect(name))


class EnforcementPoints:
    """Every enforcement point that control knows. For one event loop; the last `EPOCHS_MAX` epochs are kept."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._names: set[str] = set()
        self._epochs: OrderedDict[int, _Epoch] = OrderedDict()

    @property
    def names(self) -> tuple[str, ...]:
        """Those that have joined and not left, whether they still speak or not."""
        return tuple(sorted(self._names))

    def join(self, name: str) -> None:
        """Expect acknowledgements of a point from now on.

        Raises:
            OverflowError: there are as many points as may be.
        """
        if name not in self._names and len(self._names) >= POINTS_MAX:
            raise OverflowError(f"{POINTS_MAX} enforcement points have joined: no more may")
        self._names.add(name)

    def leave(self, name: str) -> None:
        """Expect nothing of a point any more."""
        self._names.discard(name)
        for epoch in self._epochs.values():
            epoch.changed.set()

    def accepted(self, epoch: int, at_monotonic_ns: int | None = None) -> None:
        """A stop of this epoch was accepted, now or at an earlier moment of the same clock."""
        moment = self._clock() if at_monotonic_ns is None else at_monotonic_ns
        known = self._epochs.setdefault(epoch, _Epoch(accepted_ns=moment))
        known.accepted_ns = min(known.accepted_ns, moment)
        while len(self._epochs) > EPOCHS_MAX:
            self._epochs.popitem(last=False)

    def acknowledge(self, name: str, epoch: int, *, cut: int) -> None:
        """A point enforces everything up to an epoch, and has cut so many open calls for it; said once."""
        if epoch not in self._epochs:
            self.accepted(epoch)
        now_ns = self._clock()
        self._epochs[epoch].hear(name, now_ns, cut)
        for earlier, found in self._epochs.items():
            if earlier < epoch and name in found.silent:
                found.hear(name, now_ns, 0)

    async def effects(self, epoch: int, *, wait_s: float, late: Callable[[Effect], None] | None = None) -> Effects:
        """What became of an epoch, as soon as every point has said so, at the latest after `wait_s`.

        `late` is told of each that was silent until then, when it speaks.
        """
        if epoch not in self._epochs:
            self.accepted(epoch)
        found = self._epochs[epoch]
        try:
            async with asyncio.timeout(wait_s):
                while self._names - found.heard.keys():
                    found.changed.clear()
                    await found.changed.wait()
        except TimeoutError:
            pass
        silent = frozenset(self._names - found.heard.keys())
        if late is not None:
            found.silent, found.late = silent, late
        return Effects(
            effects=tuple(sorted(map(found.effect, found.heard), key=lambda one: one.effect_ns)),
            silent=tuple(sorted(silent)),
        )
