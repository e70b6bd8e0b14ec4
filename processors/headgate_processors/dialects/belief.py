"""What is believed of a request: who saw it, whom it names, and which `headgate.*` it may carry.

Everything under `headgate.` is Headgate's own word, so it is believed from Headgate's own parts only. Of a
client the six claims on the resource are kept and the rest is dropped: on resource, scope, record, event and
data point here, on links and exemplars, which no Collector can strip, wherever those are read, whoever sent
them. A log whose event name is Headgate's, such as `headgate.decision`, loses the name.

A Collector passes on what others sent. The subject that it stamped on a resource says whose it is.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from headgate_processors.credentials.subjects import role_of_subject
from headgate_processors.dialects.columns import low, mapped, tiled
from headgate_processors.receiver.port import CLIENT, Sender

OURS = "headgate."
SUBJECT = "headgate.auth.subject"
CLAIMS = frozenset(
    {
        "headgate.instance.id",
        "headgate.team",
        "headgate.user.id",
        "headgate.workflow",
        "headgate.repo",
        "headgate.task_class",
    }
)
INSTANCE = ("headgate.instance.id", "headgate.instance_id")
_ENFORCERS = frozenset({"gateway", "control", "runtime"})
_AUTH = "headgate.auth."
_MENTION = re.compile(rb'"headgate\.')
_RESOURCE = "resource_attributes"

Attributes = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Believed:
    """A wire batch without what its sender may not say.

    `witness` is a dictionary column and `principals` a list, both with one entry a row: who saw the record,
    and the subject of the agent that a credential vouches for. `forged` counts the values of columns that
    were changed.
    """

    wire: pa.RecordBatch
    witness: pa.Array
    principals: Sequence[str | None]
    forged: int


def believe(wire: pa.RecordBatch, sender: Sender) -> Believed:
    """The batch as far as `sender` is believed."""
    if sender.role == "collector":
        return _passed_on(wire)
    rows = wire.num_rows
    clean, forged = _cleaned(wire, None) if sender.witness == "client" else _unstamped(wire)
    principals = (
        _named(clean) if sender.witness in _ENFORCERS else [sender.subject if sender.role == "client" else None] * rows
    )
    return Believed(wire=clean, witness=tiled(sender.witness, rows), principals=principals, forged=forged)


def without_ours(attributes: object) -> dict[str, object]:
    """Attributes without `headgate.*`."""
    if not isinstance(attributes, Mapping):
        return {}
    return {key: value for key, value in attributes.items() if not key.startswith(OURS)}


def _named(wire: pa.RecordBatch) -> Sequence[str | None]:
    """The instance of each row, whose credential the enforcement point saw."""
    place = wire.schema.get_field_index("attributes")
    if place < 0:
        return [None] * wire.num_rows
    column = wire.column(place)
    texts = column.dictionary.to_pylist() if pa.types.is_dictionary(column.type) else column.to_pylist()
    found = [_instance(text) for text in texts]
    return [found[index] for index in column.indices.to_pylist()] if pa.types.is_dictionary(column.type) else found


def _instance(attributes: str | None) -> str | None:
    if attributes is None or not any(key in attributes for key in INSTANCE):
        return None
    told = orjson.loads(attributes)
    return next((found for key in INSTANCE if isinstance(found := told.get(key), str) and found), None)


def _passed_on(wire: pa.RecordBatch) -> Believed:
    """A Collector's batch: the stamp on each resource decides who saw its rows."""
    column = wire.column(_RESOURCE)
    senders = [_stamped(text) for text in column.dictionary.to_pylist()] if _mentions(column) else []
    if not senders:
        clean, forged = _cleaned(wire, None)
        rows = wire.num_rows
        return Believed(wire=clean, witness=tiled("client", rows), principals=[None] * rows, forged=forged)
    witnesses: list[str | None] = [sender.witness for sender in senders]
    subjects = [sender.subject for sender in senders]
    principals = [subjects[index] for index in column.indices.to_pylist()]
    witness = low(witnesses, column.indices)
    is_client = pc.equal(witness.cast(pa.string()), "client")
    clean, forged = _cleaned(wire, None if "client" in witnesses and len(set(witnesses)) == 1 else is_client)
    return Believed(wire=_unstamped(clean)[0], witness=witness, principals=principals, forged=forged)


def _stamped(resource: str) -> Sender:
    """Whose resource it is: a subject that is no agent's names a witness, not a principal."""
    subject = orjson.loads(resource).get(SUBJECT)
    if not isinstance(subject, str) or not subject:
        return CLIENT
    role = role_of_subject(subject)
    return Sender(role=role, subject=subject if role == "client" else None)


def _unstamped(wire: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
    """The batch without `headgate.auth.*` on resources, which only a Collector may stamp."""
    return _changed(wire, _RESOURCE, lambda text: _filtered(text, lambda key, _: not key.startswith(_AUTH)), None)


def _cleaned(wire: pa.RecordBatch, rows: pa.Array | None) -> tuple[pa.RecordBatch, int]:
    """The batch without what clients may not say, in these rows only when `rows` says which."""
    wire, forged = _nameless(wire, rows)
    for name, clean in _CLEANERS.items():
        wire, changed = _changed(wire, name, clean, rows)
        forged += changed
    return wire, forged


def _nameless(wire: pa.RecordBatch, rows: pa.Array | None) -> tuple[pa.RecordBatch, int]:
    """The batch without event names that are ours."""
    place = wire.schema.get_field_index("event_name")
    names = wire.column(place).dictionary.to_pylist() if place >= 0 else []
    if not any(map(_is_ours, names)):
        return wire, 0
    foreign = [None if _is_ours(name) else name for name in names]
    return _replaced(wire, place, low(foreign, wire.column(place).indices), rows)


def _changed(
    wire: pa.RecordBatch, name: str, clean: Callable[[str], str], rows: pa.Array | None
) -> tuple[pa.RecordBatch, int]:
    place = wire.schema.get_field_index(name)
    if place < 0 or not _mentions(wire.column(place)):
        return wire, 0
    return _replaced(wire, place, mapped(wire.column(place), clean), rows)


def _replaced(wire: pa.RecordBatch, place: int, after: pa.Array, rows: pa.Array | None) -> tuple[pa.RecordBatch, int]:
    """The batch with another column in `rows`, and how many values that changed."""
    before = wire.column(place)
    was, now = before.cast(pa.string()), after.cast(pa.string())
    if rows is not None:
        now = pc.if_else(rows, now, was)
        after = now.dictionary_encode() if pa.types.is_dictionary(before.type) else now
    same = pc.sum(pc.fill_null(pc.equal(was, now), fill_value=False)).as_py() or 0
    changed = len(was) - was.null_count - same
    return wire.set_column(place, wire.schema.field(place), after), changed


def _mentions(column: pa.Array) -> bool:
    """Whether some text of a column may hold a key of ours; one search over the bytes of all of them."""
    texts = column.dictionary if pa.types.is_dictionary(column.type) else column
    held = texts.buffers()[2]
    return held is not None and _MENTION.search(memoryview(held)) is not None


def _filtered(text: str, keep: Callable[[str, object], bool]) -> str:
    """A JSON object with the members that `keep` wants; the same text when that is all of them."""
    members = orjson.loads(text)
    kept = {key: value for key, value in members.items() if keep(key, value)}
    return text if len(kept) == len(members) else orjson.dumps(kept).decode()


def _is_foreign(key: str, value: object) -> bool:
    """Whether an attribute is none of ours, nor the name of an event of ours."""
    return not (key.startswith(OURS) or (key == "event.name" and _is_ours(value)))


def _is_ours(name: object) -> bool:
    return isinstance(name, str) and name.startswith(OURS)


def _claims_only(resource: str) -> str:
    return _filtered(resource, lambda key, _: key in CLAIMS or not key.startswith(OURS))


def _foreign(attributes: str) -> str:
    return _filtered(attributes, _is_foreign)


def _foreign_events(text: str) -> str:
    events = orjson.loads(text)
    kept = [{**event, "attributes": without_ours(event.get("attributes"))} for event in events]
    return text if kept == events else orjson.dumps(kept).decode()


_CLEANERS: Mapping[str, Callable[[str], str]] = {
    _RESOURCE: _claims_only,
    "scope_attributes": _foreign,
    "attributes": _foreign,
    "events": _foreign_events,
}
