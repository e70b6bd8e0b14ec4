"""What changes between two manifests: what is granted that was not, and what is no longer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from headgate_control.manifests.entries import Entry, effective
from headgate_control.manifests.grant import Grant
from headgate_control.manifests.limits import SECTION, held_by, shown


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
    yield from _limits(old, new)


def _limits(old: Grant, new: Grant) -> Iterator[Difference]:
    """A limit is no grant: what is gone or higher widens, what is new or lower narrows."""
    had, has = held_by(old), held_by(new)
    for unit in dict.fromkeys((*had, *has)):
        before, after = had.get(unit), has.get(unit)
        if before is not None and after is not None and before.most == after.most:
            continue
        narrows = after is not None and (before is None or after.most < before.most)
        effect: Literal["widens", "narrows"] = "narrows" if narrows else "widens"
        for sign, held in (("+", after), ("-", before)):
            if held is not None:
                is_told = sign == "+" or after is None
                yield Difference(
                    section=SECTION,
                    sign="+" if sign == "+" else "-",
                    entry=shown(unit, held.most),
                    effect=effect if is_told else "same",
                )


def _covered(entry: Entry, by: Sequence[Entry]) -> bool:
    return any(one.covers(entry) for one in by)
