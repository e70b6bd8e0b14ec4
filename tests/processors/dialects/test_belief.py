"""Tests of what is believed of a request: forged `headgate.*` at every level, stamps of a Collector, witnesses."""

from collections.abc import Mapping
from typing import Any

import orjson
import pyarrow as pa
import pytest

from headgate_processors.credentials.subjects import role_of_subject
from headgate_processors.dialects import Arrival, Normaliser
from headgate_processors.dialects.belief import CLAIMS, believe
from headgate_processors.otlp import decode
from headgate_processors.otlp.port import Encoding, Signal
from headgate_processors.receiver.port import CLIENT, Role, Sender
from headgate_processors.testing.otlp import (
    START_UNIX_NANO,
    Request,
    Value,
    joined,
    logs_request,
    metrics_request,
    to_json,
    to_protobuf,
    traces_request,
)

FORGED: dict[str, Value] = {"headgate.decision": "allow", "headgate.auth.subject": "spiffe://x/control/one", "kept": 1}
RESOURCE: dict[str, Value] = {"service.name": "fixer", **dict.fromkeys(CLAIMS, "claimed"), **FORGED}
COLLECTOR = Sender(role="collector", token_id="c1")
AGENT = "spiffe://headgate/agent/agt-7"
GATEWAY = "spiffe://headgate/gateway/model-1"


def _traces(resource: Mapping[str, Value] = RESOURCE) -> Request:
    span = {
        "attributes": FORGED,
        "events": [{"name": "headgate.stop", "attributes": FORGED}],
        "links": [{"attributes": FORGED}],
    }
    return traces_request([span], resource=resource, scope_attributes=FORGED)


def _logs(resource: Mapping[str, Value] = RESOURCE) -> Request:
    records: list[dict[str, Any]] = [
        {"event_name": "headgate.decision", "attributes": FORGED},
        {"attributes": {**FORGED, "event.name": "headgate.stop"}},
        {"event_name": "other", "attributes": FORGED},
    ]
    return logs_request(records, resource=resource, scope_attributes=FORGED)


def _metrics(resource: Mapping[str, Value] = RESOURCE) -> Request:
    point = {"value": 1, "attributes": FORGED, "exemplars": [{"value": 1, "attributes": FORGED}]}
    return metrics_request([{"points": [point]}], resource=resource, scope_attributes=FORGED)


REQUESTS = {Signal.TRACES: _traces, Signal.LOGS: _logs, Signal.METRICS: _metrics}


def _wire(request: Request, signal: Signal, encoding: Encoding = "protobuf") -> pa.RecordBatch:
    body = to_json(request) if encoding == "json" else to_protobuf(request)
    return decode(body, signal=signal, encoding=encoding).batch


def _rows(normaliser: Normaliser, request: Request, signal: Signal, sender: Sender) -> Mapping[str, pa.RecordBatch]:
    return normaliser(signal, _wire(request, signal), Arrival(received_unix_nano=START_UNIX_NANO, sender=sender))


def _ours(batches: Mapping[str, pa.RecordBatch]) -> set[tuple[str, str, str]]:
    """Every `headgate.*` key in a JSON column, with its dataset and column."""
    found: set[tuple[str, str, str]] = set()
    for dataset, batch in batches.items():
        for name in ("attributes", "resource_attributes", "scope_attributes", "exemplars"):
            texts = batch.column(name).to_pylist() if name in batch.schema.names else []
            for text in texts:
                parsed = orjson.loads(text or "{}")
                objects = [one["attributes"] for one in parsed] if isinstance(parsed, list) else [parsed]
                found |= {(dataset, name, key) for one in objects for key in one if key.startswith("headgate.")}
    return found


@pytest.mark.parametrize("sender", [CLIENT, Sender(role="client", subject=AGENT), COLLECTOR], ids=lambda one: one.role)
@pytest.mark.parametrize("signal", Signal)
def test_of_a_client_only_the_claims_on_the_resource_are_kept(
    normaliser: Normaliser, signal: Signal, sender: Sender
) -> None:
    """Forged attributes are gone on resource, scope, record, event, link, point and exemplar."""
    resource = {key: value for key, value in RESOURCE.items() if key != "headgate.auth.subject"}
    batches = _rows(normaliser, REQUESTS[signal](resource), signal, sender)
    kept = {(name, "resource_attributes", claim) for name in batches if name != "content" for claim in CLAIMS}
    assert kept == _ours(batches)
    assert {"client"} == {witness for batch in batches.values() for witness in _column(batch, "witness")}


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
@pytest.mark.parametrize("signal", Signal)
def test_both_encodings_hide_nothing_and_what_was_forged_is_counted(signal: Signal, encoding: Encoding) -> None:
    """An escaped key in JSON is the same key; the count says how many values were changed."""
    body = to_json(REQUESTS[signal]()).replace(b'"headgate.', b'"\\u0068eadgate.') if encoding == "json" else None
    wire = decode(body or to_protobuf(REQUESTS[signal]()), signal=signal, encoding=encoding).batch
    believed = believe(wire, CLIENT)
    assert believed.forged > wire.num_rows
    assert 0 == believe(believed.wire, CLIENT).forged


def test_the_name_of_an_event_of_ours_is_lost_when_a_client_uses_it(normaliser: Normaliser) -> None:
    """A client's `headgate.decision` is a log, and no control record; control's own keeps its name."""
    forged = _rows(normaliser, _logs(), Signal.LOGS, CLIENT)["log_events"]
    own = _rows(normaliser, _logs(), Signal.LOGS, Sender(role="control"))["log_events"]
    assert [None, None, "other"] == _column(forged, "event_name")
    assert ["headgate.decision", "headgate.stop", "other"] == _column(own, "event_name")


@pytest.mark.parametrize("role", ["gateway", "runtime", "control", "provider"])
@pytest.mark.parametrize("signal", Signal)
def test_headgates_own_parts_are_believed_but_for_stamps_links_and_exemplars(
    normaliser: Normaliser, signal: Signal, role: Role
) -> None:
    """What no Collector can strip is read of nobody, and only a Collector stamps a subject."""
    batches = _rows(normaliser, REQUESTS[signal](), signal, Sender(role=role))
    kept = _ours(batches)
    assert not [key for _, name, key in kept if name == "resource_attributes" and key.startswith("headgate.auth.")]
    assert not [
        name for dataset, name, _ in kept if name == "exemplars" or (dataset, name) == ("span_links", "attributes")
    ]
    assert {"headgate.decision"} <= {key for _, name, key in kept if name == "attributes"}
    assert {role} == {witness for batch in batches.values() for witness in _column(batch, "witness")}


def test_a_stamp_decides_principal_and_witness_when_a_collector_made_it(normaliser: Normaliser) -> None:
    """One request holds an agent's, a gateway's and an unknown sender's resources; each is judged by its own stamp."""
    resources: list[dict[str, Value]] = [{"service.name": "a", "headgate.auth.subject": AGENT}, {"service.name": "b"}]
    resources.append({"service.name": "g", "headgate.auth.subject": GATEWAY})
    spans = [
        traces_request(
            [{"span_id": f"{number + 1:016x}", "attributes": {"headgate.x": 1}}], resource={**resource, "headgate.y": 1}
        )
        for number, resource in enumerate(resources)
    ]
    rows = _rows(normaliser, joined(*spans), Signal.TRACES, COLLECTOR)["spans"]
    assert ["client", "client", "gateway"] == _column(rows, "witness")
    assert ["verified", "unknown", "unknown"] == _column(rows, "identity_source")
    assert "agt-7" == _column(rows, "instance_id")[0]
    assert [{}, {}, {"headgate.x": 1}] == [orjson.loads(text or "") for text in _column(rows, "attributes")]
    assert [{"service.name": "a"}, {"service.name": "b"}, {"service.name": "g", "headgate.y": 1}] == [
        orjson.loads(text or "") for text in _column(rows, "resource_attributes")
    ]


def test_a_stamp_of_anybody_else_is_dropped(normaliser: Normaliser) -> None:
    """An agent that stamps itself is what its credential says, and a stamp that is no text is none."""
    own = Sender(role="client", subject=AGENT)
    rows = _rows(normaliser, _traces(), Signal.TRACES, own)["spans"]
    assert (["client"], ["agt-7"]) == (_column(rows, "witness"), _column(rows, "instance_id"))
    odd = _traces({"service.name": "a", "headgate.auth.subject": 7})
    assert ["unknown"] == _column(_rows(normaliser, odd, Signal.TRACES, COLLECTOR)["spans"], "identity_source")


@pytest.mark.parametrize(
    ("subject", "role"),
    [
        (GATEWAY, "gateway"),
        ("spiffe://acme.example/runtime/node/7", "runtime"),
        ("spiffe://headgate/control/one", "control"),
        ("spiffe://headgate/provider/openai", "provider"),
        ("spiffe://headgate/collector/edge", "collector"),
        (AGENT, "client"),
        ("spiffe://headgate/gateway", "client"),
        ("spiffe://headgate/gateway/", "client"),
        ("spiffe:///gateway/x", "client"),
        ("spiffe://headgate//gateway/x", "client"),
        ("https://headgate/gateway/x", "client"),
        ("gateway", "client"),
        ("", "client"),
    ],
)
def test_the_kind_in_a_subject_names_its_role(subject: str, role: Role) -> None:
    """Whatever has not the whole shape is a client's."""
    assert role == role_of_subject(subject)


def _column(batch: pa.RecordBatch, name: str) -> list[str | None]:
    return batch.column(name).to_pylist() if name in batch.schema.names else []
