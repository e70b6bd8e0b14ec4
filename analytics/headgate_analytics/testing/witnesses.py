"""Parts of what an agent and a gateway tell of one call, for tests of how they become one row."""

import json
import time
from collections.abc import Mapping
from typing import Any

from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.port import CLIENT, Sender
from headgate_processors.testing.otlp import to_json, traces_request

NOW = time.time_ns() // 10**9 * 10**9 - 3_600 * 10**9
MS = 1_000_000
GATEWAY = Sender(role="gateway", subject="spiffe://headgate.internal/gateway/model")
ID = "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG"
UUID = "0199c1a2-7b4e-7c11-9a57-0c2e6ad1b001"

Part = tuple[Sender, tuple[Signal, dict[str, Any]]]


def chat(
    trace: int,
    *,
    span: int = 1,
    parent: int | None = None,
    begin_ms: int = 0,
    until_ms: int = 1_000,
    sender: Sender = CLIENT,
    resource: Mapping[str, Any] | None = None,
    scope: str = "opentelemetry.instrumentation.openai_v2",
    **attributes: Any,
) -> Part:
    """One span of a model call; double underscores in names of attributes stand for dots."""
    told = {name.replace("__", "."): value for name, value in attributes.items() if value is not None}
    own = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5-mini"}
    spans = [
        {
            "trace_id": f"{trace:032x}",
            "span_id": f"{span:016x}",
            **({"parent_span_id": f"{parent:016x}"} if parent else {}),
            "name": "chat gpt-5-mini",
            "kind": 3,
            "start_time_unix_nano": NOW + begin_ms * MS,
            "end_time_unix_nano": NOW + until_ms * MS,
            "attributes": own | told,
        }
    ]
    is_ours = sender is not CLIENT
    request = traces_request(
        spans,
        resource={"service.name": "headgate-model-gateway"}
        if is_ours
        else {"service.name": "fixer", **(resource or {})},
        scope="headgate.gateway.model" if is_ours else scope,
    )
    return sender, (Signal.TRACES, json.loads(to_json(request)))


def seen(trace: int, *, span: int = 0xA, **given: Any) -> Part:
    """What the gateway tells of a call of `ai-1`."""
    own = {
        "headgate__instance__id": "ai-1",
        "headgate__decision_id": "d-1",
        "headgate__usage_source": "reported",
        "headgate__attempts": 1,
        "headgate__failed_attempts": 0,
        "gen_ai__response__model": "gpt-5-mini-2025-08-07",
    }
    return chat(trace, span=span, sender=GATEWAY, **{"begin_ms": 10, "until_ms": 990, **own, **given})


def request(trace: int, *, span: int, parent: int, status: int, begin_ms: int = 0, until_ms: int = 990) -> Part:
    """The HTTP client's span around a call."""
    spans = [
        {
            "trace_id": f"{trace:032x}",
            "span_id": f"{span:016x}",
            "parent_span_id": f"{parent:016x}",
            "name": "POST",
            "kind": 3,
            "start_time_unix_nano": NOW + begin_ms * MS,
            "end_time_unix_nano": NOW + until_ms * MS,
            "attributes": {"http.request.method": "POST", "http.response.status_code": status}
            | ({"error.type": str(status)} if status >= 400 else {}),
        }
    ]
    scope = "opentelemetry.instrumentation.httpx"
    return CLIENT, (Signal.TRACES, json.loads(to_json(traces_request(spans, resource={}, scope=scope))))


def usage(**more: Any) -> dict[str, Any]:
    """Tokens as attributes, and `more`."""
    return {"gen_ai__usage__input_tokens": 120, "gen_ai__usage__output_tokens": 30, **more}
