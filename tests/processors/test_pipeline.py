import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pytest

from headgate_processors.dialects import Normaliser
from headgate_processors.enrich.identity import FileRegistry, Identity
from headgate_processors.errors import OverloadError, PermanentError
from headgate_processors.otlp.port import Encoding, Rejected, Signal
from headgate_processors.pipeline import Pipeline, build_pipeline
from headgate_processors.receiver.port import CLIENT
from headgate_processors.store.commit import Appended
from headgate_processors.testing.otlp import joined, to_protobuf, traces_request

Refused = list[tuple[str, bytes]]


@dataclass
class MemorySink:
    """Keeps what it is given; refuses everything once `full`."""

    full: bool = False
    names: list[str] = field(default_factory=list)

    def append(self, batches: Mapping[str, pa.RecordBatch]) -> Appended:
        """Remember the names of the spans."""
        if self.full:
            raise OverloadError("the disk is full")
        self.names += batches["spans"].column("name").to_pylist()
        return Appended(stored=batches["spans"].num_rows)


class FailingRegistry:
    """A registry port that breaks on one service."""

    def resolve(
        self, resource: Mapping[str, object], *, agent_name: str | None, subject: str | None = None
    ) -> Identity:
        """Fail for the service `poison`."""
        if resource.get("service.name") == "poison":
            raise RuntimeError("the registry is broken")
        return FileRegistry.empty().resolve(resource, agent_name=agent_name, subject=subject)


@pytest.fixture
def made(normaliser: Normaliser) -> Callable[..., tuple[Pipeline, MemorySink, Refused]]:
    """Makes a pipeline over a memory sink."""

    def make(*, broken: bool = False, full: bool = False) -> tuple[Pipeline, MemorySink, Refused]:
        sink, refused = MemorySink(full=full), list[tuple[str, bytes]]()

        def keep(_signal: Signal, rejected: "list[Rejected]", _encoding: Encoding) -> None:
            refused.extend((record.reason, record.raw) for record in rejected)

        used = replace(normaliser, registry=FailingRegistry()) if broken else normaliser
        return build_pipeline(used, sink, keep), sink, refused

    return make


def _export(pipeline: Pipeline, body: bytes) -> tuple[int, int, int, str]:
    accepted = pipeline(body, signal=Signal.TRACES, encoding="protobuf", sender=CLIENT)
    return accepted.received, accepted.stored, accepted.rejected, accepted.message


def _spans(*names: str, service: str) -> object:
    spans = [{"name": name, "span_id": f"{number + 1:016x}"} for number, name in enumerate(names)]
    return traces_request(spans, resource={"service.name": service})


def test_a_record_that_our_code_cannot_read_is_refused_alone(
    made: Callable[..., tuple[Pipeline, MemorySink, Refused]], caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of ours on one record keeps the others, says so, and leaves a traceback in the log."""
    pipeline, sink, refused = made(broken=True)
    body = to_protobuf(joined(_spans("a", "b", service="fine"), _spans("c", service="poison")))
    with caplog.at_level(logging.ERROR):
        answer = _export(pipeline, body)
    assert (3, 2, 1) == answer[:3]
    assert "unreadable" in answer[3]
    assert ["a", "b"] == sink.names
    assert ["unreadable"] == [reason for reason, _ in refused]
    assert {"unreadable": 1} == pipeline.refusals.counts
    assert "the registry is broken" in caplog.text


def test_a_bad_record_is_counted_and_handed_on_with_its_bytes(
    made: Callable[..., tuple[Pipeline, MemorySink, Refused]],
) -> None:
    """What the decoder refuses reaches the dead letters as it came."""
    pipeline, sink, refused = made()
    good, bad = _spans("a", service="fine"), _spans("b", service="fine")
    bad.resource_spans[0].scope_spans[0].spans[0].trace_id = bytes(16)  # type: ignore[attr-defined]
    assert (2, 1, 1) == _export(pipeline, to_protobuf(joined(good, bad)))[:3]
    assert ["a"] == sink.names
    assert ["zero_id"] == [reason for reason, _ in refused]


def test_a_full_sink_acknowledges_nothing(made: Callable[..., tuple[Pipeline, MemorySink, Refused]]) -> None:
    """When the rows cannot be made durable the request fails, and its refusals are not counted yet."""
    pipeline, _, refused = made(full=True)
    with pytest.raises(OverloadError):
        _export(pipeline, to_protobuf(_spans("a", service="fine")))
    assert [] == refused


def test_an_empty_request_is_accepted(made: Callable[..., tuple[Pipeline, MemorySink, Refused]]) -> None:
    """A request without a span is answered like any other."""
    pipeline, sink, _ = made()
    assert (0, 0, 0, "") == _export(pipeline, b"")
    assert [] == sink.names


def test_noise_is_refused_for_good(made: Callable[..., tuple[Pipeline, MemorySink, Refused]]) -> None:
    """Bytes that are no request raise a permanent error."""
    pipeline, _, _ = made()
    with pytest.raises(PermanentError):
        _export(pipeline, b"\xff\xff\xff\xff")
