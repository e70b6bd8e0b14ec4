"""Dialects made ready for records of one shape.

Agents send the same few shapes of record over and over: the same scope, the same attribute keys. Which dialect
may speak, which of its rules and which of its sources can have anything to say is settled once for a shape, and
only what depends on values is left to do for each record.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from headgate_processors.dialects.dialect import Dialect, FindKind, KindByPredicate
from headgate_processors.dialects.predicate import Predicate, Test
from headgate_processors.dialects.reading import Reading, Vocabulary, readings
from headgate_processors.dialects.record import Record, Shape
from headgate_processors.dialects.source import Narrowed, Source

SHAPES_MAX = 4096
SHAPE_CHARS_MAX = 1024
LAYOUTS_MAX = 2048
LAYOUT_CHARS_MAX = 4096
KEYS_MAX = 8192
KEY_CHARS_MAX = 256

_UNKNOWN = ""


class Detection(NamedTuple):
    """A rule that tells a dialect."""

    dialect: Dialect
    applies: Predicate


@dataclass(frozen=True, slots=True)
class Plan:
    """A dialect with what it can find in records of one shape: rules of kinds, readers of fields, flattened fields."""

    dialect: Dialect
    kinds: tuple[FindKind, ...]
    fields: Mapping[str, Narrowed]
    flattened: Mapping[str, str]
    vocabulary: Vocabulary
    _readings: dict[str, tuple[Reading, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, dialect: Dialect, shape: Shape, vocabulary: Vocabulary) -> "Plan":
        """The plan of a dialect for a shape."""
        return cls(
            dialect=dialect,
            kinds=tuple(find for rule in dialect.kind_rules if (find := rule.narrowed(shape)) is not None),
            fields={name: found for name, own in dialect.fields.items() if (found := own.narrowed(shape)) is not None},
            flattened={
                name: prefix
                for name, prefix in dialect.flattened.items()
                if any(key.startswith(prefix) for key in shape.keys)
            },
            vocabulary=vocabulary,
        )

    def readings(self, kind: str) -> tuple[Reading, ...]:
        """What to read of a record of that kind."""
        found = self._readings.get(kind)
        if found is None:
            found = self._readings[kind] = readings(self.fields, kind, self.vocabulary)
        return found

    def kind(self, record: Record) -> str:
        """What the record is, `other` when no rule speaks."""
        for find in self.kinds:
            found = find(record)
            if found is not None:
                return found
        return "other"


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The dialects that may speak for records of a shape, each with what is left to test; planned at first use."""

    shape: Shape
    tests: tuple[tuple[Test | None, Dialect], ...]
    vocabulary: Vocabulary
    _plans: dict[str, Plan] = field(default_factory=dict)

    def first(self, record: Record) -> Plan | None:
        """The plan of the dialect that speaks for the record."""
        for test, dialect in self.tests:
            if test is None or test(record):
                plan = self._plans.get(dialect.name)
                if plan is None:
                    plan = self._plans[dialect.name] = Plan.of(dialect, self.shape, self.vocabulary)
                return plan
        return None


class _Words(dict[str, str]):
    """What any table knows of an attribute key: the key, its start, or nothing; a bounded number is kept."""

    def __init__(self, keys: frozenset[str], prefixes: Sequence[str]) -> None:
        super().__init__()
        self._keys, self._prefixes = keys, prefixes

    def __missing__(self, key: str) -> str:
        word = key if key in self._keys else next((one for one in self._prefixes if key.startswith(one)), _UNKNOWN)
        if len(key) <= KEY_CHARS_MAX:
            if len(self) >= KEYS_MAX:
                self.clear()
            self[key] = word
        return word


class Kept(NamedTuple):
    """How many attribute keys, shapes and layouts a planner remembers."""

    keys: int
    shapes: int
    layouts: int


class Planner:
    """Finds the plan of a record; keeps a bounded number of them, none for names that are out of all proportion.

    A layout is a shape as it is written: all keys of a record in their order. Each is looked at once.
    """

    def __init__(self, rules: Sequence[Detection]) -> None:
        self._rules = rules
        self._words = _Words(*_known_keys(rules))
        self._vocabulary = Vocabulary()
        self._candidates: dict[Shape, _Candidates] = {}
        self._layouts: dict[tuple[object, ...], _Candidates] = {}

    @property
    def kept(self) -> Kept:
        """How much is remembered."""
        return Kept(keys=len(self._words), shapes=len(self._candidates), layouts=len(self._layouts))

    def plan(self, record: Record) -> Plan | None:
        """The plan of the dialect that speaks for a record; NULL when none does."""
        has_body, has_events = record.body is not None, bool(record.events)
        layout = (record.scope, record.service, record.event, record.is_log, has_body, has_events, *record.attributes)
        candidates = self._layouts.get(layout)
        if candidates is None:
            candidates = self._of_shape(self.shape(record))
            if sum(len(part) for part in layout if isinstance(part, str)) <= LAYOUT_CHARS_MAX:
                if len(self._layouts) >= LAYOUTS_MAX:
                    self._layouts.clear()
                self._layouts[layout] = candidates
        return candidates.first(record)

    def _of_shape(self, shape: Shape) -> _Candidates:
        candidates = self._candidates.get(shape)
        if candidates is None:
            candidates = self._compiled(shape)
            if len(shape.scope) + len(shape.service) + len(shape.event) <= SHAPE_CHARS_MAX:
                if len(self._candidates) >= SHAPES_MAX:
                    self._candidates.clear()
                self._candidates[shape] = candidates
        return candidates

    def shape(self, record: Record) -> Shape:
        """What the record has in common with those that the same plan serves."""
        return Shape(
            record.scope,
            record.service,
            record.event,
            record.is_log,
            record.body is not None,
            bool(record.events),
            frozenset(map(self._words.__getitem__, record.attributes)),
        )

    def _compiled(self, shape: Shape) -> _Candidates:
        tests: list[tuple[Test | None, Dialect]] = []
        for dialect, applies in self._rules:
            decided = applies.decided(shape)
            if decided is not False:
                tests.append((None if decided else applies.test, dialect))
            if decided:
                break
        return _Candidates(shape, tuple(tests), self._vocabulary)


def _known_keys(rules: Sequence[Detection]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Every attribute key that a table looks at, and every start of one, the longest first."""
    keys: set[str] = set()
    prefixes: set[str] = set()
    for dialect, applies in rules:
        keys |= applies.keys
        prefixes |= applies.prefixes
        prefixes |= set(dialect.flattened.values())
        for rule in dialect.kind_rules:
            if isinstance(rule, KindByPredicate):
                keys |= rule.applies.keys
                prefixes |= rule.applies.prefixes
        for source in _sources(dialect):
            keys |= {source.key} if source.key is not None else set()
            prefixes |= {source.prefix} if source.prefix is not None else set()
    return frozenset(keys), tuple(sorted(prefixes, key=len, reverse=True))


def _sources(dialect: Dialect) -> Iterator[Source]:
    for sources in dialect.fields.values():
        yield from sources.parts
    for rule in dialect.kind_rules:
        if not isinstance(rule, KindByPredicate):
            yield rule.source
