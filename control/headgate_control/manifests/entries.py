"""A level's sections as plain lists of patterns, so that levels and versions can be compared."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from headgate_control.manifests.globs import Glob, Kind
from headgate_control.manifests.grant import Grant
from headgate_control.manifests.limits import SECTION, held_by, limit_widenings, shown
from headgate_control.manifests.spec import MEMORY_SCOPES, Memory, ModelRule, Spec, ToolRule


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that is granted: as it is written, and the patterns that must all match."""

    text: str
    parts: tuple[Glob, ...]

    def covers(self, other: "Entry") -> bool:
        """Whether it grants all that the other grants, arguments and approvals aside."""
        return len(self.parts) == len(other.parts) and all(map(Glob.covers, self.parts, other.parts))


Sections = Mapping[str, Sequence[Entry]]
SECTIONS = (
    "models",
    "tools",
    "tools of MCP servers",
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
        "tools of MCP servers": None if spec.tools is None else [_tool(rule) for rule in spec.tools if rule.mcp_server],
        "mcp_servers": _named(spec.mcp_servers),
        "agents": _named(spec.agents),
        "data_sources": _named(spec.data_sources),
        "filesystem.read": None if files is None else _named(files.read, "path"),
        "filesystem.write": None if files is None else _named(files.write, "path"),
        "commands": _named(spec.commands),
        "network": None if spec.network is None else [_endpoint(text) for text in spec.network],
        "credentials": _named(spec.credentials),
        "memory": None if memory is None else _named(_reach(memory)),
        "runtime.driver": None if spec.runtime is None else _named([spec.runtime.driver]),
        "artifacts": _named(spec.artifacts, "path"),
    }
    return {name: entries for name, entries in listed.items() if entries is not None}


def effective(grant: Grant) -> Sections:
    """What is granted in the end: of each section the entries of the lowest level that has it.

    Where these are wider than a level above, that level cuts them: see `widenings`.
    """
    found: dict[str, Sequence[Entry]] = {}
    for level in grant.levels:
        own = sections(level.spec)
        found |= own if level is grant.levels[0] else {name: own[name] for name in own if name in found}
    return found


def granted(grant: Grant) -> Iterator[tuple[str, str, str]]:
    """What is granted in the end: the section, the entry, and the name of the level that says so."""
    owners = {name: level.metadata.name for level in grant.levels for name in sections(level.spec)}
    for name, entries in effective(grant).items():
        for entry in entries:
            yield name, entry.text, owners[name]
    for unit, (most, level_name) in held_by(grant).items():
        yield SECTION, shown(unit, most), level_name


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


def _entry(text: str, *parts: str, kind: Kind = "name") -> Entry:
    return Entry(text, tuple(Glob(part, kind) for part in parts))


def _named(texts: Iterable[str] | None, kind: Kind = "name") -> Sequence[Entry] | None:
    return None if texts is None else [_entry(text, text, kind=kind) for text in texts]


def _model(rule: ModelRule) -> Entry:
    return _entry(f"{rule.provider}/{rule.model}", rule.provider, rule.model)


def _tool(rule: ToolRule) -> Entry:
    if rule.mcp_server is None:
        return _entry(_with_conditions(rule.tool, rule), rule.tool)
    return _entry(_with_conditions(f"{rule.mcp_server}/{rule.tool}", rule), rule.mcp_server, rule.tool)


def _with_conditions(text: str, rule: ToolRule) -> str:
    limited = f" ({', '.join(rule.arguments)} limited)" if rule.arguments else ""
    return text + limited + (f", approval {rule.approval}" if rule.approval != "none" else "")


def _endpoint(text: str) -> Entry:
    host, _, port = text.rpartition(":")
    return _entry(text, host.lower(), port)


def _reach(memory: Memory) -> list[str]:
    scopes = MEMORY_SCOPES[1 : MEMORY_SCOPES.index(memory.scope) + 1]
    return [f"{mode} {scope}" for mode in (("read", "write") if memory.write else ("read",)) for scope in scopes]
