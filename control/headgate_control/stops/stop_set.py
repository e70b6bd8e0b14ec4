"""Every stop that holds, as one value: asked before anything else, in a few look-ups, at every call."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from headgate_control.stops.stop import Facts, Key, Mode, Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSet:
    """The stops as they stand at `epoch`. A change gives another set; who holds the old one is not surprised."""

    epoch: int = 0
    _by_key: Mapping[Key, Mapping[Mode, Stop]] = field(default_factory=dict)

    @classmethod
    def of(cls, stops: Iterable[Stop], *, epoch: int) -> "StopSet":
        """The set of these stops."""
        found: dict[Key, dict[Mode, Stop]] = {}
        for stop in stops:
            found.setdefault(stop.key, {})[stop.mode] = stop
        return cls(epoch=epoch, _by_key=found)

    def __iter__(self) -> Iterator[Stop]:
        return (stop for modes in self._by_key.values() for stop in modes.values())

    def with_stop(self, stop: Stop) -> "StopSet":
        """The set with one more, in place of an earlier one of the same key and mode."""
        modes = {**self._by_key.get(stop.key, {}), stop.mode: stop}
        return StopSet(epoch=max(self.epoch, stop.epoch), _by_key={**self._by_key, stop.key: modes})

    def without(self, stop: Stop, *, epoch: int) -> "StopSet":
        """The set without a stop."""
        modes = {mode: one for mode, one in self._by_key.get(stop.key, {}).items() if one.stop_id != stop.stop_id}
        left = {key: found for key, found in self._by_key.items() if key != stop.key}
        return StopSet(epoch=max(self.epoch, epoch), _by_key={**left, stop.key: modes} if modes else left)

    def at(self, key: Key) -> Mapping[Mode, Stop]:
        """What holds for a key itself, expired or not."""
        return self._by_key.get(key, {})

    def matching(self, facts: Facts, *, at_unix_nano: int) -> Stop | None:
        """What ends or hinders a call: a stop before a pause, the widest first; None lets it pass."""
        if not self._by_key:
            return None
        paused: Stop | None = None
        for key in facts.places():
            for stop in self._by_key.get(key, {}).values():
                if not stop.holds(at_unix_nano):
                    continue
                if stop.mode == "stop":
                    return stop
                paused = paused or stop
        return paused
