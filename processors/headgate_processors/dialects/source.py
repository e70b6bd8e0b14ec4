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

from headgate_processors.dialects.coerce import UNITS, duration_ns, parse_json, to_text
from headgate_processors.dialects.messages import event_choices, event_messages, regroup
from headgate_processors.dialects.record import Record
from headgate_processors.errors import ConfigError

Source = Callable[[Record], object]

_PARTS: Mapping[str, Source] = {
    "@name": lambda record: record.name or None,
    "@event": lambda record: record.event or None,
    "@scope": lambda record: record.scope or None,
    "@service": lambda record: record.service or None,
    "@body": lambda record: record.body,
    "@event_messages": lambda record: event_messages(record.events),
    "@event_choices": lambda record: event_choices(record.events),
}


def dig(value: object, path: Sequence[str]) -> object:
    """The value at `path` inside maps, lists (by index, `-1` the last) and JSON text; NULL when it leads nowhere."""
    for step in path:
        value = parse_json(value)
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.removeprefix("-").isdecimal() and -len(value) <= int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _attribute(key: str) -> Source:
    return lambda record: record.attributes.get(key)


def _resource(key: str) -> Source:
    return lambda record: record.resource.get(key)


def _flattened(prefix: str) -> Source:
    return lambda record: regroup(record.attributes, prefix)


def _constant(value: object) -> Source:
    return lambda _: value


def _named(text: str) -> Source:
    base, _, path = text.partition("#")
    read = _PARTS.get(base) if base.startswith("@") else _attribute(base)
    if read is None:
        raise ConfigError(f"dialect source {text!r}: no part {base!r}; known parts are {', '.join(_PARTS)}")
    if not path:
        return read
    steps = path.split(".")
    return lambda record: dig(read(record), steps)


def _span_event(name: str, key: str) -> Source:
    def read(record: Record) -> object:
        for event in reversed(record.events):
            if name in (event.get("name"), "*"):
                attributes = event.get("attributes")
                value = attributes.get(key) if isinstance(attributes, Mapping) else None
                if value is not None:
                    return value
        return None

    return read


def _searched(read: Source, pattern: str) -> Source:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"dialect source: {pattern!r} is no regular expression: {error}") from error
    if not compiled.groups:
        raise ConfigError(f"dialect source: {pattern!r} has no group; put what is wanted in parentheses")

    def search(record: Record) -> object:
        text = to_text(read(record))
        found = compiled.search(text) if text else None
        return next((group for group in found.groups() if group), None) if found else None

    return search


def _converted(read: Source, unit: str) -> Source:
    if unit not in UNITS:
        raise ConfigError(f"dialect source: unknown unit {unit!r}; known are {', '.join(UNITS)}")
    convert = duration_ns(unit)
    return lambda record: convert(read(record))


def _only_event(read: Source, event: str) -> Source:
    return lambda record: read(record) if record.event == event else None


def _detailed(spec: Mapping[str, object]) -> Source:
    rest = dict(spec)
    base = next((key for key in ("constant", "span_event", "resource", "flattened", "attribute") if key in rest), None)
    if base is None or (base == "span_event" and "attribute" not in rest):
        raise ConfigError(f"dialect source {rest!r}: expected `attribute`, beside `span_event` too")
    value = rest.pop(base)
    if base == "constant":
        read = _constant(value)
    elif base == "span_event":
        read = _span_event(str(value), str(rest.pop("attribute")))
    elif base == "flattened":
        read = _flattened(str(value))
    elif base == "resource":
        read = _resource(str(value))
    else:
        read = _named(str(value))
    if "regex" in rest:
        read = _searched(read, str(rest.pop("regex")))
    if "only_event" in rest:
        read = _only_event(read, str(rest.pop("only_event")))
    if "unit" in rest:
        read = _converted(read, str(rest.pop("unit")))
    if rest:
        raise ConfigError(f"dialect source {dict(spec)!r}: unknown keys {', '.join(sorted(rest))}")
    return read


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


def compile_sources(specs: object) -> Source:
    """The first of several sources that has a value; an empty text is no value."""
    listed = specs if isinstance(specs, list) else [specs]
    if all(isinstance(spec, str) and not spec.startswith("@") and "#" not in spec for spec in listed):
        return _first_attribute(tuple(str(spec) for spec in listed))
    sources = tuple(compile_source(spec) for spec in listed)

    def first(record: Record) -> object:
        for source in sources:
            value = source(record)
            if value is not None and value != "":
                return value
        return None

    return first


def _first_attribute(keys: tuple[str, ...]) -> Source:
    if len(keys) == 1:
        return _attribute(keys[0])

    def first(record: Record) -> object:
        attributes = record.attributes
        for key in keys:
            value = attributes.get(key)
            if value is not None and value != "":
                return value
        return None

    return first
