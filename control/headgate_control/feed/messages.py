"""The feed's words: server-sent events whose data is one JSON object. Whoever reads ignores what it does not know.

`hello` says who speaks. `snapshot` is the whole state, in one or more pages. `change` is one change of a record;
`after` is the position of the change before it, so that a reader notices when one is missing. `policy` is the bundle.
`beat` says that nothing else has changed: everything up to its position and epoch was told. `blind` stands in its
place while control itself cannot see its store: stops may have been given that nobody here has heard of.

Credentials travel as the digests that control itself keeps, and nothing that opens anything is among the kinds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import cedarpy
import orjson

from headgate_control.fields import written
from headgate_control.kinds import (
    BUDGET,
    DIRECTORY,
    EPOCH,
    GATEWAY_KEY,
    INSTANCE,
    LIMIT,
    MANIFEST,
    STOP,
    write_budget,
    write_grant,
    write_stop,
)
from headgate_control.policy.bundle import Bundle, bundle_of
from headgate_control.state import State
from headgate_control.store.record import Event

VERSION = 1
"""The version of the feed that is spoken here."""
VERSION_OLDEST = 1
"""The oldest that is still spoken."""

BEAT_EVERY_S = 1.0
STALE_AFTER_S = 5.0
BLIND_AFTER_S = 2.0
"""How long control may not have read its store before it beats no more."""
KINDS = frozenset({INSTANCE, MANIFEST, GATEWAY_KEY, BUDGET, LIMIT, STOP, EPOCH}) | DIRECTORY
RECORDS_A_PAGE = 500
_RETRY_MS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Up to where a reader has been told everything."""

    position: int
    epoch: int


def frame(name: str, body: Mapping[str, object], *, position: int | None = None) -> bytes:
    """One event as it goes over the wire."""
    head = b"" if position is None else b"id: %d\n" % position
    return head + b"event: " + name.encode() + b"\ndata: " + orjson.dumps(body) + b"\n\n"


def hello(run: str, beat: Beat, *, control: str) -> bytes:
    """The first event. `run` is this feed's own name: positions count within it."""
    said = {
        "version": VERSION,
        "version_oldest": VERSION_OLDEST,
        "control": control,
        "run": run,
        "epoch": beat.epoch,
        "position": beat.position,
        "beat_every_s": BEAT_EVERY_S,
    }
    return b"retry: %d\n\n" % _RETRY_MS + frame("hello", said)


def change(event: Event, *, after: int) -> bytes:
    """A change of one record."""
    return frame("change", {"after": after, **record_of(event)}, position=event.position)


def beat(told: Beat) -> bytes:
    """Everything up to here was told."""
    return frame("beat", {"position": told.position, "epoch": told.epoch})


def blind() -> bytes:
    """Control cannot say that everything was told."""
    return frame("blind", {"reason": "control cannot read its own store"})


def policy(bundle: Bundle | None) -> bytes:
    """The bundle that decides; without one everything is denied."""
    return frame("policy", policy_body(bundle))


def snapshot(state: State, position: int) -> Iterator[bytes]:
    """The whole state, a page at a time; the last page says that there is no more."""
    records, page = records_of(state), 0
    found = list(islice(records, RECORDS_A_PAGE))
    while True:
        following = list(islice(records, RECORDS_A_PAGE))
        body = {"page": page, "position": position, "more": bool(following), "records": found}
        yield frame("snapshot", body, position=None if following else position)
        if not following:
            return
        found, page = following, page + 1


def records_of(state: State) -> Iterator[dict[str, object]]:
    """Every record that a state is made of."""
    known = state.snapshot
    yield {"kind": EPOCH, "id": "stops", "body": {"epoch": known.stops.epoch}}
    for digest, grant in known.grants.items():
        yield {"kind": MANIFEST, "id": digest, "body": write_grant(grant)}
    for name, instance in known.instances.items():
        yield {"kind": INSTANCE, "id": name, "body": instance.written()}
    for name, key in state.keys.items():
        yield {"kind": GATEWAY_KEY, "id": name, "body": key.written()}
    for name, budget in state.budgets.items():
        yield {"kind": BUDGET, "id": name, "body": write_budget(budget)}
    for name, limit in state.limits.items():
        yield {"kind": LIMIT, "id": name, "body": limit.written()}
    for kind, entries in known.directory.entries.items():
        for name, entry in entries.items():
            yield {"kind": kind, "id": name, "body": written(entry)}
    for stop in known.stops:
        yield {"kind": STOP, "id": stop.stop_id, "body": write_stop(stop)}


def record_of(event: Event) -> dict[str, object]:
    """What a reader needs of a change; `before` only where a stop ends, which is known by it."""
    said: dict[str, object] = {"kind": event.kind, "id": event.id, "body": event.after}
    if event.kind == STOP and event.after is None:
        said["before"] = event.before
    return said


def event_of(record: Mapping[str, Any], *, position: int) -> Event:
    """The change that a reader takes in.

    Raises:
        KeyError: a part is missing.
    """
    return Event(
        position=position,
        time_unix_nano=0,
        author="",
        action="",
        reason="",
        kind=str(record["kind"]),
        id=str(record["id"]),
        before=record.get("before"),
        after=record["body"],
    )


def policy_body(bundle: Bundle | None) -> dict[str, object]:
    """A bundle as text that any version of Headgate can read and check again."""
    if bundle is None:
        return {"digest": None}
    parts = {"staticPolicies": bundle.written, "templates": {}, "templateLinks": []}
    text = cedarpy.policies_from_json_str(orjson.dumps(parts).decode())
    return {"digest": bundle.digest, "text": text, "arguments": dict(bundle.arguments)}


def bundle_from(body: Mapping[str, Any]) -> Bundle | None:
    """The bundle of a `policy` event, under the digest that control gave it.

    Raises:
        ConfigError: it does not fit the schema of this version.
    """
    if body.get("digest") is None:
        return None
    bundle = bundle_of({"policies of control": str(body.get("text", ""))}, body.get("arguments") or {})
    return replace(bundle, digest=str(body["digest"]))
