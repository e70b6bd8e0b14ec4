"""When a rule of a dialect table applies: a map whose every entry must hold, or a list of which one must.

scope: opentelemetry.instrumentation.genai.*    glob on the scope name
service: claude-code                            glob on the service name
name: "chat *"                                  glob on the span name
event: "codex.*"                                glob on the event name
has: gen_ai.system                              an attribute is there (or each of a list)
lacks: gen_ai.provider.name                     an attribute is not there
equals: {gen_ai.operation.name: [chat, …]}      an attribute is one of these texts
prefix: traceloop.                              some attribute's key starts so
resource: {telemetry.sdk.language: rust}        a resource attribute is one of these texts
signal: spans                                   only spans, or only logs
"""

import re
from collections.abc import Callable, Mapping
from fnmatch import translate

from headgate_processors.dialects.record import Attributes, Record
from headgate_processors.errors import ConfigError

Predicate = Callable[[Record], bool]


def _listed(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _glob(read: Callable[[Record], str], value: object) -> Predicate:
    globs = _listed(value)
    if not any(set(glob) & set("*?[") for glob in globs):
        exact = frozenset(globs)
        return lambda record: read(record) in exact
    pattern = re.compile("|".join(translate(glob) for glob in globs))
    return lambda record: pattern.match(read(record)) is not None


def _has(value: object) -> Predicate:
    keys = _listed(value)
    if len(keys) == 1:
        key = keys[0]
        return lambda record: key in record.attributes
    return lambda record: all(key in record.attributes for key in keys)


def _lacks(value: object) -> Predicate:
    keys = _listed(value)
    return lambda record: not any(key in record.attributes for key in keys)


def _equals(read: Callable[[Record], Attributes], value: object) -> Predicate:
    if not isinstance(value, Mapping):
        raise ConfigError(f"dialect predicate: expected a map of attribute to values, got {value!r}")
    wanted = [(str(key), frozenset(_listed(item))) for key, item in value.items()]
    if len(wanted) == 1:
        only, values = wanted[0]
        return lambda record: str(read(record).get(only)) in values
    return lambda record: all(str(read(record).get(key)) in values for key, values in wanted)


def _prefix(value: object) -> Predicate:
    prefixes = tuple(_listed(value))
    return lambda record: any(key.startswith(prefixes) for key in record.attributes)


def _signal(value: object) -> Predicate:
    if value not in {"spans", "logs"}:
        raise ConfigError(f"dialect predicate: signal {value!r}; known are spans, logs")
    wants_log = value == "logs"
    return lambda record: record.is_log is wants_log


_BUILDERS: Mapping[str, Callable[[object], Predicate]] = {
    "scope": lambda value: _glob(lambda record: record.scope, value),
    "service": lambda value: _glob(lambda record: record.service, value),
    "name": lambda value: _glob(lambda record: record.name, value),
    "event": lambda value: _glob(lambda record: record.event, value),
    "has": _has,
    "lacks": _lacks,
    "equals": lambda value: _equals(lambda record: record.attributes, value),
    "resource": lambda value: _equals(lambda record: record.resource, value),
    "prefix": _prefix,
    "signal": _signal,
}


def compile_predicate(spec: object) -> Predicate:
    """A predicate from a map (all entries) or a list of maps (any of them).

    Raises:
        ConfigError: an entry is not one of those above.
    """
    if isinstance(spec, list):
        choices = tuple(compile_predicate(item) for item in spec)
        return lambda record: any(choice(record) for choice in choices)
    if not isinstance(spec, Mapping) or not spec:
        raise ConfigError(f"dialect predicate: expected a map, got {spec!r}")
    unknown = set(spec) - set(_BUILDERS)
    if unknown:
        raise ConfigError(f"dialect predicate: unknown {sorted(unknown)}; known are {', '.join(_BUILDERS)}")
    parts = tuple(_BUILDERS[str(key)](value) for key, value in spec.items())
    if len(parts) == 1:
        return parts[0]
    return lambda record: all(part(record) for part in parts)
