"""A level's sections as plain lists of patterns, so that levels and versions can be compared and joined."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from headgate_control.manifests.globs import Glob, Kind
from headgate_control.manifests.grant import Grant
from headgate_control.manifests.limits import SECTION, held_by, limit_widenings, shown
from headgate_control.manifests.rulings import is_shell
from headgate_control.manifests.spec import MEMORY_SCOPES, TIERS, Memory, ModelRule, Spec, Tier, ToolRule

Part = tuple[Glob, ...]
"""Patterns that must all match the same text; more than one only where levels overlap and neither is the narrower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that is granted: the parts that must all match, for whose arguments, and after which approval.

    `is_exact`: it stands for its own text alone, whatever characters are in it.
    """

    parts: tuple[Part, ...]
    sign: str = "/"
    arguments: tuple[str, ...] = ()
    approval: Tier = "none"
    is_exact: bool = False

    @property
    def text(self) -> str:
        """As it is written, or would be."""
        named = self.sign.join(" and ".join(one.text for one in part) for part in self.parts)
        limited = f" ({', '.join(self.arguments)} limited)" if self.arguments else ""
        return named + limited + (f", approval {self.approval}" if self.approval != "none" else "")

    def covers(self, other: "Entry") -> bool:
        """Whether it grants all that the other grants, arguments and approvals aside."""
        if self.is_exact or other.is_exact:
            return self.is_exact and self.parts == other.parts and other.is_exact
        return len(self.parts) == len(other.parts) and all(map(_covers, self.parts, other.parts))

    def is_apart(self, other: "Entry") -> bool:
        """Whether the first letters alone say that they share nothing."""
        return any(one[0].is_apart(two[0]) for one, two in zip(self.parts, other.parts, strict=True))

    @property
    def is_plain(self) -> bool:
        """Whether it names one thing."""
        return all(one.is_plain for part in self.parts for one in part)

    def met(self, other: "Entry") -> "Entry | None":
        """What both of them grant; None where that is nothing."""
        if self.is_apart(other):
            return None
        if self.is_exact or other.is_exact:
            return self if self.covers(other) else None
        parts = [part for pair in zip(self.parts, other.parts, strict=True) if (part := _met(*pair)) is not None]
        return (
            replace(
                self,
                parts=tuple(parts),
                arguments=tuple(dict.fromkeys((*self.arguments, *other.arguments))),
                approval=max(self.approval, other.approval, key=TIERS.index),
            )
            if len(parts) == len(self.parts)
            else None
        )


COMPARED_MAX = 10_000
REST = Entry(parts=((Glob("… and more patterns than can be compared"),),), is_exact=True)


@dataclass(frozen=True, slots=True)
class Owned:
    """An entry, and the name of the level that says so; of both where it is of two."""

    entry: Entry
    level: str


OF_SERVERS = "tools of MCP servers"
Sections = Mapping[str, Sequence[Entry]]
SECTIONS = (
    "models",
    "tools",
    OF_SERVERS,
    "mcp_servers",
    "agents",
    "data_sources",
    "filesystem.read",
    "filesystem.write",
    "commands",
    "network",
    "credentials",
    "memory",
    "runtime.driver",
    "artifacts",
)


def sections(spec: Spec) -> Sections:
    """The sections that are there, by name; those that are left out are missing."""
    files, memory = spec.filesystem, spec.memory
    listed: dict[str, Sequence[Entry] | None] = {
        "models": None if spec.models is None else [_model(rule) for rule in spec.models],
        "tools": None if spec.tools is None else [_tool(rule) for rule in spec.tools if rule.mcp_server is None],
        OF_SERVERS: None if spec.tools is None else [_tool(rule) for rule in spec.tools if rule.mcp_server],
        "mcp_servers": _named(spec.mcp_servers),
        "agents": _named(spec.agents),
        "data_sources": _named(spec.data_sources),
        "filesystem.read": None if files is None else _named(files.read, "path"),
        "filesystem.write": None if files is None else _named(files.write, "path"),
        "commands": None if spec.commands is None else [_line(text) for text in spec.commands],
        "network": None if spec.network is None else [_endpoint(text) for text in spec.network],
        "credentials": _named(spec.credentials),
        "memory": None if memory is None else _named(_reach(memory)),
        "runtime.driver": None if spec.runtime is None else _named([spec.runtime.driver]),
        "artifacts": _named(spec.artifacts, "path"),
    }
    return {name: entries for name, entries in listed.items() if entries is not None}


def effective(grant: Grant) -> Sections:
    """What is granted in the end: of each section what every level grants that has it.

    Where patterns with wildcards may overlap so often that `COMPARED_MAX` comparisons do not do, the rest is left out,
    and an entry says so.
    """
    return {name: [one.entry for one in owned] for name, owned in _joined(grant).items()}


def granted(grant: Grant) -> Iterator[tuple[str, str, str]]:
    """What is granted in the end: the section, the entry, and the name of the level that says so."""
    for name, owned in _joined(grant).items():
        for one in owned:
            yield name, one.entry.text, one.level
    for unit, (most, level_name) in held_by(grant).items():
        yield SECTION, shown(unit, most), level_name


def _joined(grant: Grant) -> dict[str, Sequence[Owned]]:
    found: dict[str, Sequence[Owned]] = {}
    for level in grant.levels:
        told = {name: [Owned(one, level.metadata.name) for one in own] for name, own in sections(level.spec).items()}
        if level is grant.levels[0]:
            found = dict(told)
        found |= {name: list(_both(found[name], own)) for name, own in told.items() if name in found}
        if level.spec.mcp_servers is not None and OF_SERVERS in found:
            reached = [Owned(_entry(name, "*"), level.metadata.name) for name in level.spec.mcp_servers]
            found[OF_SERVERS] = list(_both(reached, found[OF_SERVERS]))
    return found


def _both(above: Sequence[Owned], own: Sequence[Owned]) -> Iterator[Owned]:
    """What both levels grant, in the order in which their rules speak: the first of each that fits."""
    said: list[Entry] = []
    compared = 0
    for lower in own:
        for upper in above:
            if lower.entry.is_apart(upper.entry):
                continue
            compared += 0 if lower.entry.is_plain or upper.entry.is_plain else 1 + len(said)
            if compared > COMPARED_MAX:
                yield Owned(REST, lower.level)
                return
            entry = lower.entry.met(upper.entry)
            if entry is None:
                continue
            if not any(one.covers(entry) and not one.arguments for one in said):
                said.append(entry)
                yield Owned(entry, _owner(entry, lower, upper))
            if upper.entry.covers(lower.entry) and not upper.entry.arguments:
                break


def _owner(entry: Entry, lower: Owned, upper: Owned) -> str:
    if entry == lower.entry:
        return lower.level
    return upper.level if entry == upper.entry else f"{upper.level} and {lower.level}"


def widenings(grant: Grant) -> Iterator[str]:
    """A sentence for each entry that no level above grants: it has no effect, and who wrote it should know."""
    above = sections(grant.levels[0].spec)
    for level in grant.levels[1:]:
        own = sections(level.spec)
        for name, entries in own.items():
            for entry in entries:
                if not any(upper.covers(entry) for upper in above.get(name, ())):
                    yield f"{level.metadata.name}: {name}: {entry.text!r} is wider than what stands above grants"
        above = {name: own.get(name, entries) for name, entries in above.items()}
    yield from limit_widenings(grant)


def _covers(wide: Part, narrow: Part) -> bool:
    return all(any(one.covers(other) for other in narrow) for one in wide)


def _met(one: Part, other: Part) -> Part | None:
    """What both stand for, None where that is nothing."""
    if _covers(other, one):
        return one
    if _covers(one, other):
        return other
    overlap = all(first.meets(second) for first in one for second in other)
    return tuple(dict.fromkeys((*one, *other))) if overlap else None


def _entry(*parts: str, kind: Kind = "name", sign: str = "/") -> Entry:
    return Entry(parts=tuple((Glob(part, kind),) for part in parts), sign=sign)


def _named(texts: Iterable[str] | None, kind: Kind = "name") -> Sequence[Entry] | None:
    return None if texts is None else [_entry(text, kind=kind) for text in texts]


def _model(rule: ModelRule) -> Entry:
    return _entry(rule.provider, rule.model)


def _tool(rule: ToolRule) -> Entry:
    named = _entry(rule.tool) if rule.mcp_server is None else _entry(rule.mcp_server, rule.tool)
    return replace(named, arguments=tuple(rule.arguments), approval=rule.approval)


def _line(text: str) -> Entry:
    return replace(_entry(text), is_exact=is_shell(text))


def _endpoint(text: str) -> Entry:
    host, _, port = text.rpartition(":")
    return _entry(host.lower(), port, sign=":")


def _reach(memory: Memory) -> list[str]:
    scopes = MEMORY_SCOPES[1 : MEMORY_SCOPES.index(memory.scope) + 1]
    return [f"{mode} {scope}" for mode in (("read", "write") if memory.write else ("read",)) for scope in scopes]
