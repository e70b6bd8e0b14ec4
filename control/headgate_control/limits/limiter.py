"""Counts calls against limits: token buckets for each, and the calls that are open. Pure: time comes in.

A bucket that was never used is full, so those of places that have long been silent are forgotten.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from headgate_control.budgets.budget import Place
from headgate_control.limits.limit import Limit

BUCKETS_MAX = 16_384
_NS_PER_MINUTE = 60_000_000_000
_Key = tuple[str, Literal["calls", "tokens"]]


@dataclass(slots=True)
class _Bucket:
    """What is left, in nanoseconds of a minute: as many as the rate are gained in each nanosecond.

    Below zero where a call has used more than was taken for it.
    """

    level: int
    at_unix_nano: int


@dataclass(slots=True)
class Limiter:
    """The counts of one enforcement point; `limits` gives the limits that hold now. For one thread."""

    limits: Callable[[], Mapping[str, Limit]]
    _seen: Mapping[str, Limit] | None = None
    _by_place: dict[Place, list[Limit]] = field(default_factory=dict)
    _buckets: OrderedDict[_Key, _Bucket] = field(default_factory=OrderedDict)
    _open: dict[str, int] = field(default_factory=dict)
    _held: dict[str, dict[str, int]] = field(default_factory=dict)

    def take(
        self,
        call_id: str,
        places: Iterable[Place],
        *,
        at_unix_nano: int,
        tokens: int = 0,
        instead_of: str | None = None,
    ) -> str | None:
        """Count a call that begins, until `ended`; why it may not, or None. Who may not, is not counted.

        It needs `tokens` at most; where that is more than a limit ever has, all that the limit has. One that goes on
        elsewhere, `instead_of` where it was, counts anew only in the limits that it was not in.
        """
        known = self._held.get(instead_of, {}) if instead_of is not None else {}
        concerned = [limit for limit in self._concerned(places) if limit.limit_id not in known]
        if not concerned:
            return None
        for limit in concerned:
            why = self._refusal(limit, tokens, at_unix_nano)
            if why is not None:
                return why
        self._held[call_id] = {limit.limit_id: self._counted(limit, tokens) for limit in concerned}
        return None

    def handed_over(self, call_id: str, places: Iterable[Place], *, instead_of: str) -> None:
        """A call has gone on elsewhere, as `take` said that it may: it is open there alone, and has its new id."""
        concerned = {limit.limit_id for limit in self._concerned(places)}
        before = self._held.get(instead_of, {})
        kept = {limit_id: tokens for limit_id, tokens in before.items() if limit_id in concerned}
        if kept:
            self._held[call_id] = {**self._held.get(call_id, {}), **kept}
            self._held[instead_of] = {name: tokens for name, tokens in before.items() if name not in concerned}
        self.ended(instead_of, tokens=0)

    def ended(self, call_id: str, *, tokens: int | None = None) -> None:
        """A call is over and has used `tokens`, all that it might have where None.

        Safe to call for one that was never counted.
        """
        for limit_id, taken in self._held.pop(call_id, {}).items():
            left = self._open[limit_id] - 1
            if left:
                self._open[limit_id] = left
            else:
                del self._open[limit_id]
            bucket = self._buckets.get((limit_id, "tokens"))
            if bucket is not None and tokens is not None:
                bucket.level += (taken - tokens) * _NS_PER_MINUTE

    def _concerned(self, places: Iterable[Place]) -> Iterator[Limit]:
        limits = self.limits()
        if limits is not self._seen:
            self._seen, self._by_place = limits, {}
            for limit in limits.values():
                self._by_place.setdefault(limit.place, []).append(limit)
        if not self._by_place:
            return iter(())
        return (limit for place in places for limit in self._by_place.get(place, ()))

    def _refusal(self, limit: Limit, tokens: int, at_unix_nano: int) -> str | None:
        scope, target = limit.place
        whose = f"limit of {scope} {target or '*'}"
        if limit.open_calls_max is not None and self._open.get(limit.limit_id, 0) >= limit.open_calls_max:
            return f"{whose}: {limit.open_calls_max} calls at once, and as many are open"
        rate = limit.calls_per_minute
        if rate is not None and self._left(limit, "calls", rate, at_unix_nano) < _NS_PER_MINUTE:
            return f"{whose}: {rate} calls a minute, and as many were made"
        rate = limit.tokens_per_minute
        if rate is not None:
            left = self._left(limit, "tokens", rate, at_unix_nano)
            if left < max(1, min(tokens, rate)) * _NS_PER_MINUTE:
                there = max(0, left // _NS_PER_MINUTE)
                return f"{whose}: {rate} tokens a minute, and {there} are left of the {tokens} that it may need"
        return None

    def _counted(self, limit: Limit, tokens: int) -> int:
        """Count a call that is not refused; the tokens that were taken for it."""
        self._open[limit.limit_id] = self._open.get(limit.limit_id, 0) + 1
        if limit.calls_per_minute is not None:
            self._buckets[limit.limit_id, "calls"].level -= _NS_PER_MINUTE
        if limit.tokens_per_minute is None:
            return 0
        taken = min(tokens, limit.tokens_per_minute)
        self._buckets[limit.limit_id, "tokens"].level -= taken * _NS_PER_MINUTE
        return taken

    def _left(self, limit: Limit, of: Literal["calls", "tokens"], rate: int, at_unix_nano: int) -> int:
        """What a bucket has now; a clock that goes back gains nothing."""
        key: _Key = (limit.limit_id, of)
        full, bucket = rate * _NS_PER_MINUTE, self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(level=full, at_unix_nano=at_unix_nano)
            if len(self._buckets) > BUCKETS_MAX:
                self._buckets.popitem(last=False)
        passed = max(0, at_unix_nano - bucket.at_unix_nano)
        bucket.level = min(full, bucket.level + rate * passed)
        bucket.at_unix_nano = max(bucket.at_unix_nano, at_unix_nano)
        self._buckets.move_to_end(key)
        return bucket.level
