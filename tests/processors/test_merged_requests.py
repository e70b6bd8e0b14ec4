"""A Collector makes one request of several; when one of them repeats another, nothing is there twice."""

import pytest
from google.protobuf.message import Message

from headgate_processors.dialects import Normaliser
from headgate_processors.otlp import decode
from headgate_processors.otlp.port import Encoding, Signal
from headgate_processors.receiver.port import CLIENT
from headgate_processors.testing.otlp import joined, logs_request, metrics_request, to_json, to_protobuf
from headgate_processors.workers.local import LocalPreparer
from headgate_processors.workers.port import ExportRequest

RESOURCE = {"service.name": "fixer"}
EVENT = {"event_name": "tick", "attributes": {"n": 1}, "time_unix_nano": 1_794_000_000_000_000_000}
LOGS = logs_request([EVENT, EVENT, {**EVENT, "attributes": {"n": 2}}], resource=RESOURCE, scope="s")
POINT = {"value": 1, "attributes": {"n": 1}, "time_unix_nano": 1_794_000_000_000_000_000}
METRICS = metrics_request([{"points": [POINT, POINT]}], resource=RESOURCE, scope="s")
DATASETS = {Signal.LOGS: "log_events", Signal.METRICS: "metric_points"}


def _record_ids(normaliser: Normaliser, request: Message, signal: Signal, encoding: Encoding) -> list[str]:
    body = to_json(request) if encoding == "json" else to_protobuf(request)
    one = ExportRequest(body=body, signal=signal, encoding=encoding, sender=CLIENT, received_unix_nano=1)
    prepared = LocalPreparer(decoder=decode, normaliser=normaliser).prepare([one])
    ids: list[str] = prepared.batches[DATASETS[signal]].column("record_id").to_pylist()
    return ids


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
@pytest.mark.parametrize(("signal", "request_"), [(Signal.LOGS, LOGS), (Signal.METRICS, METRICS)])
def test_a_request_that_was_merged_with_its_repeat_has_the_ids_of_the_one(
    normaliser: Normaliser, signal: Signal, request_: Message, encoding: Encoding
) -> None:
    """Each record of the copy has the id of its original, so the store keeps one of them."""
    alone = _record_ids(normaliser, request_, signal, encoding)
    merged = _record_ids(normaliser, joined(request_, request_), signal, encoding)
    assert alone + alone == merged


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_equal_records_that_one_sender_put_side_by_side_are_two(normaliser: Normaliser, encoding: Encoding) -> None:
    """What happened twice in one moment happened twice."""
    ids = _record_ids(normaliser, LOGS, Signal.LOGS, encoding)
    assert 3 == len(set(ids))
