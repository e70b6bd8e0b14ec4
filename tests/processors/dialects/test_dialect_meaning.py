"""What one record means: fields settled against each other, whatever the table says."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from headgate_processors.dialects.dialect import Dialect
from headgate_processors.dialects.meaning import Meaning, read_meaning
from headgate_processors.dialects.record import Record
from headgate_processors.testing.dialects import dialect_with, log_record, span_record

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5-mini"}
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "read_file"}


@pytest.fixture
def plain(tmp_path: Path) -> Dialect:
    """A table that only follows the conventions."""
    return dialect_with(tmp_path, "plain", extends="_conventions")


def _usage(
    total: Any = None, output: Any = None, *, read: Any = None, written: Any = None, reasoning: Any = None
) -> Any:
    values = {
        "gen_ai.usage.input_tokens": total,
        "gen_ai.usage.output_tokens": output,
        "gen_ai.usage.cache_read.input_tokens": read,
        "gen_ai.usage.cache_write.input_tokens": written,
        "gen_ai.usage.reasoning.output_tokens": reasoning,
    }
    return {name: value for name, value in values.items() if value is not None}


def _tokens(found: Meaning) -> tuple[object, object, object]:
    return tuple(found.get(f"gen_ai_usage_{name}_tokens") for name in ("input", "output", "cache_read_input"))  # type: ignore[return-value]


def test_a_model_call_is_read_and_coerced(plain: Dialect) -> None:
    """Every fact of the conventions in the type of its column."""
    found = read_meaning(
        span_record(
            CHAT
            | _usage("120", 30.0, read=20, reasoning=5)
            | {
                "gen_ai.provider.name": "OpenAI",
                "gen_ai.response.model": "gpt-5-mini-2025",
                "gen_ai.response.id": "chatcmpl-1",
                "gen_ai.response.finish_reasons": ["tool_calls"],
                "gen_ai.response.time_to_first_chunk": 0.25,
                "gen_ai.usage.cost": 0.0125,
                "gen_ai.conversation.id": "thread-1",
                "gen_ai.agent.name": "fixer",
                "http.request.resend_count": 2,
                "gen_ai.memory.record.id": ["m1", "m2"],
            }
        ),
        plain,
    )
    expected = {
        "operation_kind": "llm",
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "openai",
        "gen_ai_request_model": "gpt-5-mini",
        "gen_ai_response_model": "gpt-5-mini-2025",
        "gen_ai_response_finish_reasons": ["tool_call"],
        "gen_ai_usage_input_tokens": 120,
        "gen_ai_usage_output_tokens": 30,
        "gen_ai_usage_cache_read_input_tokens": 20,
        "gen_ai_usage_reasoning_output_tokens": 5,
        "usage_role": "leaf",
        "usage_semantics": "inclusive",
        "time_to_first_chunk_ns": 250_000_000,
        "reported_cost_usd": Decimal("0.0125"),
        "session_key": "thread-1",
        "gen_ai_agent_name": "fixer",
        "attempt": 3,
        "memory_refs": ["m1", "m2"],
        "dialect": "plain",
        "dialect_version": "1",
    }
    assert expected == {name: found.get(name) for name in expected}


@pytest.mark.parametrize(
    ("table", "usage", "expected"),
    [
        ({}, _usage(100, 10, read=40), (100, 10, "inclusive")),
        ({"usage": "inclusive"}, _usage(100, 10, read=100), (100, 10, "inclusive")),
        ({"usage": "inclusive"}, _usage(10, 10, read=40, written=5), (55, 10, "exclusive")),
        ({"usage": "inclusive"}, _usage(40, 10, read=30, written=20), (90, 10, "exclusive")),
        ({"usage": "exclusive"}, _usage(100, 10, read=40, written=5), (145, 10, "exclusive")),
        ({"usage": "exclusive"}, _usage(100, 10), (100, 10, "exclusive")),
        ({"usage": "exclusive"}, _usage(0, 10, read=40), (40, 10, "exclusive")),
        ({"usage": "unknown"}, _usage(100, 10, read=40), (100, 10, "unknown")),
        ({"usage": "unknown"}, _usage(10, 10, read=40), (50, 10, "exclusive")),
        ({"usage": "exclusive"}, _usage(None, 10, read=40), (None, 10, None)),
        ({"output_excludes_reasoning": True}, _usage(100, 10, reasoning=7), (100, 17, "inclusive")),
        ({"output_excludes_reasoning": True}, _usage(100, 10), (100, 10, "inclusive")),
        ({}, _usage(100, 10, reasoning=7), (100, 10, "inclusive")),
        ({"usage_exclusive_when": {"has_path": "raw#in"}}, _usage(100, 10, read=40), (100, 10, "inclusive")),
        (
            {"usage_exclusive_when": {"has_path": "raw#in"}},
            _usage(100, 10, read=40, reasoning=7) | {"raw": '{"in": 0}'},
            (140, 17, "exclusive"),
        ),
        ({}, _usage(0, 0), (0, 0, "inclusive")),
    ],
    ids=str,
)
def test_input_includes_the_cache_and_output_includes_reasoning(
    tmp_path: Path, table: dict[str, Any], usage: dict[str, Any], expected: tuple[object, object, object]
) -> None:
    """What a source subtracts is added back, by its table or because cached tokens outnumber the input."""
    found = read_meaning(span_record(CHAT | usage), dialect_with(tmp_path, extends="_conventions", **table))
    assert expected == (*_tokens(found)[:2], found.get("usage_semantics"))


@pytest.mark.parametrize(
    ("attributes", "role"),
    [
        (CHAT | _usage(1, 1), "leaf"),
        (CHAT | _usage(None, 1), "leaf"),
        (CHAT, "missing"),
        (CHAT | _usage(-1, "many"), "missing"),
        ({"gen_ai.operation.name": "embeddings"} | _usage(9), "leaf"),
        ({"gen_ai.operation.name": "invoke_agent"} | _usage(9, 9), "container"),
        ({"gen_ai.operation.name": "invoke_agent"}, None),
        (TOOL | _usage(9, 9), None),
    ],
    ids=str,
)
def test_the_role_of_usage_follows_from_what_carries_it(
    plain: Dialect, attributes: dict[str, Any], role: str | None
) -> None:
    """Calls are leaves, what is around them contains, and a call that says nothing is missing its usage."""
    assert role == read_meaning(span_record(attributes), plain).get("usage_role")


def test_an_event_that_speaks_of_a_span_mirrors_it(plain: Dialect) -> None:
    """The conventions' event of a call repeats what its span says."""
    event = "gen_ai.client.inference.operation.details"
    found = read_meaning(log_record(CHAT | _usage(1, 1), event=event), plain)
    assert "mirror" == found["usage_role"]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"gen_ai.conversation.id": "thread-1"}, "thread-1"),
        ({"session.id": "s"}, "s"),
        ({"gen_ai.conversation.id": "resp_0a1b"}, None),
        ({"gen_ai.conversation.id": "chatcmpl-9"}, None),
        ({"gen_ai.conversation.id": "msg_01"}, None),
        ({"gen_ai.conversation.id": "gen-17"}, None),
        ({"gen_ai.conversation.id": "x1", "gen_ai.response.id": "x1"}, None),
        ({"gen_ai.conversation.id": "responder"}, "responder"),
        ({"gen_ai.conversation.id": 42}, "42"),
        ({"gen_ai.conversation.id": ["a"]}, None),
    ],
    ids=str,
)
def test_a_response_id_is_no_session(plain: Dialect, attributes: dict[str, Any], expected: str | None) -> None:
    """Frameworks that chain responses put the last one's id where the conversation belongs."""
    assert expected == read_meaning(span_record(CHAT | attributes), plain).get("session_key")


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"gen_ai.tool.name": "mcp__github__create_issue"}, ("create_issue", "github", "mcp")),
        ({"gen_ai.tool.name": "mcp__github__a__b"}, ("a__b", "github", "mcp")),
        ({"gen_ai.tool.name": "mcp__github"}, ("mcp__github", None, "function")),
        ({"gen_ai.tool.name": "mcp____x"}, ("mcp____x", None, "function")),
        ({"gen_ai.tool.name": "read", "mcp.server.name": "files"}, ("read", "files", "mcp")),
        ({"gen_ai.tool.name": "read_file"}, ("read_file", None, "function")),
        ({"gen_ai.tool.name": "read_file", "gen_ai.tool.type": "function"}, ("read_file", None, "function")),
        ({"gen_ai.tool.name": "read_file", "gen_ai.tool.type": "builtin"}, ("read_file", None, "builtin")),
        ({"gen_ai.tool.name": "read_file", "gen_ai.tool.type": "FunctionTool"}, ("read_file", None, "function")),
        ({"gen_ai.tool.name": "python_interpreter"}, ("python_interpreter", None, "code")),
        ({"gen_ai.tool.name": "transfer_to_reviewer"}, ("transfer_to_reviewer", None, "handoff")),
        ({"gen_ai.tool.name": "handoff_to_reviewer"}, ("handoff_to_reviewer", None, "handoff")),
        ({"gen_ai.tool.name": "transfer_back_to_lead"}, ("transfer_back_to_lead", None, "handoff")),
        ({"gen_ai.tool.name": "Handoff to reviewer"}, ("Handoff to reviewer", None, "handoff")),
        ({"gen_ai.tool.name": "hand_off"}, ("hand_off", None, "handoff")),
        ({"gen_ai.tool.name": "transfer_money"}, ("transfer_money", None, "function")),
        ({"gen_ai.tool.name": "transfer_tokens"}, ("transfer_tokens", None, "function")),
        ({"gen_ai.tool.name": "transferred"}, ("transferred", None, "function")),
        ({"gen_ai.tool.name": "Delegate work to coworker"}, ("Delegate work to coworker", None, "subagent")),
        ({"gen_ai.tool.name": "launch"}, ("launch", None, "subagent")),
    ],
    ids=str,
)
def test_a_tool_has_a_name_a_server_and_a_type(
    tmp_path: Path, attributes: dict[str, Any], expected: tuple[str, str | None, str]
) -> None:
    """The server leaves the name; the type follows from name, server, the source's word and the table."""
    dialect = dialect_with(tmp_path, extends="_conventions", subagent_tools=["launch"])
    found = read_meaning(span_record(TOOL | attributes), dialect)
    assert expected == (found["gen_ai_tool_name"], found["mcp_server"], found["gen_ai_tool_type"])


def test_the_tools_of_a_coding_agent_are_built_in(tmp_path: Path) -> None:
    """A command line agent ships its tools; what comes from a server or starts an agent is still that."""
    dialect = dialect_with(tmp_path, "codex", extends="_conventions", subagent_tools=["spawn"])
    types = [
        read_meaning(span_record(TOOL | {"gen_ai.tool.name": name}), dialect)["gen_ai_tool_type"]
        for name in ("shell", "mcp__files__read", "spawn")
    ]
    assert ["builtin", "mcp", "subagent"] == types


@pytest.mark.parametrize("name", ["final_answer", "(merged tools)", "update_plan"])
def test_a_frameworks_own_device_is_a_step(tmp_path: Path, name: str) -> None:
    """A final answer or a plan that looks like a tool is no call of the agent."""
    dialect = dialect_with(tmp_path, extends="_conventions", pseudo_tools=["update_plan"])
    assert "step" == read_meaning(span_record(TOOL | {"gen_ai.tool.name": name}), dialect)["operation_kind"]


def test_arguments_that_are_spread_over_attributes_get_their_key_back(tmp_path: Path) -> None:
    """`full_command` alone says less than `{command: …}`."""
    dialect = dialect_with(
        tmp_path,
        extends="_conventions",
        fields={"tool_arguments": ["args", "full_command"]},
        argument_keys={"full_command": "command"},
    )
    spread = read_meaning(span_record(TOOL | {"full_command": "pytest"}), dialect)
    whole = read_meaning(span_record(TOOL | {"args": '{"command": "pytest"}'}), dialect)
    assert [{"command": "pytest"}, '{"command": "pytest"}'] == [spread["tool_arguments"], whole["tool_arguments"]]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (span_record(TOOL), None),
        (span_record(TOOL, status="OK"), "ok"),
        (span_record(TOOL, status="ERROR"), "error"),
        (span_record(TOOL | {"gen_ai.tool.call.result": "exit code 3"}), "error"),
        (span_record(TOOL | {"process.exit.code": "0"}), "ok"),
        (span_record(TOOL | {"error": "rejected by user"}, status="ERROR"), "denied"),
        (span_record(TOOL | {"error.type": "timeout"}), "timeout"),
    ],
)
def test_a_tool_call_has_an_outcome(plain: Dialect, record: Record, expected: str | None) -> None:
    """Status, error, exit code and result are read together."""
    assert expected == read_meaning(record, plain)["tool_outcome"]


@pytest.mark.parametrize(("decision", "expected"), [("reject", "denied"), ("accept", None), ("later", None)])
def test_an_approval_denies_or_says_nothing_of_the_result(tmp_path: Path, decision: str, expected: str | None) -> None:
    """That a call may run does not say how it ended."""
    dialect = dialect_with(tmp_path, extends="_conventions", fields={"decision": ["verdict"]})
    attributes = {"gen_ai.operation.name": "execute_hook", "gen_ai.tool.name": "Bash", "verdict": decision}
    assert expected == read_meaning(span_record(attributes, status="OK"), dialect)["tool_outcome"]


EXCEPTION = [{"name": "exception", "attributes": {"exception.type": "RateLimitError"}}]


@pytest.mark.parametrize(
    ("attributes", "fields", "expected"),
    [
        ({}, {}, None),
        ({"error.type": "429"}, {}, "429"),
        ({}, {"status": "ERROR"}, "_OTHER"),
        ({}, {"status": "ERROR", "events": EXCEPTION}, "RateLimitError"),
        ({}, {"events": EXCEPTION}, None),
        ({"error.type": "x"}, {"status": "ERROR", "events": EXCEPTION}, "x"),
        ({"http.response.status_code": 503}, {}, "503"),
        ({"http.response.status_code": "200"}, {}, None),
        ({"http.response.status_code": 503, "error.type": "overloaded"}, {}, "overloaded"),
    ],
    ids=str,
)
def test_an_error_has_a_type(
    plain: Dialect, attributes: dict[str, Any], fields: dict[str, Any], expected: str | None
) -> None:
    """An exception of a call that went well was handled."""
    assert expected == read_meaning(span_record(CHAT | attributes, **fields), plain)["error_type"]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, "openai"),
        ({"gen_ai.request.model": "claude-sonnet-4-5"}, "anthropic"),
        ({"gen_ai.response.model": "gemini-2.5-pro"}, "gcp.gemini"),
        ({"gen_ai.request.model": "local"}, None),
        ({"gen_ai.system": "langchain"}, "openai"),
        ({"gen_ai.provider.name": "azure.ai.openai"}, "azure.ai.openai"),
    ],
    ids=str,
)
def test_a_call_without_a_provider_takes_its_models(
    plain: Dialect, attributes: dict[str, Any], expected: str | None
) -> None:
    """The model that answered tells before the one asked for, and both only where nothing else does."""
    assert expected == read_meaning(span_record(CHAT | attributes), plain).get("gen_ai_provider_name")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("completion", "chat"), ("text_completion", "text_completion"), ("embed", "embeddings"), ("chat", "chat")],
)
def test_the_operation_is_the_conventions_word(plain: Dialect, name: str, expected: str) -> None:
    """What a source calls it matters less than what it is."""
    assert expected == read_meaning(span_record(CHAT | {"gen_ai.operation.name": name}), plain)["gen_ai_operation_name"]


@pytest.mark.parametrize(
    ("table", "attributes", "expected"),
    [
        ({}, {}, None),
        ({"default_agent": "orchid"}, {}, "orchid"),
        ({"default_agent": "orchid"}, {"gen_ai.agent.name": "scribe"}, "scribe"),
        ({"default_agent": "orchid"}, {"gen_ai.agent.id": "a1"}, None),
        ({"agent_name_from_span": True}, {"gen_ai.operation.name": "invoke_agent"}, "run"),
        ({"agent_name_from_span": True}, CHAT, None),
    ],
    ids=str,
)
def test_an_agent_may_have_a_default_name(
    tmp_path: Path, table: dict[str, Any], attributes: dict[str, Any], expected: str | None
) -> None:
    """The table's name stands for an agent that says nothing; one with an id is another agent."""
    dialect = dialect_with(tmp_path, extends="_conventions", **table)
    assert expected == read_meaning(span_record(attributes, name="run"), dialect).get("gen_ai_agent_name")


def test_what_means_nothing_only_tells_where_it_belongs(plain: Dialect) -> None:
    """A record of kind `other` names session, turn and agent, and reports no tokens."""
    attributes = {"gen_ai.operation.name": "housekeeping", "session.id": "s", "gen_ai.agent.name": "a"} | _usage(9, 9)
    found = read_meaning(span_record(attributes), plain)
    known = {name for name, value in found.items() if value is not None}
    assert {"operation_kind", "dialect", "dialect_version", "session_key", "gen_ai_agent_name"} == known


def test_flattened_messages_are_read_where_no_attribute_has_them(tmp_path: Path) -> None:
    """A whole message outweighs its flattened copy; tools have no messages."""
    dialect = dialect_with(tmp_path, extends="_conventions", flattened={"input_messages": "in."})
    flat = {"in.0.role": "user"}
    assert [{"role": "user"}] == read_meaning(span_record(CHAT | flat), dialect)["input_messages"]
    assert "[]" == read_meaning(span_record(CHAT | flat | {"gen_ai.input.messages": "[]"}), dialect)["input_messages"]
    assert "input_messages" not in read_meaning(span_record(TOOL | flat), dialect)


def test_a_prompt_that_the_agent_gave_itself_is_no_task(tmp_path: Path) -> None:
    """A task that begins as the table says is neither a task nor a task event."""
    dialect = dialect_with(
        tmp_path,
        extends="_conventions",
        pseudo_tasks=["<note>"],
        kinds=[{"when": {"event": "prompt"}, "kind": "task"}],
        fields={"task": ["prompt"]},
    )
    own = Record(attributes={"prompt": "<note>done"}, resource={}, scope="", event="prompt", is_log=True)
    users = Record(attributes={"prompt": "do it"}, resource={}, scope="", event="prompt", is_log=True)
    assert ("other", None) == ((found := read_meaning(own, dialect))["operation_kind"], found.get("task"))
    assert ("task", "do it") == ((found := read_meaning(users, dialect))["operation_kind"], found.get("task"))
