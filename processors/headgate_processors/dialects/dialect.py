"""One compiled dialect: how the records of an agent are read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from headgate_processors.dialects.coerce import to_text
from headgate_processors.dialects.predicate import Predicate
from headgate_processors.dialects.record import Record, Shape
from headgate_processors.dialects.source import Read, Source, Sources

Usage = Literal["inclusive", "exclusive", "unknown"]
FindKind = Callable[[Record], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class KindByPredicate:
    """Records that the predicate holds for are of this kind."""

    applies: Predicate
    kind: str

    def __call__(self, record: Record) -> str | None:
        """The kind, None when the rule does not apply."""
        return self.kind if self.applies.test(record) else None

    def narrowed(self, shape: Shape) -> FindKind | None:
        """What finds the same for records of that shape; None when the rule never applies to them."""
        decided = self.applies.decided(shape)
        if decided is None:
            return self
        return (lambda _: self.kind) if decided else None


@dataclass(frozen=True, slots=True, kw_only=True)
class KindByValue:
    """A value names the kind."""

    source: Source
    kinds: Mapping[str, str]

    def __call__(self, record: Record) -> str | None:
        """The kind, None when the value is none that the rule knows."""
        return self.kinds.get(to_text(self.source.read(record)) or "")

    def narrowed(self, shape: Shape) -> FindKind | None:
        """What finds the same for records of that shape; None when the rule never applies to them."""
        return self if self.source.can_read(shape) or "" in self.kinds else None


KindRule = KindByPredicate | KindByValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A compiled table.

    `fields` maps a canonical field to the function that reads it; `kind` says what a record is.
    """

    name: str
    version: str
    precedence: int
    usage: Usage
    exclusive_when: Read | None
    output_excludes_reasoning: bool
    detect: tuple[Mapping[str, object], ...]
    kind_rules: tuple[KindRule, ...]
    fields: Mapping[str, Sources]
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
