"""One wire record as a dialect sees it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
    events: Sequence[Mapping[str, object]] = field(default=())
    status: str = "UNSET"
    is_log: bool = False

    @property
    def service(self) -> str:
        """The service name, empty when the resource has none."""
        value = self.resource.get("service.name")
        return value if isinstance(value, str) else ""
