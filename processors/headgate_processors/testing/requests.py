"""Export requests as a server hands them on, for tests of what works on them."""

from headgate_processors.otlp.port import Encoding, Signal
from headgate_processors.receiver.port import CLIENT, Sender
from headgate_processors.testing.otlp import to_protobuf, traces_request
from headgate_processors.testing.rows import NOON_NS
from headgate_processors.workers.port import ExportRequest


def exported(
    body: bytes, signal: Signal = Signal.TRACES, *, encoding: Encoding = "protobuf", sender: Sender = CLIENT
) -> ExportRequest:
    """A request that arrived at noon."""
    return ExportRequest(body=body, signal=signal, encoding=encoding, sender=sender, received_unix_nano=NOON_NS)


def exported_spans(*names: str, content_bytes: int = 0, trace: int = 1) -> ExportRequest:
    """A request with a span for each name, each with so much content."""
    listed = [
        {
            "trace_id": f"{trace:032x}",
            "span_id": f"{number + 1:016x}",
            "name": name,
            "attributes": {"gen_ai.prompt": "y" * content_bytes} if content_bytes else {},
        }
        for number, name in enumerate(names)
    ]
    return exported(to_protobuf(traces_request(listed, resource={"service.name": "worker-test"})))
