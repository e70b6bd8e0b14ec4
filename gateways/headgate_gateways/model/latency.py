"""How fast models have answered lately: a moving average of the time to their first chunk."""

from collections import OrderedDict
from dataclasses import dataclass, field

MODELS_MAX = 1_024
WEIGHT = 0.2
FRESH_NS = 60_000_000_000


@dataclass(slots=True)
class Latencies:
    """The averages of one gateway. What was not heard of for a minute is forgotten, so that it is tried again."""

    _known: OrderedDict[tuple[str, str], tuple[float, int]] = field(default_factory=OrderedDict)

    def add(self, provider: str, model: str, first_chunk_ns: int, *, at_unix_nano: int) -> None:
        """A call was answered."""
        before = self.of(provider, model, at_unix_nano=at_unix_nano)
        average = first_chunk_ns if before is None else before + WEIGHT * (first_chunk_ns - before)
        self._known[provider, model] = (average, at_unix_nano)
        self._known.move_to_end((provider, model))
        if len(self._known) > MODELS_MAX:
            self._known.popitem(last=False)

    def of(self, provider: str, model: str, *, at_unix_nano: int) -> float | None:
        """The average in nanoseconds; None when there is none that is fresh."""
        average, at = self._known.get((provider, model), (None, 0))
        return average if average is not None and at_unix_nano - at < FRESH_NS else None
