"""Decisions on the rows of the calls that they were about."""

from typing import Any

import orjson

from headgate_analytics.decided import Decided
from headgate_analytics.node import Node
from headgate_analytics.testing.nodes import log


def _decision(name: str, **told: Any) -> Node:
    """A decision that control tells of."""
    own = {f"headgate.{column}": value for column, value in {"decision_id": name, "effect": "allow", **told}.items()}
    node = log(name, kind="decision", own_attributes=orjson.dumps(own).decode())
    node.witness = "control"
    return node


def _tool(call_id: str | None, **more: Any) -> dict[str, Any]:
    """What `tool_calls` has of it."""
    return {
        "source_call_id": call_id,
        "state": "requested",
        "result_class": "unknown",
        "error_type": None,
        "decision_id": None,
        "decision": None,
        "decision_source": None,
        **more,
    }


def test_a_denied_tool_call_is_decided_and_counted_once() -> None:
    """Of a command in a shell both the tool and the command are decided; the denial is the call's."""
    decided = Decided.of(
        [
            _decision("d1", tool_use_id="c1"),
            _decision("d2", tool_use_id="c1", effect="deny"),
            _decision("d3", tool_use_id="c2"),
        ]
    )
    rows = [_tool("c1"), _tool("c2", state="executed", result_class="ok"), _tool(None)]
    decided.mark(rows)
    assert [
        ("d2", "deny", "decided", "denied"),
        ("d3", "allow", "executed", "ok"),
        (None, None, "requested", "unknown"),
    ] == [(row["decision_id"], row["decision"], row["state"], row["result_class"]) for row in rows]
    assert ([], 0) == (decided.uncarried(rows), decided.denied(rows))


def test_a_denial_that_no_row_shows_counts() -> None:
    """The agent never told of the call, or tells that it ran into an error."""
    decided = Decided.of([_decision("d1", effect="deny"), _decision("d2", tool_use_id="c1", effect="deny")])
    rows = [_tool("c1", state="executed", result_class="error")]
    decided.mark(rows)
    assert 2 == decided.denied(rows)
    assert ["d1"] == [str(node.own["headgate.decision_id"]) for node in decided.uncarried(rows)]


def test_the_agents_own_word_for_who_decided_stays() -> None:
    """A person said yes before the policy did."""
    rows = [_tool("c1", decision="allow", decision_source="user")]
    Decided.of([_decision("d1", tool_use_id="c1")]).mark(rows)
    assert ("d1", "user") == (rows[0]["decision_id"], rows[0]["decision_source"])


def test_what_an_agent_says_of_decisions_is_none_of_ours() -> None:
    """It may log an event of that kind, and decides nothing by it."""
    said = _decision("d1", effect="deny")
    said.witness = "client"
    assert Decided() == Decided.of([said])
