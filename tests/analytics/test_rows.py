"""Table rows of logical calls: tokens, attempts, identity, and what NULL means."""

from typing import Any

import pytest

from headgate_analytics.model_calls import model_calls
from headgate_analytics.node import Node
from headgate_analytics.rows import Who, agents_of, model_call_row, tool_call_row
from headgate_analytics.schema import DERIVED
from headgate_analytics.testing.nodes import linked, log, span
from headgate_analytics.tool_calls import tool_calls
from headgate_processors.enrich.identity import Identity

IDENTITY = Identity(tenant="default", instance_id="i1", identity_source="claimed", team="payments")
Row = dict[str, Any]


def _who(nodes: list[Node]) -> Who:
    return Who(session_id="s1", identity=IDENTITY, service_name="agent", agents=agents_of(nodes), revision=7)


def _call_row(*nodes: Node) -> Row:
    ordered = linked(*nodes)
    [call] = model_calls(ordered)
    who = _who(ordered)
    return who.shared | model_call_row(call, who)


def _tool_row(*nodes: Node, arguments: dict[str, str] | None = None, requested: dict[str, Any] | None = None) -> Row:
    ordered = linked(*nodes)
    [tool] = tool_calls(ordered, model_calls(ordered))
    who = _who(ordered)
    return who.shared | tool_call_row(tool, who, arguments or {}, requested or {})


def _tokens(row: Row) -> tuple[Any, ...]:
    return tuple(row[f"{name}_tokens"] for name in ("input", "uncached_input", "cache_read", "cache_write", "output"))


READ, WRITTEN = "gen_ai_usage_cache_read_input_tokens", "gen_ai_usage_cache_write_input_tokens"


@pytest.mark.parametrize(
    ("tokens", "cache", "expected"),
    [
        ((100, 10), {READ: 40}, (100, 60, 40, None, 10)),
        ((100, 10), {READ: 40, WRITTEN: 20}, (100, 40, 40, 20, 10)),
        ((100, 10), {READ: 0}, (100, 100, 0, None, 10)),
        ((100, 10), {}, (100, None, None, None, 10)),
        ((None, 10), {READ: 40}, (None, None, 40, None, 10)),
        ((0, 0), {READ: 0, WRITTEN: 0}, (0, 0, 0, 0, 0)),
        ((30, 10), {READ: 40}, (30, 0, 40, None, 10)),
        (None, {}, (None, None, None, None, None)),
    ],
    ids=str,
)
def test_what_is_not_reported_is_null_and_never_zero(tokens: Any, cache: Row, expected: tuple[Any, ...]) -> None:
    """Without a word of the cache nobody knows which part of the input was fresh."""
    assert expected == _tokens(_call_row(span("call", kind="llm", tokens=tokens, **cache)))


@pytest.mark.parametrize(
    ("node", "source", "reason"),
    [
        (span("a", kind="llm", tokens=(1, 1)), "reported", None),
        (span("a", kind="llm", tokens=(None, 0)), "reported", None),
        (span("a", kind="llm"), None, "not_reported"),
        (span("a", kind="llm", error_type="500"), None, "failed"),
        (span("a", kind="llm", until=None), None, "in_flight"),
    ],
)
def test_missing_usage_has_a_reason(node: Node, source: str | None, reason: str | None) -> None:
    """A failed call, one that is under way, and one that nobody reported are three different unknowns."""
    row = _call_row(node)
    assert (source, reason) == (row["usage_source"], row["usage_missing_reason"])


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([span("c", kind="llm", tokens=(1, 1))], (None, None)),
        ([span("c", kind="llm", tokens=(1, 1), attempt=1)], (1, 0)),
        ([span("c", kind="llm", tokens=(1, 1), attempt=3)], (3, 2)),
        ([span("c", kind="llm", attempt=3, error_type="529")], (3, 3)),
        ([span("c", kind="llm", tokens=(1, 1), attempt=0)], (1, 0)),
        (
            [span("c", kind="llm", tokens=(1, 1)), span("h1", parent="c", kind="attempt", error_type="429"),
             span("h2", parent="c", kind="attempt", begin=5)],
            (2, 1),
        ),
        (
            [span("c", kind="llm"), span("t1", parent="c", kind="llm", error_type="429"),
             span("t2", parent="c", kind="llm", begin=5, tokens=(1, 1))],
            (2, 1),
        ),
        (
            [span("c", kind="llm", error_type="x"), span("t1", parent="c", kind="llm", error_type="429"),
             span("t2", parent="c", kind="llm", begin=5, error_type="529")],
            (2, 2),
        ),
    ],
    ids=["unknown", "one", "three", "all failed", "none counts as one", "transport", "inner calls", "inner failures"],
)  # fmt: skip
def test_attempts_are_counted_or_unknown(nodes: list[Node], expected: tuple[int | None, int | None]) -> None:
    """From the source's count, the transport's spans, or the calls that failed inside."""
    row = _call_row(*nodes)
    assert expected == (row["attempts"], row["failed_attempts"])


def test_a_call_row_says_who_where_and_from_what() -> None:
    """Identity of the session, place of the span, every record of the call."""
    row = _call_row(
        span("agent", kind="agent", gen_ai_agent_name="fixer"),
        span("call", parent="agent", kind="llm", begin=100, until=350, tokens=(1, 1), gen_ai_response_id="r1",
             gen_ai_request_model="m", gen_ai_response_model="m-2", gen_ai_operation_name="generate_content"),
        log("told", kind="llm", at_ms=352, tokens=(1, 1), gen_ai_response_id="r1", request_id="q1"),
    )  # fmt: skip
    expected = {
        "session_id": "s1",
        "instance_id": "i1",
        "team": "payments",
        "agent_name": "fixer",
        "revision": 7,
        "trace_id": "trace-1",
        "span_id": "call",
        "parent_span_id": "agent",
        "duration_ns": 252_000_000,
        "operation": "generate_content",
        "model": "m-2",
        "request_model": "m",
        "request_id": "q1",
        "record_ids": ["log/told", "trace-1/call"],
        "witnesses": ["client"],
    }
    assert expected == {name: row[name] for name in expected}


def test_a_call_told_by_logs_alone_has_no_span() -> None:
    """Its start is its end less the duration that it reports."""
    row = _call_row(log("told", kind="llm", at_ms=500, took=200, tokens=(1, 1)))
    assert (None, 200_000_000, "chat") == (row["span_id"], row["duration_ns"], row["operation"])


def test_the_id_of_a_call_outlives_its_records() -> None:
    """A second telling with the same response id does not rename the call; a session's id is part of it."""
    alone = _call_row(span("call", kind="llm", tokens=(1, 1), gen_ai_response_id="r1"))
    told = _call_row(
        span("call", kind="llm", tokens=(1, 1), gen_ai_response_id="r1"),
        log("a", kind="llm", gen_ai_response_id="r1", tokens=(1, 1)),
    )
    other = _call_row(span("call", kind="llm", tokens=(1, 1), gen_ai_response_id="r2"))
    assert alone["model_call_id"] == told["model_call_id"] != other["model_call_id"]


def test_output_is_told_by_the_record_that_splits_reasoning_off() -> None:
    """Where span and log differ, the one that names reasoning includes it."""
    row = _call_row(
        span("call", kind="llm", tokens=(10, 2), gen_ai_response_id="r"),
        log("told", kind="llm", tokens=(10, 8), gen_ai_response_id="r", gen_ai_usage_reasoning_output_tokens=6),
    )
    assert (8, 6) == (row["output_tokens"], row["reasoning_tokens"])


def _run(**facts: Any) -> Node:
    return span("tool", kind="tool", **({"gen_ai_tool_name": "shell", "gen_ai_tool_call_id": "c1"} | facts))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"tool_outcome": "ok"}, ("ok", None)),
        ({"tool_outcome": "ok", "error_type": "Warning"}, ("ok", None)),
        ({"tool_outcome": "empty"}, ("empty", None)),
        ({}, ("unknown", None)),
        ({"tool_outcome": "error"}, ("error", "tool_error")),
        ({"tool_outcome": "error", "error_type": "KeyError"}, ("error", "KeyError")),
        ({"tool_outcome": "timeout"}, ("timeout", "timeout")),
        ({"tool_outcome": "cancelled"}, ("cancelled", "cancelled")),
    ],
    ids=str,
)
def test_a_failed_tool_call_has_an_error_type(facts: Row, expected: tuple[str, str | None]) -> None:
    """And one that went well has none, whatever it carries."""
    row = _tool_row(_run(**facts))
    assert expected == (row["result_class"], row["error_type"])


def test_a_tool_row_takes_the_request_where_the_run_is_silent() -> None:
    """Arguments, their hash and the action may be known from the model's message alone."""
    ask = {"id": "c1", "name": "shell", "type": "function", "arguments_hash": "h", "arguments_bytes": 9,
           "action": "command", "resource": "pytest", "sensitivity": "internal"}  # fmt: skip
    chat = span("chat", kind="llm", until=50, tokens=(1, 1), requested_tools=[ask])
    row = _tool_row(chat, _run(begin=100), requested={"c1": {"command": "pytest"}})
    expected = ("h", 9, "command", "pytest", '{"command":"pytest"}')
    assert expected == tuple(
        row[name] for name in ("arguments_hash", "arguments_bytes", "action", "resource", "arguments")
    )
    assert row["model_call_id"] is not None


def test_arguments_of_the_run_stand_before_those_of_the_request() -> None:
    """Unless the run only carries bare text and the request a structure."""
    ask = {"id": "c1", "name": "shell", "type": "function", "arguments_hash": None}
    chat = span("chat", kind="llm", until=50, tokens=(1, 1), requested_tools=[ask])
    shown = [
        _tool_row(chat, _run(begin=100), arguments={"trace-1/tool": own}, requested={"c1": {"a": 1}})["arguments"]
        for own in ('{"a":2}', "2")
    ]
    assert ['{"a":2}', '{"a":1}'] == shown


def test_a_decision_and_who_took_it_stand_on_the_call() -> None:
    """The first approval with a decision tells."""
    row = _tool_row(
        _run(),
        log("asked", kind="approval", gen_ai_tool_call_id="c1", at_ms=1),
        log("decided", kind="approval", gen_ai_tool_call_id="c1", at_ms=2, decision="allow", decision_source="user"),
    )
    assert ("allow", "user", "executed") == (row["decision"], row["decision_source"], row["state"])


def test_a_requested_call_is_placed_where_it_was_asked_for() -> None:
    """It has no end and no duration, and the dialect of the message."""
    ask = {"id": "c1", "name": "shell", "type": "function", "arguments_hash": None}
    row = _tool_row(span("chat", kind="llm", until=50, tokens=(1, 1), requested_tools=[ask]))
    assert ("requested", None, None, "plain") == tuple(
        row[name] for name in ("state", "end_time_unix_nano", "duration_ns", "dialect")
    )


@pytest.mark.parametrize("view", ["model_calls", "tool_calls"])
def test_a_row_has_only_columns_of_its_view(view: str) -> None:
    """Nothing that a row carries is lost on the way to the table."""
    row = _call_row(span("call", kind="llm", tokens=(1, 1))) if view == "model_calls" else _tool_row(_run())
    columns = {column.name for column in DERIVED[view].columns}
    assert {"resource"} >= set(row) - columns
    required = {column.name for column in DERIVED[view].columns if not column.nullable}
    assert set() == {name for name in required if row.get(name) is None}


def _names(*nodes: Node) -> dict[str, str | None]:
    ordered = linked(*nodes)
    agents = agents_of(ordered)
    return {node.name or node.event: agents.of([node]) for node in ordered}


def test_the_agent_is_the_nearest_that_has_a_name() -> None:
    """Down from the agent's span to everything inside it."""
    found = _names(
        span("lead", kind="agent", gen_ai_agent_name="lead", until=9_000),
        span("call", parent="lead", kind="llm"),
        span("tool", parent="lead", kind="tool"),
        span("sub", parent="tool", kind="agent", gen_ai_agent_name="reviewer"),
        span("deep", parent="sub", kind="llm"),
    )
    assert {"lead": "lead", "call": "lead", "tool": "lead", "sub": "reviewer", "deep": "reviewer"} == found


def test_a_session_with_one_agent_gives_its_name_to_all() -> None:
    """A log without context belongs to the main agent; an id that a named record carries tells whose it is."""
    found = _names(
        span("lead", kind="agent", gen_ai_agent_name="lead"),
        log("named", kind="llm", at_ms=10, gen_ai_agent_name="scout", gen_ai_agent_id="a2"),
        log("by-id", kind="tool", at_ms=20, gen_ai_agent_id="a2"),
        log("bare", kind="task", at_ms=0),
    )
    assert {"lead": "lead", "named": "scout", "by-id": "scout", "bare": "lead"} == found


def test_an_id_that_several_names_carry_tells_nothing() -> None:
    """Only an unambiguous id names an agent."""
    found = _names(
        span("lead", kind="agent", gen_ai_agent_name="lead"),
        log("one", kind="llm", at_ms=10, gen_ai_agent_name="scout", gen_ai_agent_id="a"),
        log("two", kind="llm", at_ms=11, gen_ai_agent_name="critic", gen_ai_agent_id="a"),
        log("by-id", kind="tool", at_ms=20, gen_ai_agent_id="a"),
    )
    assert "lead" == found["by-id"]


def test_depth_counts_the_tools_around() -> None:
    """A sub-agent that runs in a tool is one deeper; the tool's own span is not inside itself."""
    ordered = linked(
        span("lead", kind="agent", gen_ai_agent_name="lead", until=9_000),
        span("tool", parent="lead", kind="tool", gen_ai_tool_name="delegate", gen_ai_tool_call_id="c1"),
        span("again", parent="tool", kind="tool", gen_ai_tool_name="delegate", gen_ai_tool_call_id="c1"),
        span("sub", parent="again", kind="agent", gen_ai_agent_name="reviewer"),
        span("deep", parent="sub", kind="llm"),
        log("far", kind="llm", gen_ai_agent_name="reviewer"),
        log("near", kind="llm", gen_ai_agent_name="lead"),
    )
    agents = agents_of(ordered)
    depths = {node.name or node.event: agents.depth([node]) for node in ordered}
    assert {"lead": 0, "tool": 0, "again": 0, "sub": 1, "deep": 1, "far": 1, "near": 0} == depths
