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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate

from headgate_processors.dialects.record import Attributes, Record, Shape
from headgate_processors.errors import ConfigError

Test = Callable[[Record], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicate:
    """Whether a record is as a rule wants it.

    `decided` says what holds for every record of a shape, None where that depends on values. `keys` and
    `prefixes` are the attribute keys, and starts of them, that it looks at.
    """

    test: Test
    decided: Callable[[Shape], bool | None]
    keys: frozenset[str] = frozenset()
    prefixes: frozenset[str] = frozenset()

    def __call__(self, record: Record) -> bool:
        """Whether it holds."""
        return self.test(record)


def _open(_: Shape) -> bool | None:
    """What depends on values alone is never decided."""
    return None


def _listed(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _matches(value: object) -> Callable[[str], bool]:
    globs = _listed(value)
    if not any(set(glob) & set("*?[") for glob in globs):
        return frozenset(globs).__contains__
    pattern = re.compile("|".join(translate(glob) for glob in globs))
    return lambda text: pattern.match(text) is not None


def _scope(value: object) -> Predicate:
    fits = _matches(value)
    return Predicate(test=lambda record: fits(record.scope), decided=lambda shape: fits(shape.scope))


def _service(value: object) -> Predicate:
    fits = _matches(value)
    return Predicate(test=lambda record: fits(record.service), decided=lambda shape: fits(shape.service))


def _event(value: object) -> Predicate:
    fits = _matches(value)
    return Predicate(test=lambda record: fits(record.event), decided=lambda shape: fits(shape.event))


def _name(value: object) -> Predicate:
    fits = _matches(value)
    return Predicate(test=lambda record: fits(record.name), decided=_open)


def _has(value: object) -> Predicate:
    keys = frozenset(_listed(value))
    return Predicate(
        test=lambda record: keys <= record.attributes.keys(), decided=lambda shape: keys <= shape.keys, keys=keys
    )


def _lacks(value: object) -> Predicate:
    keys = frozenset(_listed(value))
    return Predicate(
        test=lambda record: keys.isdisjoint(record.attributes),
        decided=lambda shape: keys.isdisjoint(shape.keys),
        keys=keys,
    )


def _wanted(value: object) -> list[tuple[str, frozenset[str]]]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"dialect predicate: expected a map of attribute to values, got {value!r}")
    return [(str(key), frozenset(_listed(item))) for key, item in value.items()]


def _are(attributes: Attributes, wanted: list[tuple[str, frozenset[str]]]) -> bool:
    return all(str(attributes.get(key)) in values for key, values in wanted)


def _equals(value: object) -> Predicate:
    wanted = _wanted(value)

    def decided(shape: Shape) -> bool | None:
        absent = [values for key, values in wanted if key not in shape.keys]
        return False if any(str(None) not in values for values in absent) else None

    keys = frozenset(key for key, _ in wanted)
    return Predicate(test=lambda record: _are(record.attributes, wanted), decided=decided, keys=keys)


def _resource(value: object) -> Predicate:
    wanted = _wanted(value)
    return Predicate(test=lambda record: _are(record.resource, wanted), decided=_open)


def _prefix(value: object) -> Predicate:
    prefixes = tuple(_listed(value))
    return Predicate(
        test=lambda record: any(key.startswith(prefixes) for key in record.attributes),
        decided=lambda shape: any(key.startswith(prefixes) for key in shape.keys),
        prefixes=frozenset(prefixes),
    )


def _signal(value: object) -> Predicate:
    if value not in {"spans", "logs"}:
        raise ConfigError(f"dialect predicate: signal {value!r}; known are spans, logs")
    wants_log = value == "logs"
    return Predicate(test=lambda record: record.is_log is wants_log, decided=lambda shape: shape.is_log is wants_log)


_BUILDERS: Mapping[str, Callable[[object], Predicate]] = {
    "scope": _scope,
    "service": _service,
    "name": _name,
    "event": _event,
    "has": _has,
    "lacks": _lacks,
    "equals": _equals,
    "resource": _resource,
    "prefix": _prefix,
    "signal": _signal,
}


def compile_predicate(spec: object) -> Predicate:
    """A predicate from a map (all entries) or a list of maps (any of them).

    Raises:
        ConfigError: an entry is not one of those above.
    """
    if isinstance(spec, list):
        return _joined([compile_predicate(item) for item in spec], any)
    if not isinstance(spec, Mapping) or not spec:
        raise ConfigError(f"dialect predicate: expected a map, got {spec!r}")
    unknown = set(spec) - set(_BUILDERS)
    if unknown:
        raise ConfigError(f"dialect predicate: unknown {sorted(unknown)}; known are {', '.join(_BUILDERS)}")
    return _joined([_BUILDERS[str(key)](value) for key, value in spec.items()], all)


def _joined(parts: Sequence[Predicate], how: Callable[[Iterable[bool]], bool]) -> Predicate:
    """One predicate of several: `how` is `all` or `any`."""
    if len(parts) == 1:
        return parts[0]
    tests = tuple(part.test for part in parts)
    settling = how is any

    def decided(shape: Shape) -> bool | None:
        known = [part.decided(shape) for part in parts]
        if settling in known:
            return settling
        return None if None in known else not settling

    return Predicate(
        test=lambda record: how(test(record) for test in tests),
        decided=decided,
        keys=frozenset().union(*(part.keys for part in parts)),
        prefixes=frozenset().union(*(part.prefixes for part in parts)),
    )
