"""The audit trail of tokens: which record counts, and why the others do not."""

import pytest

from headgate_analytics.node import Node
from headgate_analytics.reconstruct import SessionContent, reconstruct
from headgate_analytics.testing.nodes import log, plain_rules, span, stitched_of


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([span("call", kind="llm", tokens=(1, 1))], {"call": "leaf"}),
        ([span("call", kind="llm")], {"call": "missing"}),
        (
            [span("outer", kind="llm", tokens=(1, 1)), span("inner", parent="outer", kind="llm", tokens=(1, 1))],
            {"inner": "leaf", "outer": "suppressed"},
        ),
        (
            [
                span("loop", kind="llm", tokens=(3, 3)),
                span("a", parent="loop", kind="llm", begin=1, tokens=(1, 1)),
                span("b", parent="loop", kind="llm", begin=2, tokens=(2, 2)),
            ],
            {"loop": "suppressed", "a": "leaf", "b": "leaf"},
        ),
        (
            [span("agent", kind="agent", tokens=(1, 1)), span("call", parent="agent", kind="llm", tokens=(1, 1))],
            {"agent": "container", "call": "leaf"},
        ),
        (
            [span("call", kind="llm", tokens=(1, 1)), log("told", kind="llm", at_ms=1_001, tokens=(1, 1))],
            {"call": "leaf", "told": "mirror"},
        ),
        ([span("tool", kind="tool", gen_ai_tool_name="x")], {}),
    ],
    ids=["leaf", "missing", "nested", "loop", "container", "log", "tool"],
)
def test_every_record_with_usage_has_a_role(nodes: list[Node], expected: dict[str, str]) -> None:
    """One leaf a call; what repeats or sums it says so."""
    rows = reconstruct(stitched_of(nodes), nodes, SessionContent(), plain_rules(), revision=1).usage_records
    assert expected == {str(row["record_id"]).rpartition("/")[2]: row["usage_role"] for row in rows}


def test_the_leaves_add_up_to_the_session() -> None:
    """Whoever doubts a sum can follow it to its records."""
    nodes = [
        span("agent", kind="agent", tokens=(99, 9)),
        span("a", parent="agent", kind="llm", begin=1, tokens=(10, 1)),
        span("b", parent="agent", kind="llm", begin=2, tokens=(20, 2)),
        log("told", kind="llm", at_ms=1_002, tokens=(20, 2)),
    ]
    rebuilt = reconstruct(stitched_of(nodes), nodes, SessionContent(), plain_rules(), revision=1)
    leaves = [row for row in rebuilt.usage_records if row["usage_role"] == "leaf"]
    assert rebuilt.session["input_tokens"] == sum(int(str(row["input_tokens"])) for row in leaves)
    assert {row["model_call_id"] for row in rebuilt.model_calls} == {row["model_call_id"] for row in leaves}
