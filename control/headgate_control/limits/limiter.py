"""Counts calls against limits: a token bucket for each, and the calls that are open. Pure: time comes in.

A bucket that was never used is full, so those of places that have long been silent are forgotten.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from headgate_control.budgets.budget import Place
from headgate_control.limits.limit import Limit

BUCKETS_MAX = 16_384
_NS_PER_MINUTE = 60_000_000_000


@dataclass(slots=True)
class _Bucket:
    """Tokens as nanoseconds of a minute: `calls_per_minute` of them are gained in each nanosecond."""

    level: int
    at_unix_nano: int


@dataclass(slots=True)
class Limiter:
    """The counts of one enforcement point; `limits` gives the limits that hold now. For one thread."""

    limits: Callable[[], Mapping[str, Limit]]
    _seen: Mapping[str, Limit] | None = None
    _by_place: dict[Place, list[Limit]] = field(default_factory=dict)
    _buckets: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict)
    _open: dict[str, int] = field(default_factory=dict)
    _held: dict[str, list[str]] = field(default_factory=dict)

    def take(
        self, call_id: str, places: Iterable[Place], *, at_unix_nano: int, instead_of: str | None = None
    ) -> str | None:
        """Count a call that begins, until `ended`; why it may not, or None. Who may not, is not counted.

        One that goes on elsewhere, `instead_of` where it was, counts anew only in the limits that it was not in.
        """
        known = frozenset(self._held.get(instead_of, ())) if instead_of is not None else frozenset[str]()
        concerned = [limit for limit in self._concerned(places) if limit.limit_id not in known]
        if not concerned:
            return None
        for limit in concerned:
            why = self._refusal(limit, at_unix_nano)
            if why is not None:
                return why
        for limit in concerned:
            if limit.calls_per_minute is not None:
                self._buckets[limit.limit_id].level -= _NS_PER_MINUTE
            self._open[limit.limit_id] = self._open.get(limit.limit_id, 0) + 1
        self._held[call_id] = [limit.limit_id for limit in concerned]
        return None

    def handed_over(self, call_id: str, places: Iterable[Place], *, instead_of: str) -> None:
        """A call has gone on elsewhere, as `take` said that it may: it is open there alone, and has its new id."""
        concerned = {limit.limit_id for limit in self._concerned(places)}
        before = self._held.get(instead_of, [])
        kept = [limit_id for limit_id in before if limit_id in concerned]
        if kept:
            self._held[call_id] = [*self._held.get(call_id, ()), *kept]
            self._held[instead_of] = [limit_id for limit_id in before if limit_id not in concerned]
        self.ended(instead_of)

    def ended(self, call_id: str) -> None:
        """A call is over. Safe to call for one that was never counted."""
        for limit_id in self._held.pop(call_id, ()):
            left = self._open[limit_id] - 1
            if left:
                self._open[limit_id] = left
            else:
                del self._open[limit_id]

    def _concerned(self, places: Iterable[Place]) -> Iterator[Limit]:
        limits = self.limits()
        if limits is not self._seen:
            self._seen, self._by_place = limits, {}
            for limit in limits.values():
                self._by_place.setdefault(limit.place, []).append(limit)
        if not self._by_place:
            return iter(())
        return (limit for place in places for limit in self._by_place.get(place, ()))

    def _refusal(self, limit: Limit, at_unix_nano: int) -> str | None:
        scope, target = limit.place
        whose = f"{scope} {target or '*'}"
        if limit.open_calls_max is not None and self._open.get(limit.limit_id, 0) >= limit.open_calls_max:
            return f"limit of {whose}: {limit.open_calls_max} calls at once, and as many are open"
        rate = limit.calls_per_minute
        if rate is not None and self._filled(limit.limit_id, rate, at_unix_nano).level < _NS_PER_MINUTE:
            return f"limit of {whose}: {rate} calls a minute, and as many were made"
        return None

    def _filled(self, limit_id: str, rate: int, at_unix_nano: int) -> _Bucket:
        """The bucket as it is now; a clock that goes back gains nothing."""
        full, bucket = rate * _NS_PER_MINUTE, self._buckets.get(limit_id)
        if bucket is None:
            bucket = self._buckets[limit_id] = _Bucket(level=full, at_unix_nano=at_unix_nano)
            if len(self._buckets) > BUCKETS_MAX:
                self._buckets.popitem(last=False)
        passed = max(0, at_unix_nano - bucket.at_unix_nano)
        bucket.level = min(full, bucket.level + rate * passed)
        bucket.at_unix_nano = max(bucket.at_unix_nano, at_unix_nano)
        self._buckets.move_to_end(limit_id)
        return bucket
