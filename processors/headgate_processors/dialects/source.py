"""Where a canonical field comes from: the small language of the dialect tables, compiled to closures.

gen_ai.request.model                          an attribute
usage_metadata#input_token_details.cache_read a path inside an attribute that holds JSON, or a map
@name, @event, @scope, @service, @body        a part of the record; `@body#message.tool_calls` a path in it
@event_messages, @event_choices               input and output as the span events of the first conventions tell them
{attribute: …, regex: …}                      the first group of a regular expression, searched in text
{resource: …}                                 a resource attribute
{span_event: …, attribute: …}                 an attribute of the last span event of that name; `*` for any
{attribute: …, unit: ms}                      a duration in another unit than seconds
{attribute: …, only_event: …}                 only on a log event of that name
{flattened: gen_ai.completion.}               attributes `prefix.N.key` regrouped as a list
{constant: …}                                 always this
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from headgate_processors.dialects.coerce import UNITS, duration_ns, parse_json, to_text
from headgate_processors.dialects.messages import event_choices, event_messages, regroup
from headgate_processors.dialects.record import Record, Shape
from headgate_processors.errors import ConfigError

Read = Callable[[Record], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Reads one value of a record; `key`, `prefix`, `part` and `event` are what a record must have for it."""

    read: Read
    key: str | None = None
    prefix: str | None = None
    part: Literal["body", "events"] | None = None
    event: str | None = None

    def __call__(self, record: Record) -> object:
        """The value, NULL when the record has none."""
        return self.read(record)

    def can_read(self, shape: Shape) -> bool:
        """Whether a record of that shape may have a value."""
        if self.event is not None and self.event != shape.event:
            return False
        if (self.part == "body" and not shape.has_body) or (self.part == "events" and not shape.has_events):
            return False
        if self.prefix is not None:
            return any(key.startswith(self.prefix) for key in shape.keys)
        return self.key is None or self.key in shape.keys


@dataclass(frozen=True, slots=True)
class Attribute:
    """Reads an attribute as it is."""

    key: str

    def __call__(self, record: Record) -> object:
        """The value, NULL when the record has none."""
        return record.attributes.get(self.key)


class Narrowed(NamedTuple):
    """What reads a value of records of one shape: an attribute to look at first, and what else where that has none."""

    key: str | None
    rest: Read | None


@dataclass(frozen=True, slots=True)
class Sources:
    """Several sources of one value, in order."""

    parts: tuple[Source, ...]

    def __call__(self, record: Record) -> object:
        """The first value that is there; an empty text is no value."""
        return _first(record, self.parts)

    def narrowed(self, shape: Shape) -> Narrowed | None:
        """What reads the same of records of that shape, an empty text where that is all; None when they have none."""
        able = [part.read for part in self.parts if part.can_read(shape)]
        if not able:
            return None
        if isinstance(able[0], Attribute):
            return Narrowed(able[0].key, _either(able[1:]))
        return Narrowed(None, _either(able))


def _either(reads: Sequence[Read]) -> Read | None:
    if len(reads) < 2:
        return reads[0] if reads else None
    return lambda record: _first(record, reads)


def _first(record: Record, reads: Sequence[Read]) -> object:
    for read in reads:
        value = read(record)
        if value is not None and value != "":
            return value
    return None


_PARTS: Mapping[str, Source] = {
    "@name": Source(read=lambda record: record.name or None),
    "@event": Source(read=lambda record: record.event or None),
    "@scope": Source(read=lambda record: record.scope or None),
    "@service": Source(read=lambda record: record.service or None),
    "@body": Source(read=lambda record: record.body, part="body"),
    "@event_messages": Source(read=lambda record: event_messages(record.events), part="events"),
    "@event_choices": Source(read=lambda record: event_choices(record.events), part="events"),
}


def _descended(value: object, path: Sequence[str]) -> object:
    """The value at `path` inside maps, lists (by index, `-1` the last) and JSON text; NULL when it leads nowhere.

    The value itself is parsed already.
    """
    for place, step in enumerate(path):
        value = parse_json(value) if place else value
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.removeprefix("-").isdecimal() and -len(value) <= int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _attribute(key: str) -> Source:
    return Source(read=Attribute(key), key=key)


def _resource(key: str) -> Source:
    return Source(read=lambda record: record.resource.get(key))


def _flattened(prefix: str) -> Source:
    return Source(read=lambda record: regroup(record.attributes, prefix), prefix=prefix)


def _constant(value: object) -> Source:
    return Source(read=lambda _: value)


def _named(text: str) -> Source:
    base, _, path = text.partition("#")
    source = _PARTS.get(base) if base.startswith("@") else _attribute(base)
    if source is None:
        raise ConfigError(f"dialect source {text!r}: no part {base!r}; known parts are {', '.join(_PARTS)}")
    if not path:
        return source
    read, steps = source.read, path.split(".")
    return replace(source, read=lambda record: _descended(record.parsed(read(record)), steps))


def _span_event(name: str, key: str) -> Source:
    def read(record: Record) -> object:
        for event in reversed(record.events):
            if name in (event.get("name"), "*"):
                attributes = event.get("attributes")
                value = attributes.get(key) if isinstance(attributes, dict) else None
                if value is not None:
                    return value
        return None

    return Source(read=read, part="events")


def _searched(source: Source, pattern: str) -> Source:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"dialect source: {pattern!r} is no regular expression: {error}") from error
    if not compiled.groups:
        raise ConfigError(f"dialect source: {pattern!r} has no group; put what is wanted in parentheses")

    read = source.read

    def search(record: Record) -> object:
        text = to_text(read(record))
        found = compiled.search(text) if text else None
        return next(filter(None, found.groups()), None) if found else None

    return replace(source, read=search)


def _converted(source: Source, unit: str) -> Source:
    if unit not in UNITS:
        raise ConfigError(f"dialect source: unknown unit {unit!r}; known are {', '.join(UNITS)}")
    read, convert = source.read, duration_ns(unit)
    return replace(source, read=lambda record: convert(read(record)))


def _only_event(source: Source, event: str) -> Source:
    read = source.read
    return replace(source, read=lambda record: read(record) if record.event == event else None, event=event)


def _detailed(spec: Mapping[str, object]) -> Source:
    rest = dict(spec)
    base = next((key for key in ("constant", "span_event", "resource", "flattened", "attribute") if key in rest), None)
    if base is None or (base == "span_event" and "attribute" not in rest):
        raise ConfigError(f"dialect source {rest!r}: expected `attribute`, beside `span_event` too")
    value = rest.pop(base)
    if base == "constant":
        source = _constant(value)
    elif base == "span_event":
        source = _span_event(str(value), str(rest.pop("attribute")))
    elif base == "flattened":
        source = _flattened(str(value))
    elif base == "resource":
        source = _resource(str(value))
    else:
        source = _named(str(value))
    if "regex" in rest:
        source = _searched(source, str(rest.pop("regex")))
    if "only_event" in rest:
        source = _only_event(source, str(rest.pop("only_event")))
    if "unit" in rest:
        source = _converted(source, str(rest.pop("unit")))
    if rest:
        raise ConfigError(f"dialect source {dict(spec)!r}: unknown keys {', '.join(sorted(rest))}")
    return source


def compile_source(spec: object) -> Source:
    """One source, from text or a map.

    Raises:
        ConfigError: the spec is none of the forms above.
    """
    if isinstance(spec, str):
        return _named(spec)
    if isinstance(spec, Mapping):
        return _detailed(spec)
    raise ConfigError(f"dialect source {spec!r}: expected an attribute name or a map")


def compile_sources(specs: object) -> Sources:
    """The first of several sources that has a value; an empty text is no value."""
    listed = specs if isinstance(specs, list) else [specs]
    return Sources(tuple(compile_source(spec) for spec in listed))
