"""MCP servers without a trace context: their calls join the session and the call that they served."""

from itertools import permutations

import pytest

from headgate_analytics.node import Node, link
from headgate_analytics.served import ToolSpan
from headgate_analytics.stitch import Fact, Stitched
from headgate_analytics.stitcher import Stitcher, open_nothing
from headgate_analytics.tool_calls import tool_calls

_MS = 1_000_000
_GAP_NS = 60_000 * _MS


def _trace(trace_id: str, *, key: str | None, begin: int, until: int, root_calls: int = 0) -> Fact:
    return Fact(
        tenant="t",
        trace_id=trace_id,
        service_name="agent",
        key=key,
        instance="process-1",
        first_unix_nano=begin * _MS,
        last_unix_nano=until * _MS,
        substantive=True,
        root_calls=root_calls,
        root_others=1 - root_calls,
    )


def _tool(trace_id: str, tool: str, *, begin: int, until: int, served: bool) -> Fact:
    return Fact(
        tenant="t",
        trace_id=trace_id,
        service_name="agent",
        key=None,
        instance=None,
        first_unix_nano=begin * _MS,
        last_unix_nano=until * _MS,
        substantive=False,
        root_calls=0,
        root_others=0,
        tool=ToolSpan(tool=tool, served=served),
    )


AGENT = _trace("a1", key="session-1", begin=0, until=9_000)
CALL = _tool("a1", "read_file", begin=1_000, until=2_000, served=False)
SERVER = _trace("b1", key=None, begin=1_100, until=1_900, root_calls=1)
SERVED = _tool("b1", "read_file", begin=1_100, until=1_900, served=True)


def _sessions(facts: list[Fact]) -> list[Stitched]:
    return _told([facts])[-1][0]


def _told(batches: list[list[Fact]]) -> list[tuple[list[Stitched], set[str]]]:
    """The sessions told, and the ids removed, after each of the batches."""
    with open_nothing() as database:
        stitcher = Stitcher(database, idle_gap_ns=_GAP_NS)
        found = []
        for batch in batches:
            stitcher.absorb(batch)
            changes = list(stitcher.changes())
            sessions = [one for change in changes for one in change.sessions]
            found.append((sessions, {gone for change in changes for gone in change.removed}))
        return found


@pytest.mark.parametrize("facts", [list(order) for order in permutations((AGENT, CALL, SERVER, SERVED))])
def test_a_served_call_joins_the_session_of_its_caller_in_any_order(facts: list[Fact]) -> None:
    """One session comes out, named by the caller's key."""
    found = _sessions(facts)

    assert ["session-1"] == [session.key.key for session in found]
    assert 2 == len(found[0].anchors)


@pytest.mark.parametrize(
    "call",
    [
        _tool("a1", "write_file", begin=1_000, until=2_000, served=False),
        _tool("a1", "read_file", begin=3_000, until=4_000, served=False),
    ],
    ids=["another tool", "another time"],
)
def test_a_served_call_that_no_call_encloses_stays_a_session_of_its_own(call: Fact) -> None:
    """A server may serve callers that nobody records."""
    assert 2 == len(_sessions([AGENT, call, SERVER, SERVED]))


def test_a_call_with_a_hidden_name_encloses_whatever_it_holds() -> None:
    """Claude Code calls every MCP tool `mcp_tool` unless told to show its details."""
    hidden = _tool("a1", "mcp_tool", begin=1_000, until=2_000, served=False)

    assert 1 == len(_sessions([SERVER, SERVED, AGENT, hidden]))


def test_a_session_that_was_guessed_before_its_caller_came_is_removed() -> None:
    """The server's spans arrive first and stand alone until the caller's span ends."""
    (alone, _), (joined, removed) = _told([[SERVER, SERVED], [AGENT, CALL]])

    assert {alone[0].key.session_id} == removed
    assert ["session-1"] == [session.key.key for session in joined]


def _node(record_id: str, *, trace_id: str, begin: int, until: int, dialect: str, side: str = "INTERNAL") -> Node:
    return Node(
        record_id=record_id,
        is_log=False,
        trace_id=trace_id,
        span_id=record_id,
        parent_span_id=None,
        name="tool",
        start=begin * _MS,
        end=until * _MS,
        flags=0,
        status="UNSET",
        event="",
        suspect=False,
        witness="client",
        service="agent",
        resource_text="{}",
        facts={
            "dialect": dialect,
            "operation_kind": "tool",
            "gen_ai_tool_name": "read_file",
            "gen_ai_tool_type": "mcp",
            "tool_outcome": "error" if side == "SERVER" else None,
        },
        side=side,
    )


def test_the_servers_span_adds_its_outcome_to_the_call_and_no_second_call() -> None:
    """The agent's own span has no status; the server says that the tool failed."""
    nodes = [
        _node("1", trace_id="a1", begin=1_000, until=2_000, dialect="claude_code"),
        _node("2", trace_id="b1", begin=1_100, until=1_900, dialect="mcp", side="SERVER"),
    ]
    link(nodes)

    found = tool_calls(nodes, [])

    assert ["error"] == [tool.result_class for tool in found]
    assert 2 == len(found[0].nodes)
