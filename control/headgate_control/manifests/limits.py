"""How fast an instance may call, as manifests say: of every level the least counts, and what none says is free."""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, get_args

from headgate_control.manifests.grant import Grant
from headgate_control.manifests.spec import Spec

SECTION = "limits"
Unit = Literal["calls_per_minute", "tokens_per_minute", "open_calls"]
_SAID: Mapping[Unit, str] = {
    "calls_per_minute": "calls a minute",
    "tokens_per_minute": "tokens a minute",
    "open_calls": "calls at once",
}


class Held(NamedTuple):
    """The most of one unit, and the name of the level that says so."""

    most: int
    level: str


def held_by(grant: Grant) -> Mapping[Unit, Held]:
    """What holds in the end, by unit; of levels that say the same, the upper one says it."""
    found: dict[Unit, Held] = {}
    for level in grant.levels:
        for unit, most in _own(level.spec):
            if unit not in found or most < found[unit].most:
                found[unit] = Held(most, level.metadata.name)
    return found


def limit_widenings(grant: Grant) -> Iterator[str]:
    """A sentence for each limit that is wider than one above: it has no effect."""
    above: dict[Unit, int] = {}
    for level in grant.levels:
        for unit, most in _own(level.spec):
            if unit in above and most > above[unit]:
                yield f"{level.metadata.name}: {SECTION}: {shown(unit, most)!r} is wider than what stands above grants"
            above[unit] = min(most, above.get(unit, most))


def shown(unit: Unit, most: int) -> str:
    """A limit as people read it."""
    return f"{most} {_SAID[unit]}"


def _own(spec: Spec) -> Iterator[tuple[Unit, int]]:
    for unit in get_args(Unit):
        most = getattr(spec.limits, unit, None)
        if most is not None:
            yield unit, most
