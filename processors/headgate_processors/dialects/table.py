"""Dialect tables: what each agent emits, read from YAML and compiled once into plain closures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from headgate_processors.dialects.coerce import to_text
from headgate_processors.dialects.predicate import Predicate, compile_predicate
from headgate_processors.dialects.record import Record
from headgate_processors.dialects.source import Source, compile_source, compile_sources
from headgate_processors.errors import ConfigError
from headgate_processors.schema import MEANING

# libyaml where it is there: the tables are read at every start.
_SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

KindRule = Callable[[Record], str | None]
Usage = Literal["inclusive", "exclusive", "unknown"]

KINDS = frozenset(
    {
        "llm",
        "embedding",
        "retrieval",
        "tool",
        "tool_attempt",
        "agent",
        "agent_setup",
        "workflow",
        "step",
        "approval",
        "guardrail",
        "eval",
        "memory",
        "task",
        "attempt",
        "handoff",
        "message",
        "other",
    }
)


CONTENT_FIELDS = (
    "tool_arguments",
    "tool_result",
    "input_messages",
    "output_messages",
    "system_instructions",
    "tool_definitions",
    "task",
)
CONTENT_NAMES = frozenset({*CONTENT_FIELDS, "response", "other"})
# What only settles other fields: `mcp_tool_name` the tool, `resends` the attempts, `tool_success` the outcome,
# `usage_total_tokens` what input and output leave out.
SETTLING = frozenset({"mcp_tool_name", "resends", "tool_success", "usage_total_tokens"})
FIELDS = frozenset({column.name for column in MEANING} | SETTLING | {*CONTENT_FIELDS})


class ExclusiveWhen(BaseModel):
    """Where input tokens exclude the cache: one of the paths has a value, and none of the attributes in `lacks`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    has_path: str | list[str]
    lacks: list[str] = []


class TableSpec(BaseModel):
    """One dialect file as written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dialect: str
    version: str
    precedence: int = 0
    extends: str | None = None
    usage: Usage | None = None
    usage_exclusive_when: ExclusiveWhen | None = None
    output_excludes_reasoning: bool = False
    detect: list[dict[str, object]] = []
    kinds: list[dict[str, object]] = []
    fields: dict[str, list[object]] = {}
    flattened: dict[str, str] = {}
    content: dict[str, list[str]] = {}
    about_span: list[str] = []
    argument_keys: dict[str, str] = {}
    pseudo_tools: list[str] = []
    pseudo_tasks: list[str] = []
    subagent_tools: list[str] = []
    default_agent: str | None = None
    agent_name_from_span: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A compiled table.

    `fields` maps a canonical field to the function that reads it; `kind` says what a record is.
    """

    name: str
    version: str
    precedence: int
    usage: Usage
    exclusive_when: Source | None
    output_excludes_reasoning: bool
    detect: tuple[Mapping[str, object], ...]
    kind_rules: tuple[KindRule, ...]
    fields: Mapping[str, Source]
    flattened: Mapping[str, str]
    content: Mapping[str, Sequence[str]]
    about_span: frozenset[str]
    argument_keys: Mapping[str, str]
    pseudo_tools: frozenset[str]
    pseudo_tasks: tuple[str, ...]
    subagent_tools: frozenset[str]
    default_agent: str | None
    agent_name_from_span: bool

    def kind(self, record: Record) -> str:
        """What the record is, `other` when no rule speaks."""
        for rule in self.kind_rules:
            found = rule(record)
            if found is not None:
                return found
        return "other"


def _kind_rule(spec: Mapping[str, object]) -> KindRule:
    if set(spec) == {"when", "kind"}:
        applies, kind = compile_predicate(spec["when"]), str(spec["kind"])
        _known_kind(kind)
        return lambda record: kind if applies(record) else None
    mapping = spec.get("map")
    if set(spec) != {"source", "map"} or not isinstance(mapping, Mapping):
        raise ConfigError(f"kind rule {dict(spec)!r}: expected `when` and `kind`, or `source` and `map`")
    read = compile_source(spec["source"])
    lookup = {
        str(value): str(kind)
        for kind, values in mapping.items()
        for value in (values if isinstance(values, list) else [values])
    }
    for kind in mapping:
        _known_kind(str(kind))
    return lambda record: lookup.get(to_text(read(record)) or "")


def _known_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ConfigError(f"kind {kind!r}: expected one of {', '.join(sorted(KINDS))}")


def _known_fields(spec: TableSpec) -> None:
    for name in (*spec.fields, *spec.flattened):
        if name not in FIELDS:
            near = get_close_matches(name, FIELDS, n=1)
            raise ConfigError(f"unknown field {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    for name in spec.content:
        if name not in CONTENT_NAMES:
            raise ConfigError(f"unknown content {name!r}; known are {', '.join(sorted(CONTENT_NAMES))}")


def _inherit(child: TableSpec, parent: TableSpec) -> TableSpec:
    """The child's entries before the parent's; `...` in a field stands for the parent's sources."""
    merged: dict[str, list[object]] = dict(parent.fields)
    for name, sources in child.fields.items():
        merged[name] = [
            item for source in sources for item in (parent.fields.get(name, []) if source == "..." else [source])
        ]
    return child.model_copy(
        update={
            "usage": child.usage or parent.usage,
            "usage_exclusive_when": child.usage_exclusive_when or parent.usage_exclusive_when,
            "kinds": [*child.kinds, *parent.kinds],
            "fields": merged,
            "flattened": {**parent.flattened, **child.flattened},
            "content": {
                key: [*child.content.get(key, []), *parent.content.get(key, [])]
                for key in {**parent.content, **child.content}
            },
            "about_span": [*child.about_span, *parent.about_span],
            "pseudo_tools": [*child.pseudo_tools, *parent.pseudo_tools],
            "pseudo_tasks": [*child.pseudo_tasks, *parent.pseudo_tasks],
        }
    )


@contextmanager
def _naming(dialect: str) -> Iterator[None]:
    """Say whose table is wrong."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"dialect {dialect!r}: {error}") from error


def _exclusive_source(when: ExclusiveWhen) -> Source:
    found = compile_sources(when.has_path)
    lacked = frozenset(when.lacks)
    return lambda record: None if lacked & record.attributes.keys() else found(record)


def _compile(spec: TableSpec) -> Dialect:
    with _naming(spec.dialect):
        return _compiled(spec)


def _compiled(spec: TableSpec) -> Dialect:
    _known_fields(spec)
    when = spec.usage_exclusive_when
    return Dialect(
        name=spec.dialect,
        version=spec.version,
        precedence=spec.precedence,
        usage=spec.usage or "unknown",
        exclusive_when=_exclusive_source(when) if when else None,
        output_excludes_reasoning=spec.output_excludes_reasoning,
        detect=tuple(spec.detect),
        kind_rules=tuple(_kind_rule(rule) for rule in spec.kinds),
        fields={name: compile_sources(sources) for name, sources in spec.fields.items() if sources},
        flattened=spec.flattened,
        content=spec.content,
        about_span=frozenset(spec.about_span),
        argument_keys=spec.argument_keys,
        pseudo_tools=frozenset(spec.pseudo_tools),
        pseudo_tasks=tuple(spec.pseudo_tasks),
        subagent_tools=frozenset(spec.subagent_tools),
        default_agent=spec.default_agent,
        agent_name_from_span=spec.agent_name_from_span,
    )


def _read(name: str, text: str) -> TableSpec:
    try:
        parsed: object = yaml.load(text, Loader=_SAFE_LOADER)  # noqa: S506
        return TableSpec.model_validate(parsed)
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigError(f"dialect table {name}: {error}") from error


def _resolved(spec: TableSpec, specs: Mapping[str, TableSpec], depth: int = 0) -> TableSpec:
    if spec.extends is None:
        return spec
    parent = specs.get(spec.extends)
    if parent is None:
        raise ConfigError(f"dialect {spec.dialect!r} extends {spec.extends!r}, which no table defines")
    if depth == ANCESTORS_MAX:
        raise ConfigError(f"dialect {spec.dialect!r} extends {spec.extends!r}, which leads back to itself")
    return _inherit(spec, _resolved(parent, specs, depth + 1))


ANCESTORS_MAX = 8
_STATIC = frozenset({"scope", "service", "signal"})
CANDIDATES_MAX = 4096


@dataclass(slots=True)
class DialectBook:
    """Every dialect in order of precedence; finds the one that speaks for a record."""

    dialects: tuple[Dialect, ...]
    content: Mapping[str, Sequence[str]]
    _rules: list[tuple[Dialect, Predicate | None, Predicate | None]] = field(init=False)
    _candidates: dict[tuple[str, str, bool], list[tuple[Dialect, Predicate | None]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rules = []
        for dialect in self.dialects:
            with _naming(dialect.name):
                self._rules += [(dialect, *_split(choice)) for choice in dialect.detect]

    def detect(self, record: Record) -> Dialect | None:
        """The dialect of a record; NULL when no table knows it."""
        key = (record.scope, record.service, record.is_log)
        candidates = self._candidates.get(key)
        if candidates is None:
            candidates = self._remember(key, record)
        for dialect, applies in candidates:
            if applies is None or applies(record):
                return dialect
        return None

    def _remember(self, key: tuple[str, str, bool], record: Record) -> list[tuple[Dialect, Predicate | None]]:
        if len(self._candidates) >= CANDIDATES_MAX:
            self._candidates.clear()
        found: list[tuple[Dialect, Predicate | None]] = []
        for dialect, fixed, varying in self._rules:
            if fixed is None or fixed(record):
                found.append((dialect, varying))
                if varying is None:
                    break
        self._candidates[key] = found
        return found


def _split(choice: Mapping[str, object]) -> tuple[Predicate | None, Predicate | None]:
    fixed = {key: value for key, value in choice.items() if key in _STATIC}
    varying = {key: value for key, value in choice.items() if key not in _STATIC}
    return (compile_predicate(fixed) if fixed else None, compile_predicate(varying) if varying else None)


def load_dialects(extra: Path | None = None) -> DialectBook:
    """The tables of the package and of a site's own folder; a site's table replaces one of the same name.

    Raises:
        ConfigError: there is no such folder, or a table is malformed; the message names it.
    """
    texts = {
        entry.name: entry.read_text()
        for entry in files(__package__).joinpath("tables").iterdir()
        if entry.name.endswith(".yaml")
    }
    if extra is not None:
        if not extra.is_dir():
            raise ConfigError(f"dialects.folder {str(extra)!r} is no folder; make it, or leave the setting out")
        texts |= {path.name: path.read_text() for path in sorted(extra.glob("*.yaml"))}
    specs = {spec.dialect: spec for name, text in sorted(texts.items()) for spec in (_read(name, text),)}
    resolved = [_resolved(spec, specs) for spec in specs.values()]
    content: dict[str, list[str]] = {}
    for spec in resolved:
        for name, keys in spec.content.items():
            content.setdefault(name, []).extend(key for key in keys if key not in content.get(name, []))
    dialects = sorted((_compile(spec) for spec in resolved if spec.detect), key=lambda dialect: dialect.precedence)
    return DialectBook(dialects=tuple(dialects), content=content)
