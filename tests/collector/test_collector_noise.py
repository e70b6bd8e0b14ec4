"""What the noise filter leaves of Codex, span by span; recordings go through it in test_collector_recordings."""

from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headgate_processors.testing.ingest import MemoryIngest
from headgate_processors.testing.otlp import traces_request
from headgate_processors.testing.waiting import wait_until

pytestmark = pytest.mark.slow

MODULE = {"code.module.name": "codex_core::somewhere"}
NOISE = ("append_items", "poll", "turn_context.build")
ASKED = ("turn/start", "review/start", "thread/goal/set", "thread/compact/start", "thread/named/tomorrow")


def _spans_of(service: str) -> Any:
    asked = [{"name": name, "attributes": {**MODULE, "rpc.method": name}} for name in ASKED]
    noise = [{"name": name, "attributes": MODULE} for name in NOISE]
    tool = {"name": "any_tool", "attributes": {**MODULE, "call_id": "c-1"}}
    return traces_request([*asked, tool, *noise], resource={"service.name": service})


@pytest.mark.parametrize(("service", "gone"), [("codex_exec", NOISE), ("codex-app-server", NOISE), ("codexter", ())])
def test_whatever_codex_was_asked_is_kept(
    service: str, gone: tuple[str, ...], start_collector: Any, start_receiver: Any
) -> None:
    """A request to Codex is the parent of what came of it, by whatever method; of other services nothing is dropped."""
    ingest = MemoryIngest()
    collector = start_collector("local", HEADGATE_COLLECTOR_RECEIVER=start_receiver(ingest))
    collector.send(_spans_of(service))
    wait_until(lambda: len(ingest.taken) == 1)
    arrived = ExportTraceServiceRequest.FromString(ingest.taken[0].body)
    kept = {span.name for span in arrived.resource_spans[0].scope_spans[0].spans}
    assert {*ASKED, "any_tool", *NOISE} - {*gone} == kept
