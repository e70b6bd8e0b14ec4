"""Detection: which table speaks for a record, one invented record of each dialect."""

from typing import Any

import pytest

from headgate_processors.dialects import DialectBook, load_dialects
from headgate_processors.testing.dialects import log_record, span_record

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
NEW = CHAT | {"gen_ai.provider.name": "openai"}


@pytest.fixture(scope="module")
def book() -> DialectBook:
    """The packaged tables."""
    return load_dialects()


def _span(expected: str, attributes: dict[str, Any], *, scope: str = "s", service: str = "app", name: str = "x") -> Any:
    record = span_record(attributes, scope=scope, resource={"service.name": service}, name=name)
    return pytest.param(record, expected, id=f"{expected}: {scope} {service} {name} {' '.join(attributes)}"[:90])


def _log(expected: str, event: str, *, scope: str = "s", service: str = "app") -> Any:
    record = log_record({"event.name": event}, event=event, scope=scope, resource={"service.name": service})
    return pytest.param(record, expected, id=f"{expected}: {event}")


RECORDS = [
    _span("otel_genai", NEW),
    _span("otel_genai", {"x": 1}, scope="opentelemetry.instrumentation.genai.openai"),
    _span("otel_genai", {"x": 1}, scope="opentelemetry.util.genai.handler"),
    _log("otel_genai", "gen_ai.client.inference.operation.details"),
    _log("otel_genai", "gen_ai.evaluation.result"),
    _span("otel_genai_legacy", CHAT | {"gen_ai.system": "openai"}, scope="opentelemetry.instrumentation.openai_v2"),
    _span("otel_genai_legacy", CHAT),
    _log("otel_genai_legacy", "gen_ai.choice"),
    _span("openinference", {"openinference.span.kind": "LLM"}, scope="openinference.instrumentation.openai"),
    _span(
        "openinference_smolagents",
        {"openinference.span.kind": "AGENT"},
        name="coder.run",
        scope="openinference.instrumentation.smolagents",
    ),
    _span(
        "openinference_llama_index",
        {"openinference.span.kind": "LLM"},
        scope="openinference.instrumentation.llama_index",
    ),
    _span("openlit", CHAT, scope="openlit.instrumentation.openai"),
    _span("openlit_langgraph", NEW, scope="openlit.instrumentation.langgraph"),
    _span("traceloop", {"traceloop.span.kind": "tool"}),
    _span("traceloop", CHAT, name="openai.response", scope="opentelemetry.instrumentation.openai_agents"),
    _span("traceloop", CHAT | {"gen_ai.system": "openai"}, scope="opentelemetry.instrumentation.openai.v1"),
    _span("vercel_ai", NEW, scope="gen_ai"),
    _span("vercel_ai_legacy", {"ai.operationId": "ai.generateText"}, scope="ai"),
    _span("vercel_ai_legacy", {"operation.name": "ai.toolCall"}, name="ai.toolCall"),
    _span("pydantic_ai", CHAT | {"gen_ai.system": "openai"}, scope="pydantic-ai"),
    _span("logfire", CHAT | {"logfire.msg_template": "Chat with {model}"}, scope="logfire.openai"),
    _span("google_adk", CHAT | {"gen_ai.system": "gcp.vertex.agent"}),
    _span("google_adk", {"x": 1}, scope="gcp.vertex.agent", name="call_llm"),
    _span("claude_code", {"span.type": "llm_request"}, scope="com.anthropic.claude_code.tracing"),
    _span("claude_code", {"span.type": "tool"}, service="claude-code"),
    _log("claude_code", "claude_code.api_request", scope="com.anthropic.claude_code.events"),
    _span("codex", {"x": 1}, scope="codex_exec", service="codex_exec", name="handle_responses"),
    _span("codex", {"x": 1}, service="codex_cli_rs"),
    _log("codex", "codex.sse_event"),
    _span("gemini_cli", CHAT, service="gemini-cli"),
    _span("gemini_cli", {"gen_ai.agent.name": "gemini-cli"}),
    _log("gemini_cli", "gemini_cli.api_response"),
    _log("qwen_code", "qwen-code.api_response"),
    _span("copilot", CHAT, service="copilot-chat"),
    _span("copilot", {"gen_ai.provider.name": "github"}),
    _span("langfuse", {"langfuse.observation.type": "generation"}),
    _span("langfuse", {"x": 1}, scope="langfuse-sdk"),
    _span("langsmith", {"langsmith.span.kind": "llm"}),
    _span("langsmith", CHAT | {"gen_ai.system": "openai"}, scope="langsmith"),
    _span("mlflow", {"mlflow.spanType": '"LLM"'}),
    _span("strands", NEW | {"gen_ai.provider.name": "strands-agents"}, scope="strands.telemetry.tracer"),
    _span("strands", CHAT | {"gen_ai.system": "strands-agents"}),
    _span("ms_agent_framework", NEW, scope="agent_framework"),
    _span("semantic_kernel", CHAT | {"gen_ai.system": "openai"}, scope="semantic_kernel.utils.telemetry"),
    _span("semantic_kernel", {"sk.available_functions": "a,b"}),
    _span("autogen", {"gen_ai.system": "autogen", "gen_ai.operation.name": "invoke_agent"}),
    _span("autogen", {"x": 1}, scope="autogen-core"),
    _span("crewai", {"crewai.event_name": "task_started"}),
    _span("crewai", {"x": 1}, scope="crewai"),
    _span("litellm", CHAT, service="litellm-proxy"),
    _span("litellm", {"litellm.call_id": "1"}),
    _span("anthropic_sdk", {"x": 1}, scope="com.anthropic.sdk.python"),
    _span("mcp", {"mcp.method.name": "tools/call", "gen_ai.operation.name": "execute_tool"}),
    _span("mcp", {"x": 1}, scope="fastmcp"),
    _span("mcp", {"x": 1}, scope="mcp-python-sdk"),
    _span("mastra", {"mastra.span.type": "agent_run"}, scope="@mastra/otel-exporter"),
    _span("opencode", {"ai.operationId": "ai.streamText"}, scope="ai", service="opencode"),
    _span("llama_index", {"x": 1}, scope="llamaindex.opentelemetry.tracer"),
    _span("openai_agents_v2", CHAT, scope="opentelemetry.instrumentation.openai_agents"),
    _span("http", {"http.request.method": "POST"}, scope="opentelemetry.instrumentation.httpx"),
    _span("headgate", NEW, scope="headgate.gateway"),
    _span("traceloop_js", CHAT, scope="@traceloop/instrumentation-langchain"),
]


@pytest.mark.parametrize(("record", "expected"), RECORDS)
def test_a_record_is_read_by_its_dialect(book: DialectBook, record: Any, expected: str) -> None:
    """The private mark of a framework outweighs the conventions that it also follows."""
    found = book.detect(record)
    assert expected == (found.name if found else None)


def test_every_packaged_dialect_has_a_record_here(book: DialectBook) -> None:
    """A table that is added brings the record that it recognises."""
    assert {dialect.name for dialect in book.dialects} == {param.values[1] for param in RECORDS}


@pytest.mark.parametrize(
    "record",
    [
        span_record({"http.route": "/"}, scope="opentelemetry.instrumentation.fastapi"),
        span_record({"db.system": "postgresql"}, scope="opentelemetry.instrumentation.psycopg"),
        span_record({"orchid.tokens": 3}, scope="orchid", name="orchid.ask"),
        log_record({"level": "info"}, scope="uvicorn", event="request"),
        span_record(),
    ],
    ids=["web server", "database", "unknown agent", "log", "bare span"],
)
def test_what_no_table_knows_has_no_dialect(book: DialectBook, record: Any) -> None:
    """A database call is no model call, and an agent that nobody described is nobody's."""
    assert book.detect(record) is None
