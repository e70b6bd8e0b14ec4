"""The timeline: everything that happened, once, in an order that makes sense."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_analytics.node import Node
from headgate_analytics.reconstruct import Rules, SessionContent, reconstruct
from headgate_analytics.testing.nodes import log, plain_rules, span, stitched_of

Row = dict[str, Any]


def _timeline(*nodes: Node, tasks: dict[str, str] | None = None, prices: dict[str, str] | None = None) -> list[Row]:
    rules = plain_rules()
    priced = Rules(
        identify=rules.identify,
        price=lambda row, _reported, _told: {
            **rules.price(row, None, False),
            "cost_usd": Decimal(prices[str(row["response_id"])]) if prices and row["response_id"] in prices else None,
        },
        title=rules.title,
    )
    content = SessionContent(tasks=tasks or {})
    return reconstruct(stitched_of(nodes), nodes, content, priced, revision=1).timeline


def _kinds(rows: list[Row]) -> list[str]:
    return [row["kind"] for row in rows]


def _tool(name: str, tool: str = "read_file", **more: Any) -> Node:
    return span(name, **({"kind": "tool", "gen_ai_tool_name": tool} | more))


def test_a_session_reads_from_its_task_to_its_last_call() -> None:
    """Task, model call, tool call, model call: each once, numbered from 1, with its row in another view."""
    rows = _timeline(
        span("agent", kind="agent", until=9_000, gen_ai_agent_name="fixer"),
        span("ask", parent="agent", kind="llm", begin=10, until=20, gen_ai_response_model="m"),
        _tool("read", parent="agent", begin=30, until=40, tool_outcome="ok"),
        span("answer", parent="agent", kind="llm", begin=50, until=60, gen_ai_response_model="m"),
        tasks={"trace-1/ask": "Fix  calc.py\nplease"},
    )
    assert [
        (1, "task", "Fix calc.py please", "user", None),
        (2, "model_call", "chat m", "fixer", "ok"),
        (3, "tool_call", "read_file", "fixer", "ok"),
        (4, "model_call", "chat m", "fixer", "ok"),
    ] == [tuple(row[name] for name in ("seq", "kind", "title", "actor", "status")) for row in rows]
    assert [None, "model_calls", "tool_calls", "model_calls"] == [row["ref_view"] for row in rows]


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({}, "tool_call"),
        ({"action": "file_read"}, "file_read"),
        ({"action": "file_write"}, "file_write"),
        ({"action": "command"}, "command"),
        ({"action": "external_action"}, "external_action"),
        ({"action": "network"}, "tool_call"),
        ({"action": "memory_write"}, "memory"),
        ({"action": "memory_read"}, "memory"),
        ({"gen_ai_tool_type": "handoff"}, "handoff"),
        ({"gen_ai_tool_type": "handoff", "action": "file_read"}, "handoff"),
        ({"gen_ai_tool_type": "subagent"}, "tool_call"),
    ],
    ids=str,
)
def test_a_tool_call_is_of_the_kind_of_its_action(facts: Row, kind: str) -> None:
    """Where the contract lists it; else it is a tool call."""
    assert [kind] == _kinds(_timeline(_tool("t", **facts)))


@pytest.mark.parametrize(
    ("nodes", "status"),
    [
        ([_tool("t", tool_outcome="error")], "error"),
        ([_tool("t", until=None)], "running"),
        ([log("no", kind="approval", gen_ai_tool_name="x", gen_ai_tool_call_id="c", decision="deny")], "decided"),
    ],
    ids=["ran", "runs", "was decided"],
)
def test_a_call_that_did_not_run_shows_its_state(nodes: list[Node], status: str) -> None:
    """A result belongs to what was executed."""
    assert [status] == [row["status"] for row in _timeline(*nodes)]


def test_time_decides_between_moments_and_the_sequence_between_equal_times() -> None:
    """Logs of one millisecond carry the source's own order."""
    rows = _timeline(
        log("third", kind="tool", gen_ai_tool_name="c", at_ms=10, event_sequence=30),
        log("second", kind="tool", gen_ai_tool_name="b", at_ms=10, event_sequence=20),
        log("first", kind="tool", gen_ai_tool_name="a", at_ms=5, event_sequence=99),
    )
    assert ["a", "b", "c"] == [row["title"] for row in rows]


def test_a_task_stands_before_the_call_that_it_started_at_the_same_instant() -> None:
    """And a call before the tools at its start."""
    rows = _timeline(
        _tool("tool"), span("call", kind="llm"), log("prompt", kind="task", at_ms=0), tasks={"log/prompt": "Go"}
    )
    assert ["task", "model_call", "tool_call"] == _kinds(rows)


def test_a_clock_that_runs_behind_does_not_put_a_child_before_its_parent() -> None:
    """The tool runs on a host whose clock is a second late."""
    rows = _timeline(
        span("agent", kind="agent", begin=0, until=9_000),
        span("call", parent="agent", kind="llm", begin=10, until=20),
        _tool("delegate", "delegate", parent="agent", begin=30, until=8_000),
        span("remote", parent="delegate", kind="agent", begin=-970, until=-500),
        span("inner", parent="remote", kind="llm", begin=-960, until=-900),
        _tool("deep", parent="remote", begin=-890, until=-880),
    )
    found = {row["ref_id"]: row for row in rows}
    assert ["model_call", "tool_call", "model_call", "tool_call"] == _kinds(rows)
    assert [None, None, 2, 2] == [row["parent_seq"] for row in rows]
    assert 4 == len(found)


@given(data=st.data())
def test_no_child_stands_before_its_parent(data: st.DataObject) -> None:
    """Whatever the clocks say."""
    kinds = st.sampled_from(["llm", "tool", "agent", "step", "handoff"])
    nodes: list[Node] = []
    for number in range(data.draw(st.integers(1, 10))):
        parent = data.draw(st.sampled_from([None, *(node.name for node in nodes)]))
        begin = data.draw(st.integers(-50, 50))
        nodes.append(
            span(
                f"n{number}",
                parent=parent,
                kind=data.draw(kinds),
                begin=begin,
                until=begin + 5,
                gen_ai_tool_name=f"t{number}",
            )
        )
    rows = _timeline(*nodes)
    assert list(range(1, len(rows) + 1)) == [row["seq"] for row in rows]
    assert [] == [row["seq"] for row in rows if row["parent_seq"] is not None and row["parent_seq"] >= row["seq"]]


def test_a_tool_belongs_to_the_call_that_asked_for_it() -> None:
    """Where no span is around it."""
    ask = {"id": "c1", "name": "read_file", "type": "function", "arguments_hash": None}
    rows = _timeline(
        span("chat", kind="llm", until=20, tokens=(1, 1), requested_tools=[ask]),
        _tool("read", begin=30, until=40, gen_ai_tool_call_id="c1"),
    )
    assert [(1, None), (2, 1)] == [(row["seq"], row["parent_seq"]) for row in rows]


def test_the_cost_so_far_is_the_sum_of_what_is_known() -> None:
    """NULL before the first priced call, unchanged by what has no price."""
    rows = _timeline(
        _tool("before", begin=0),
        span("one", kind="llm", begin=10, gen_ai_response_id="r1"),
        span("free", kind="llm", begin=20, gen_ai_response_id="r2"),
        span("two", kind="llm", begin=30, gen_ai_response_id="r3"),
        prices={"r1": "0.25", "r3": "0.5"},
    )
    assert [None, Decimal("0.25"), Decimal("0.25"), Decimal("0.75")] == [row["cost_so_far_usd"] for row in rows]
    assert [None, Decimal("0.25"), None, Decimal("0.5")] == [row["cost_usd"] for row in rows]


def test_an_error_that_no_call_explains_is_a_moment() -> None:
    """The innermost span that failed, at its end."""
    rows = _timeline(
        span("agent", kind="agent", status="ERROR", error_type="ParserError", until=90),
        span("step", parent="agent", kind="step", status="ERROR", error_type="KeyError", until=80),
    )
    assert [("error", "step: KeyError")] == [(row["kind"], row["title"]) for row in rows]


def test_an_error_that_a_failed_call_explains_is_none() -> None:
    """The agent failed because its call or its tool did."""
    for failed in (
        span("call", parent="agent", kind="llm", error_type="429"),
        _tool("tool", parent="agent", tool_outcome="error"),
    ):
        rows = _timeline(span("agent", kind="agent", status="ERROR", error_type="x"), failed)
        assert "error" not in _kinds(rows)


def test_tasks_are_told_once() -> None:
    """Events tell them; else the first message of each trace, and not again when the next trace repeats it."""
    calls = [span(f"c{n}", trace=f"trace-{n}", kind="llm", begin=n) for n in range(3)]
    texts = {"trace-0/c0": "Fix it", "trace-1/c1": "Fix it", "trace-2/c2": "Test it"}
    assert ["Fix it", "Test it"] == [row["title"] for row in _timeline(*calls, tasks=texts) if row["kind"] == "task"]
    prompt = log("prompt", kind="task", at_ms=-5)
    told = _timeline(prompt, *calls, tasks=texts | {"log/prompt": "Really fix it"})
    assert ["Really fix it"] == [row["title"] for row in told if row["kind"] == "task"]
    assert ["task"] == [row["title"] for row in _timeline(prompt) if row["kind"] == "task"]


def test_depth_follows_the_agents() -> None:
    """What a sub-agent does is one deeper than what started it."""
    rows = _timeline(
        span("agent", kind="agent", until=9_000, gen_ai_agent_name="lead"),
        _tool("delegate", "delegate", parent="agent", begin=10, until=8_000),
        span("sub", parent="delegate", kind="agent", begin=20, until=7_000, gen_ai_agent_name="reviewer"),
        span("call", parent="sub", kind="llm", begin=30, until=40),
    )
    assert [("lead", 0), ("reviewer", 1)] == [(row["actor"], row["depth"]) for row in rows]
