from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headgate_processors.otlp.port import Signal
from headgate_processors.testing.ingest import MemoryIngest
from headgate_processors.testing.otlp import key_values, logs_request, metrics_request, traces_request
from headgate_processors.testing.waiting import wait_until

pytestmark = pytest.mark.slow

SUBJECT = "headgate.auth.subject"
CLAIMS = {
    "headgate.instance.id",
    "headgate.team",
    "headgate.user.id",
    "headgate.workflow",
    "headgate.repo",
    "headgate.task_class",
}
FORGED = [
    *((claim, "claimed") for claim in sorted(CLAIMS)),
    (SUBJECT, "spiffe://headgate/control/c1"),
    (SUBJECT, "spiffe://headgate/control/c2"),
    ("headgate.auth.role", "control"),
    ("headgate.decision_id", "d-1"),
    ("headgate.teams", "all"),
    ("headgate.task", "t"),
    ("headgate.user", "root"),
    ("headgate.", "nothing"),
    # What the Collector sets claims aside under: it must not become a way around the rule.
    ("claim.headgate.auth.subject", "spiffe://headgate/control/c3"),
    ("claim.headgate.decision_id", "d-2"),
    ("agent.name", "kept"),
]
POINTS = {
    "gauge": [{"value": 1, "attributes": FORGED}],
    "sum": [{"value": 1, "attributes": FORGED}],
    "histogram": [{"count": 1, "bucket_counts": [1], "explicit_bounds": [], "attributes": FORGED}],
    "exponential_histogram": [{"count": 1, "scale": 1, "zero_count": 1, "attributes": FORGED}],
    "summary": [{"count": 1, "quantiles": [(0.5, 1.0)], "attributes": FORGED}],
}
REQUESTS = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
}


def _forged(signal: Signal) -> Message:
    """A request that says `headgate.*` wherever OTLP has room for it."""
    around: dict[str, Any] = {"resource": FORGED, "scope": "s", "scope_attributes": FORGED}
    match signal:
        case Signal.TRACES:
            inside = {"attributes": FORGED, "events": [{"attributes": FORGED}], "links": [{"attributes": FORGED}]}
            return traces_request([inside], **around)
        case Signal.LOGS:
            return logs_request([{"attributes": FORGED}], **around)
        case Signal.METRICS:
            metrics = [{"type": kind, "points": points} for kind, points in POINTS.items()]
            request = metrics_request(metrics, **around)
            for metric in request.resource_metrics[0].scope_metrics[0].metrics:
                metric.metadata.extend(key_values(FORGED))
            return request


def _found(message: Message, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Where a request says `headgate.*`: the path, the name, the value."""
    for field, value in message.ListFields():
        where = f"{path}.{field.name}" if path else field.name
        if field.message_type is None:
            continue
        for child in value if field.is_repeated else [value]:
            if field.message_type.name == "KeyValue":
                if child.key.startswith("headgate."):
                    yield where, child.key, child.value.string_value
            else:
                yield from _found(child, where)


def _through(collector: Any, ingest: MemoryIngest, signal: Signal, **access: str) -> list[tuple[str, str, str]]:
    collector.send(_forged(signal), signal, **access)
    wait_until(lambda: len(ingest.taken) == 1)
    arrived = REQUESTS[signal]()
    arrived.ParseFromString(ingest.taken[0].body)
    assert b"agent.name" in ingest.taken[0].body
    return list(_found(arrived))


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("name", ["local", "gateway"])
def test_of_what_clients_say_only_claims_on_the_resource_are_left(
    name: str, signal: Signal, start_collector: Any, start_receiver: Any, credentials: Any
) -> None:
    """Whatever is forged on resource, scope, span, event, log record, metric and data point is gone.

    Span links are beyond the Collector's reach: the receiver ignores what they say.
    """
    ingest = MemoryIngest()
    collector = start_collector(name, credentials.environment, HEADGATE_COLLECTOR_RECEIVER=start_receiver(ingest))
    access = {"token": credentials.token("agent-7"), "authority": credentials.authority} if name == "gateway" else {}
    found = [one for one in _through(collector, ingest, signal, **access) if ".links." not in one[0]]
    resource = {key: value for where, key, value in found if where.endswith(".resource.attributes")}
    stamped = {SUBJECT: "agent-7"} if name == "gateway" else {}
    assert dict.fromkeys(CLAIMS, "claimed") | stamped == resource
    assert len(resource) == len(found), "said twice, or elsewhere than on the resource"


@pytest.mark.parametrize("name", ["local+platform", "gateway"])
def test_headgates_own_parts_may_say_everything_but_who_they_are(
    name: str, start_collector: Any, start_receiver: Any, credentials: Any
) -> None:
    """On 4319 nothing is stripped; the subject is that of the token, once, whatever was written there."""
    ingest = MemoryIngest()
    collector = start_collector(name, credentials.environment, HEADGATE_COLLECTOR_RECEIVER=start_receiver(ingest))
    access = {"authority": credentials.authority} if name == "gateway" else {}
    token = credentials.token("spiffe://headgate/gateway/model", audience="headgate-platform")
    found = _through(collector, ingest, Signal.TRACES, port="PLATFORM", token=token, **access)
    subjects = [value for where, key, value in found if key == SUBJECT and where.endswith(".resource.attributes")]
    assert ["spiffe://headgate/gateway/model"] == subjects
    spans = {key for where, key, _ in found if where.endswith(".spans.attributes")}
    assert {"headgate.decision_id", "headgate.task", *CLAIMS} <= spans
