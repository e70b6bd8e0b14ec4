"""Logical tool calls: requested, decided, run, reported; one row each."""

from typing import Any

import pytest

from headgate_analytics.model_calls import model_calls
from headgate_analytics.node import Node
from headgate_analytics.testing.nodes import linked, log, span
from headgate_analytics.tool_calls import ToolCall, plain, tool_calls


def _tools(*nodes: Node) -> list[ToolCall]:
    ordered = linked(*nodes)
    return tool_calls(ordered, model_calls(ordered))


def _tool(name: str, tool: str | None = "read_file", call_id: str | None = None, **more: Any) -> Node:
    return span(name, gen_ai_tool_name=tool, gen_ai_tool_call_id=call_id, **({"kind": "tool"} | more))


def _log(name: str, tool: str | None = "read_file", call_id: str | None = None, **more: Any) -> Node:
    return log(name, gen_ai_tool_name=tool, gen_ai_tool_call_id=call_id, **({"kind": "tool"} | more))


def _asked(*calls: dict[str, Any], name: str = "chat", **more: Any) -> Node:
    return span(name, **({"kind": "llm", "until": 100, "tokens": (1, 1), "requested_tools": list(calls)} | more))


def _ask(call_id: str | None = None, name: str = "read_file", **more: Any) -> dict[str, Any]:
    return {"id": call_id, "name": name, "type": "function", "arguments_hash": None} | more


def test_a_span_and_a_log_with_one_id_are_one_call() -> None:
    """Whatever each of them calls the tool."""
    [tool] = _tools(_tool("span", "Read", "c1"), _log("log", "read_file", "c1", at_ms=900))
    assert ("c1", 2) == (tool.call_id, len(tool.runs))


def test_one_id_may_serve_two_tools_of_one_source() -> None:
    """An id that is reused for another tool is another call; `unknown` is no id."""
    assert 2 == len(_tools(_tool("a", "read_file", "c1"), _tool("b", "write_file", "c1", begin=50)))
    assert 2 == len(_tools(_tool("a", "x", "unknown"), _tool("b", "x", "unknown", begin=50)))


def test_spans_of_one_tool_inside_each_other_are_one_call() -> None:
    """The framework's span and the instrumentation's below it."""
    [tool] = _tools(
        _tool("outer", "read_file", "c1"),
        span("step", parent="outer", kind="step"),
        _tool("inner", "Read File", parent="step"),
    )
    assert (["outer"], ["inner"]) == ([node.name for node in tool.runs], [node.name for node in tool.parts])


@pytest.mark.parametrize(
    ("between", "inner", "count"),
    [("step", "write_file", 2), ("agent", "read_file", 2), ("llm", "read_file", 2), ("step", "read_file", 1)],
)
def test_a_tool_inside_a_tool_is_another_unless_it_is_the_same(between: str, inner: str, count: int) -> None:
    """A tool that calls a tool, and a sub-agent that uses the tool that started it."""
    nodes = (_tool("outer"), span("between", parent="outer", kind=between), _tool("inner", inner, parent="between"))
    assert count == len([tool for tool in _tools(*nodes) if tool.runs])


def test_what_runs_inside_a_call_is_part_of_it() -> None:
    """Client and server of an MCP tool, the process of a shell command: by parent, else by id."""
    [tool] = _tools(
        _tool("tool", "shell", "c1", tool_outcome=None),
        _tool("exec", None, parent="tool", kind="tool_attempt", exit_code=2, tool_outcome="error"),
        _tool("elsewhere", None, "c1", trace="trace-2", kind="tool_attempt"),
    )
    assert (2, "error") == (tool.first("exit_code"), tool.result_class)
    assert 3 == len(tool.nodes)


def test_a_part_without_a_call_stands_for_it_when_it_has_a_name() -> None:
    """The tool span was lost; what ran inside it was not."""
    nodes = [_tool("exec", "shell", "c1", kind="tool_attempt"), _tool("nameless", None, kind="tool_attempt")]
    assert ["shell"] == [tool.name for tool in _tools(*nodes)]


def test_an_mcp_client_and_its_server_are_one_call() -> None:
    """The server continues the trace; the call is its type's most telling."""
    [tool] = _tools(
        _tool("agent", "read_file", "c1", gen_ai_tool_type="function"),
        _tool("client", parent="agent", gen_ai_tool_type="mcp", dialect="mcp", side="CLIENT", mcp_server="files"),
        _tool("server", parent="client", gen_ai_tool_type="mcp", dialect="mcp", side="SERVER", tool_outcome="error"),
    )
    assert ("mcp", "files", "error") == (tool.type, tool.text("mcp_server"), tool.result_class)


@pytest.mark.parametrize(
    ("approval", "state", "result"),
    [
        ({"decision": "allow"}, "decided", "unknown"),
        ({"decision": "deny"}, "decided", "denied"),
        ({}, "decided", "unknown"),
    ],
)
def test_a_call_that_was_decided_and_never_ran_is_a_call(approval: dict[str, Any], state: str, result: str) -> None:
    """A person said no, or the process ended before it could run."""
    [tool] = _tools(_log("decision", "shell", "c1", kind="approval", **approval))
    assert (state, result, "shell") == (tool.state, tool.result_class, tool.name)


def test_a_decision_belongs_to_the_call_that_it_decides() -> None:
    """By id, else by the span around it; one without either is no call."""
    by_id = _tools(_tool("tool", "shell", "c1"), _log("decision", None, "c1", kind="approval", decision="allow"))
    by_span = _tools(_tool("tool", "shell"), span("wait", parent="tool", kind="approval", decision="allow"))
    assert [1, 1] == [len(tool.approvals) for tool in (*by_id, *by_span)]
    assert ["executed", "executed"] == [tool.state for tool in (*by_id, *by_span)]
    assert [] == _tools(_log("decision", "shell", None, kind="approval", decision="deny"))


def test_a_refused_call_did_not_run_though_its_span_ended() -> None:
    """Some agents open the tool's span before they ask."""
    [tool] = _tools(_tool("tool", "shell", "c1"), _log("no", None, "c1", kind="approval", decision="deny"))
    assert ("decided", "denied") == (tool.state, tool.result_class)


def test_what_only_a_message_shows_is_a_requested_call() -> None:
    """Instrumentation of the SDK alone, or a process that was killed before the tool ran."""
    [tool] = _tools(_asked(_ask("c1", type="mcp")))
    assert ("requested", "read_file", "mcp", "c1", "unknown") == (
        *(tool.state, tool.name, tool.type, tool.call_id, tool.result_class),
    )
    assert (tool.request.call.end if tool.request else None) == tool.start


def test_what_was_asked_for_and_ran_is_one_call() -> None:
    """The run and the request share the id."""
    [tool] = _tools(_asked(_ask("c1")), _tool("tool", "read_file", "c1", begin=200, until=300))
    assert ("executed", "chat") == (tool.state, tool.request.call.primary.name if tool.request else None)


def test_runs_without_ids_find_their_requests_by_arguments_and_by_name() -> None:
    """First equal arguments, then the tool's name; a run never precedes its request."""
    nodes = (
        _asked(_ask("c1", arguments_hash="h1"), _ask("c2", arguments_hash="h2"), _ask("c3", name="list")),
        _tool("run-2", "read_file", begin=200, arguments_hash="h2"),
        _tool("run-1", "read_file", begin=300, arguments_hash="h1"),
        _tool("run-3", "List", begin=400),
        _tool("before", "list", begin=-900, until=-800),
    )
    found = {tool.runs[0].name: tool.call_id for tool in _tools(*nodes) if tool.runs}
    assert {"run-1": "c1", "run-2": "c2", "run-3": "c3", "before": None} == found


def test_two_ids_are_two_calls() -> None:
    """A run with another id than the request did not answer it."""
    assert ["executed", "requested"] == sorted(
        tool.state for tool in _tools(_asked(_ask("c1")), _tool("t", "read_file", "c2", begin=200))
    )


def test_equal_calls_without_ids_stay_apart() -> None:
    """A message that asks for the same thing twice asks for two calls."""
    assert 2 == len(_tools(_asked(_ask(), _ask())))
    assert 2 == len(_tools(_asked(_ask(), _ask()), _tool("a", begin=200), _tool("b", begin=300)))


def test_a_request_that_is_told_again_counts_once() -> None:
    """Outer spans repeat the message of the call inside them, and so do later ones."""
    outer = _asked(_ask("c1"), name="outer", until=200)
    inner = _asked(_ask("c1"), name="inner", parent="outer")
    later = _asked(_ask("c1"), name="later", begin=500, until=600)
    assert 1 == len(_tools(outer, inner, later))


def test_a_result_in_the_next_input_tells_how_a_call_ended() -> None:
    """Where nothing that ran says so itself."""
    told = [{"id": "c1", "outcome": "error", "exit_code": 2}, {"id": "c2", "outcome": None}]
    tools = _tools(
        _asked(_ask("c1"), _ask("c2"), _ask("c3")),
        span("next", kind="llm", begin=500, tokens=(1, 1), returned_tools=told),
    )
    assert {"c1": "error", "c2": "unknown", "c3": "unknown"} == {tool.call_id: tool.result_class for tool in tools}


def test_what_ran_knows_better_than_what_the_model_was_told() -> None:
    """A tool that failed and was reported politely failed."""
    [tool] = _tools(
        _tool("tool", "read_file", "c1", tool_outcome="timeout"),
        span("next", kind="llm", begin=2_000, until=3_000, returned_tools=[{"id": "c1", "outcome": "ok"}]),
    )
    assert "timeout" == tool.result_class


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [(("ok", "error"), "error"), (("ok", None), "ok"), (("error", "timeout"), "timeout"), ((None, None), "unknown"),
     (("ok", "empty"), "empty"), (("cancelled", "error"), "cancelled")],
)  # fmt: skip
def test_the_worst_sign_is_the_result(outcomes: tuple[str | None, str | None], expected: str) -> None:
    """Of span and log, of tool and server."""
    [tool] = _tools(_tool("t", "x", "c1", tool_outcome=outcomes[0]), _log("l", "x", "c1", tool_outcome=outcomes[1]))
    assert expected == tool.result_class


def test_a_handoff_is_a_call_and_answers_the_request_for_one() -> None:
    """The message asks for `transfer_to_reviewer`, the span is named after the agent."""
    [tool] = _tools(
        _asked(_ask("c1", name="transfer_to_reviewer", type="handoff")),
        _tool("handoff", "reviewer", kind="handoff", begin=200, gen_ai_tool_type="handoff"),
    )
    assert ("handoff", "executed", "c1") == (tool.type, tool.state, tool.call_id)


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ([span("agent", parent="tool", kind="agent")], "subagent"),
        ([span("step", parent="tool", kind="step"), span("agent", parent="step", kind="agent")], "subagent"),
        ([span("call", parent="tool", kind="llm")], "function"),
        ([], "function"),
    ],
    ids=["agent", "agent in a step", "call", "nothing"],
)
def test_a_tool_in_which_an_agent_runs_is_a_sub_agent(inside: list[Node], expected: str) -> None:
    """Whatever the source calls it."""
    assert [expected] == [tool.type for tool in _tools(_tool("tool", "research"), *inside)]


def test_a_delegation_answers_a_request_under_another_name() -> None:
    """The crew's `Delegate work to coworker` is logged as `delegate_work`."""
    [tool] = _tools(_asked(_ask("c1", name="Delegate work to coworker")), _tool("t", "delegate_task", begin=200))
    assert "c1" == tool.call_id


def test_a_log_without_an_id_joins_the_span_of_its_tool() -> None:
    """The latest span that began before it; each span takes one."""
    tools = _tools(
        _tool("first", begin=0, until=100),
        _tool("second", begin=200, until=300),
        _log("told-1", at_ms=110, exit_code=1),
        _log("told-2", at_ms=310, exit_code=2),
        _log("other", "write_file", at_ms=320),
    )
    assert [1, 2, None] == [tool.first("exit_code") for tool in tools]


def test_a_running_tool_is_running() -> None:
    """Its span has not ended."""
    assert ["running"] == [tool.state for tool in _tools(_tool("open", until=None))]


def test_several_runs_of_one_call_are_attempts() -> None:
    """Spans with the same id one after the other."""
    [tool] = _tools(
        _tool("try-1", "x", "c1", tool_outcome="error"), _tool("try-2", "x", "c1", begin=50, tool_outcome="ok")
    )
    assert 2 == tool.attempts
    assert [None] == [one.attempts for one in _tools(_tool("once"))]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mcp__files__read_file", "read_file"),
        ("Read File", "read_file"),
        ("ReadFile", "readfile"),
        ("delegate-work.to", "delegate_work_to"),
        (None, ""),
        ("", ""),
    ],
)
def test_names_are_compared_without_case_and_punctuation(name: str | None, expected: str) -> None:
    """Dialects write the same tool in many ways."""
    assert expected == plain(name)
