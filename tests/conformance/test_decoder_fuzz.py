"""Seeded mutations of good requests: whatever arrives, a decoder answers, and answers consistently."""

import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headgate_processors.errors import PermanentError
from headgate_processors.otlp.port import Decoder, Encoding, Signal
from headgate_processors.testing.otlp import Request, joined, to_json, to_protobuf
from headgate_processors.testing.otlp_rows import expected_rows, rows_of
from headgate_processors.testing.otlp_samples import sample_request

REASONS = {"invalid_utf8", "truncated", "malformed", "too_deep", "zero_id", "bad_id"}
MESSAGES: Mapping[Signal, Any] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
}
INTERESTING = (0x00, 0x01, 0x07, 0x0A, 0x0B, 0x0C, 0x12, 0x7F, 0x80, 0xC3, 0xFF)


def body_of(signal: Signal, encoding: Encoding) -> bytes:
    """A good request of two resources."""
    request: Any = joined(sample_request(signal), sample_request(signal))
    return to_json(request) if encoding == "json" else to_protobuf(request)


def mutated(body: bytes, source: random.Random) -> bytes:
    """The body after one to four small accidents."""
    result = bytearray(body)
    for _ in range(source.randint(1, 4)):
        if not result:
            break
        at = source.randrange(len(result))
        length = source.randint(1, 16)
        match source.randrange(7):
            case 0:
                result[at] ^= 1 << source.randrange(8)
            case 1:
                result[at] = source.choice(INTERESTING)
            case 2:
                del result[at : at + length]
            case 3:
                result[at:at] = source.randbytes(length)
            case 4:
                result[at:at] = result[at : at + length]
            case 5:
                start = source.randrange(len(result))
                result[at : at + length] = result[start : start + length]
            case _:
                del result[at:]
    return bytes(result)


def mutations(signal: Signal, encoding: Encoding, count: int) -> Iterator[bytes]:
    """The same mutations in every run."""
    source = random.Random(f"{signal}/{encoding}")
    body = body_of(signal, encoding)
    for _ in range(count):
        yield mutated(body, source)


def plain_reading(body: bytes, signal: Signal) -> Request | None:
    """What protobuf's own parser makes of the body, None when it refuses."""
    try:
        request: Request = MESSAGES[signal].FromString(body)
    except DecodeError:
        return None
    return request


def check(decoder: Decoder, body: bytes, signal: Signal, encoding: Encoding) -> None:
    """A decoder refuses the whole, or gives sound rows and refusals; it keeps all that a plain reading would."""
    request = plain_reading(body, signal) if encoding == "protobuf" else None
    try:
        outcome = decoder(body, signal=signal, encoding=encoding)
    except PermanentError:
        assert request is None, body
        return
    rows = rows_of(outcome)
    assert REASONS.issuperset(one.reason for one in outcome.rejected), body
    assert all(one.detail for one in outcome.rejected), body
    if request is not None:
        assert as_text(expected_rows(request)) == as_text(rows), body
        assert {"zero_id", "bad_id"}.issuperset(one.reason for one in outcome.rejected), body


def as_text(rows: list[dict[str, Any]]) -> str:
    """Rows in a form in which NaN equals NaN."""
    return repr([sorted(row.items()) for row in rows])


def run(decoder: Decoder, signal: Signal, encoding: Encoding, count: int) -> None:
    """Check that many mutations."""
    for body in mutations(signal, encoding, count):
        check(decoder, body, signal, encoding)


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
@pytest.mark.parametrize("signal", Signal)
def test_mutated_requests_are_answered(decoder: Decoder, signal: Signal, encoding: Encoding) -> None:
    """No error but the agreed one, sound Arrow, and never less than protobuf's own parser would keep."""
    run(decoder, signal, encoding, 700)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["protobuf", "json"])
@pytest.mark.parametrize("signal", Signal)
def test_very_many_mutated_requests_are_answered(decoder: Decoder, signal: Signal, encoding: Encoding) -> None:
    """The same at length, 200,000 in all."""
    run(decoder, signal, encoding, 33_334)
