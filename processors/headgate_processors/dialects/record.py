"""One wire record as a dialect sees it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from headgate_processors.dialects.coerce import parse_json

Attributes = Mapping[str, object]


@dataclass(slots=True, kw_only=True)
class Record:
    """A span or log record with its attributes parsed; read-only by convention, not frozen because one is made per row.

    `name` is the span name (empty for logs), `event` the event name of a log (empty for spans),
    `body` the parsed body of a log, `events` the span events as `{name, time_unix_nano, attributes}`.
    """

    attributes: Attributes
    resource: Attributes
    scope: str
    name: str = ""
    event: str = ""
    body: object = None
    events: Sequence[Mapping[str, Any]] = field(default=())
    status: str = "UNSET"
    is_log: bool = False
    _parsed: dict[str, object] = field(default_factory=dict)

    def parsed(self, text: object) -> object:
        """What `parse_json` makes of an attribute; several fields look into the same one."""
        if not isinstance(text, str):
            return text
        try:
            return self._parsed[text]
        except KeyError:
            value = self._parsed[text] = parse_json(text)
            return value

    @property
    def service(self) -> str:
        """The service name, empty when the resource has none."""
        value = self.resource.get("service.name")
        return value if isinstance(value, str) else ""


class Shape(NamedTuple):
    """What records have in common that differ in values only.

    `keys` are the attribute keys that any table looks at, and for keys of which a table knows but the start,
    that start.
    """

    scope: str
    service: str
    event: str
    is_log: bool
    has_body: bool
    has_events: bool
    keys: frozenset[str]
