"""A record of control state, a change of one, and the event that the journal keeps of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from headgate_processors.errors import HeadgateError

Body = Mapping[str, object]


class ConflictError(HeadgateError):
    """Somebody else changed a record in the meantime: read it again, and decide again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is there: `kind` such as `instance`, its id, its fields as JSON. `revision` counts its changes from 1."""

    kind: str
    id: str
    revision: int
    body: Body


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a record becomes; `body` None removes it.

    `revision` is the one that whoever changes it has seen, 0 for a new one; None changes it whatever it is.
    """

    kind: str
    id: str
    body: Body | None
    revision: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change as the journal has it: who, what, when, why, and the record before and after.

    `position` orders the events of all writers, as all nodes see them; `writer`, `number` and `digest` are its place in
    the chain of its writer, and empty where an event came another way than from the journal.
    """

    position: int
    time_unix_nano: int
    author: str
    action: str
    reason: str
    kind: str
    id: str
    before: Body | None
    after: Body | None
    writer: str = ""
    number: int = 0
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A row that somebody else wrote: in which table, as far as it can be told of which writer and number, and why."""

    place: str
    problem: str
    writer: str | None = None
    number: int | None = None


_FIELDS = {
    "time_unix_nano": int,
    "author": str,
    "action": str,
    "reason": str,
    "kind": str,
    "id": str,
    "before": dict | None,
    "after": dict | None,
}


def read_object(body: bytes | str | object) -> Mapping[str, Any]:
    """The JSON object of a column.

    Raises:
        ValueError: it is none.
    """
    found = orjson.loads(body) if isinstance(body, bytes | str) else None
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return found


def read_event(body: bytes | str | object) -> Mapping[str, Any]:
    """What a record of the journal says of an event.

    Raises:
        ValueError: it is none.
    """
    found = read_object(body)
    if found.keys() != _FIELDS.keys() or not all(isinstance(found[name], kind) for name, kind in _FIELDS.items()):
        raise ValueError("no event, as control writes them")
    return found
