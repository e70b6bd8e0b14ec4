"""What changes between two manifests: what is granted that was not, and what is no longer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from headgate_control.manifests.entries import Entry, effective
from headgate_control.manifests.grant import Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One entry that only one of two manifests has.

    `widens`: it is new, and nothing in the old one granted as much. `narrows`: it is gone, and nothing in the new one
    grants as much. Arguments and approvals of a tool are part of what an entry says, not of how much it grants.
    """

    section: str
    sign: Literal["+", "-"]
    entry: str
    effect: Literal["widens", "narrows", "same"]


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


def _covered(entry: Entry, by: Sequence[Entry]) -> bool:
    return any(one.covers(entry) for one in by)
