"""Dialect tables: what each agent emits, read from YAML and compiled once into plain closures."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from headgate_processors.dialects.dialect import Dialect, KindByPredicate, KindByValue, KindRule, Usage
from headgate_processors.dialects.plan import Detection, Plan, Planner
from headgate_processors.dialects.predicate import compile_predicate
from headgate_processors.dialects.reading import CONTENT_FIELDS
from headgate_processors.dialects.record import Record
from headgate_processors.dialects.source import Read, compile_source, compile_sources
from headgate_processors.errors import ConfigError
from headgate_processors.schema import MEANING

# libyaml where it is there: the tables are read at every start.
_SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

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
        "decision",
        "stop",
        "other",
    }
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


def _kind_rule(spec: Mapping[str, object]) -> KindRule:
    if set(spec) == {"when", "kind"}:
        kind = str(spec["kind"])
        _known_kind(kind)
        return KindByPredicate(applies=compile_predicate(spec["when"]), kind=kind)
    mapping = spec.get("map")
    if set(spec) != {"source", "map"} or not isinstance(mapping, Mapping):
        raise ConfigError(f"kind rule {dict(spec)!r}: expected `when` and `kind`, or `source` and `map`")
    source = compile_source(spec["source"])
    lookup = {
        str(value): str(kind)
        for kind, values in mapping.items()
        for value in (values if isinstance(values, list) else [values])
    }
    for kind in mapping:
        _known_kind(str(kind))
    return KindByValue(source=source, kinds=lookup)


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


def _exclusive_source(when: ExclusiveWhen) -> Read:
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


@dataclass(slots=True)
class DialectBook:
    """Every dialect in order of precedence; finds the one that speaks for a record."""

    dialects: tuple[Dialect, ...]
    content: Mapping[str, Sequence[str]]
    rules: tuple[Detection, ...] = field(init=False)
    _planner: Planner = field(init=False)

    def __post_init__(self) -> None:
        rules: list[Detection] = []
        for dialect in self.dialects:
            with _naming(dialect.name):
                rules += [Detection(dialect, compile_predicate(choice)) for choice in dialect.detect]
        self.rules = tuple(rules)
        self._planner = Planner(self.rules)

    def detect(self, record: Record) -> Dialect | None:
        """The dialect of a record; NULL when no table knows it."""
        return next((rule.dialect for rule in self.rules if rule.applies.test(record)), None)

    def plan(self, record: Record) -> Plan | None:
        """The dialect of a record, made ready for records of its shape; NULL when no table knows it."""
        return self._planner.plan(record)


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
