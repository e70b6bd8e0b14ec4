"""Which records of the chains are about a session or a stop."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from headgate_control.audit.log import log_records, writers
from headgate_control.kinds import BUDGET, INSTANCE, MANIFEST, STOP
from headgate_control.policy.kept import POLICY
from headgate_processors.errors import StoreError

DECISION = "decision"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What an archive is about.

    Of a session: the keys that it goes by, and its traces. Of a stop: its id, the decisions of the calls that it cut,
    and the instance that it names.
    """

    kind: Literal["session", "stop"]
    id: str
    keys: frozenset[str] = frozenset()
    trace_ids: frozenset[str] = frozenset()
    decision_ids: frozenset[str] = frozenset()
    instances: frozenset[str] = frozenset()

    def is_meant(self, body: Mapping[str, Any]) -> bool:
        """Whether a decision, or anything else that a log says, is about it."""
        if self.kind == "stop":
            return body.get("stop_id") == self.id or body.get("decision_id") in self.decision_ids
        named = body.get("session_key", body.get("session"))
        return named in self.keys or body.get("session_id") == self.id or body.get("trace_id") in self.trace_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the records about a subject lead to: who acted, under what, stopped by what, on what reservations."""

    subject: Subject
    instances: frozenset[str] = frozenset()
    manifests: frozenset[str] = frozenset()
    stops: frozenset[str] = frozenset()
    reservations: frozenset[str] = frozenset()
    policies: frozenset[str] = frozenset()

    def in_log(self, body: Mapping[str, Any]) -> bool:
        """Whether a record of a log belongs to it: what is about the subject, and what was reserved for that."""
        if body.get("kind") in {"reserve", "settle"}:
            return body.get("reservation_id") in self.reservations
        return self.subject.is_meant(body)

    def in_journal(self, event: Mapping[str, Any]) -> bool:
        """Whether an event of the journal belongs to it."""
        named = {INSTANCE: self.instances, MANIFEST: self.manifests}
        match event.get("kind"):
            case kind if kind in named:
                return event["id"] in named[kind]
            case kind if kind == POLICY:
                return any(side.get("digest") in self.policies for side in _sides(event))
            case kind if kind == STOP:
                return any(self._is_its(stop) for stop in _sides(event))
            case kind if kind == BUDGET:
                return any(self._is_bound(side.get("place")) for side in _sides(event))
        return False

    def _is_its(self, stop: Mapping[str, Any]) -> bool:
        return stop.get("stop_id") in self.stops or self._is_bound(stop.get("key"))

    def _is_bound(self, place: object) -> bool:
        """Whether a stop or a budget is of its session, or of an instance that acted in it."""
        if self.subject.kind == "stop" or not isinstance(place, list):
            return False
        keys = self.subject.keys | {self.subject.id}
        return (place[0] == "session" and place[1] in keys) or (place[0] == "instance" and place[1] in self.instances)


@dataclass(slots=True)
class _Found:
    """Names as they come up."""

    instances: set[str] = field(default_factory=set)
    manifests: set[str] = field(default_factory=set)
    stops: set[str] = field(default_factory=set)
    reservations: set[str] = field(default_factory=set)
    policies: set[str] = field(default_factory=set)

    def take(self, body: Mapping[str, Any]) -> None:
        for names, column in (
            (self.instances, "instance_id"),
            (self.manifests, "manifest_digest"),
            (self.stops, "stop_id"),
            (self.reservations, "reservation_id"),
            (self.policies, "policy_digest"),
        ):
            if isinstance(name := body.get(column), str):
                names.add(name)


def evidence_of(subject: Subject, logs: Path) -> Evidence:
    """Read the logs for what is about a subject.

    Raises:
        StoreError: a log cannot be read to its end.
    """
    found = _Found(instances=set(subject.instances))
    if subject.kind == "stop":
        found.stops.add(subject.id)
    for writer in writers(logs):
        for body in log_bodies(logs, writer):
            if subject.is_meant(body):
                found.take(body)
    return Evidence(
        subject=subject,
        instances=frozenset(found.instances),
        manifests=frozenset(found.manifests),
        stops=frozenset(found.stops),
        reservations=frozenset(found.reservations),
        policies=frozenset(found.policies),
    )


def log_bodies(logs: Path, writer: str) -> Iterable[Mapping[str, Any]]:
    """What the records of a log say.

    Raises:
        StoreError: it cannot be read to its end.
    """
    unreadable: list[Any] = []
    for record in log_records(logs, writer, unreadable):
        body = orjson.loads(record.body)
        if isinstance(body, dict):
            yield body
    for fault in unreadable:
        raise StoreError(f"record {fault.number} of {writer}: {fault.problem}. See: headgate audit verify")


def _sides(event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [side for name in ("before", "after") if isinstance(side := event.get(name), dict)]
