"""What is particular to the Python decoder: its limits, its imports, and what it shares with the test builders."""

import subprocess
import sys

import pytest

from headgate_processors.errors import TooLargeError
from headgate_processors.otlp import decode, limits
from headgate_processors.otlp.port import Encoding, Signal
from headgate_processors.testing.otlp import (
    joined,
    logs_request,
    metrics_request,
    to_json,
    to_protobuf,
    traces_request,
)


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
@pytest.mark.parametrize("first_name", ["good", "SPOILED"])
def test_a_request_of_too_many_records_is_too_large(
    monkeypatch: pytest.MonkeyPatch, encoding: Encoding, first_name: str
) -> None:
    """Two bytes make a span, so a bound on bytes alone is none; the careful way has the same bound."""
    monkeypatch.setattr(limits, "MAX_RECORDS", 3)
    request = traces_request([{"name": first_name}, {}, {}, {}])
    body = to_json(request) if encoding == "json" else to_protobuf(request)
    with pytest.raises(TooLargeError, match="smaller batches"):
        decode(body.replace(b"SPOILED", b"\xff" * 7), signal=Signal.TRACES, encoding=encoding)


def test_a_metric_of_too_many_bad_points_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points are counted where a metric is taken apart."""
    monkeypatch.setattr(limits, "MAX_RECORDS", 3)
    request = metrics_request([{"name": "SPOILED", "points": [{"value": n} for n in range(4)]}])
    with pytest.raises(TooLargeError, match="smaller batches"):
        decode(to_protobuf(request).replace(b"SPOILED", b"\xff" * 7), signal=Signal.METRICS)


@pytest.mark.parametrize("first", ["headgate_processors.otlp", "headgate_processors.schema"])
def test_the_schema_and_the_decoder_may_be_imported_in_either_order(first: str) -> None:
    """The schema is keyed by signal and the decoder gives batches of the schema, so each needs the other."""
    code = f"import {first}, headgate_processors.otlp as o; o.decode(b'', signal=o.port.Signal.TRACES)"
    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode


def test_builders_give_the_same_bytes_for_the_same_arguments() -> None:
    """Requests for tests have no clock and no chance in them."""
    first, second = (logs_request([{"body": {"a": 1}}], resource={"service.name": "x"}) for _ in range(2))
    assert to_protobuf(first) == to_protobuf(second)


def test_joined_requests_keep_their_parts() -> None:
    """Joining copies: the parts are as they were."""
    first, second = traces_request([{"name": "a"}]), traces_request([{"name": "b"}])
    both = joined(first, second)
    assert ["a", "b"] == [group.scope_spans[0].spans[0].name for group in both.resource_spans]
    assert 1 == len(first.resource_spans)


def test_json_requests_have_hexadecimal_ids_and_numbered_enums() -> None:
    """As the specification asks, unlike protobuf's own JSON."""
    body = to_json(traces_request([{"kind": "CLIENT", "trace_id": "ab" * 16}]))
    assert b'"traceId":"' + b"ab" * 16 + b'"' in body
    assert b'"kind":3' in body
