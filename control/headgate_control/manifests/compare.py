"""What changes between two manifests: what is granted that was not, and what is no longer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from headgate_control.manifests import ceilings, limits
from headgate_control.manifests.ceilings import Ceiling
from headgate_control.manifests.entries import Entry, effective
from headgate_control.manifests.grant import Grant
from headgate_control.manifests.limits import Unit

Effect = Literal["widens", "narrows", "same"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One entry that only one of two manifests has.

    `widens`: it is new, and nothing in the old one granted as much. `narrows`: it is gone, and nothing in the new one
    grants as much. Arguments and approvals of a tool are part of what an entry says, not of how much it grants. A
    budget or limit that is gone or higher widens, one that is new or lower narrows; a soft budget refuses nothing.
    """

    section: str
    sign: Literal["+", "-"]
    entry: str
    effect: Effect


def differences(old: Grant, new: Grant) -> Iterator[Difference]:
    """Every entry that only one of them has, section by section."""
    before, after = effective(old), effective(new)
    for section in dict.fromkeys((*before, *after)):
        had, has = before.get(section, ()), after.get(section, ())
        for entry in has:
            if entry not in had:
                effect: Literal["widens", "same"] = "same" if _covered(entry, had) else "widens"
                yield Difference(section=section, sign="+", entry=entry.text, effect=effect)
        for entry in had:
            if entry not in has:
                lost: Literal["narrows", "same"] = "same" if _covered(entry, has) else "narrows"
                yield Difference(section=section, sign="-", entry=entry.text, effect=lost)
    had_at_most, has_at_most = _at_most(old), _at_most(new)
    for what in dict.fromkeys((*had_at_most, *has_at_most)):
        yield from _limited(what, had_at_most.get(what), has_at_most.get(what))


@dataclass(frozen=True, slots=True)
class _Limited:
    """A budget or a limit, without its amount."""

    section: str
    of: Ceiling | Unit

    @property
    def is_soft(self) -> bool:
        """Whether it refuses nothing."""
        return isinstance(self.of, Ceiling) and self.of.mode == "soft"

    def text(self, most: int) -> str:
        """With its amount, as people read it."""
        return self.of.text(most) if isinstance(self.of, Ceiling) else limits.shown(self.of, most)


def _at_most(grant: Grant) -> Mapping[_Limited, int]:
    slow = {_Limited(limits.SECTION, unit): held.most for unit, held in limits.held_by(grant).items()}
    return slow | {_Limited(ceilings.SECTION, one): most for one, most in ceilings.least(grant).items()}


def _limited(what: _Limited, before: int | None, after: int | None) -> Iterator[Difference]:
    """A limit is no grant: what is gone or higher widens, what is new or lower narrows."""
    if before == after:
        return
    narrows = after is not None and (before is None or after < before)
    effect: Effect = "same" if what.is_soft else "narrows" if narrows else "widens"
    if after is not None:
        yield Difference(section=what.section, sign="+", entry=what.text(after), effect=effect)
    if before is not None:
        lost: Effect = effect if after is None else "same"
        yield Difference(section=what.section, sign="-", entry=what.text(before), effect=lost)


def _covered(entry: Entry, by: Sequence[Entry]) -> bool:
    return any(one.covers(entry) for one in by)
