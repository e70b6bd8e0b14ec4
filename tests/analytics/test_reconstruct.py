"""One session whole: its sums, its state, who it was, and what NULL means."""

import random
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_analytics.columns import NodeColumns
from headgate_analytics.node import Node, deduplicated
from headgate_analytics.reconstruct import Reconstruction, Rules, SessionContent, reconstruct, requested_arguments
from headgate_analytics.schema import DERIVED
from headgate_analytics.testing.nodes import linked, log, plain_rules, span, stitched_of
from headgate_processors.dialects.columns import batch_of
from headgate_processors.enrich.identity import Identity

Row = dict[str, Any]
DOLLAR = Decimal(1)


def _rebuilt(*nodes: Node, rules: Rules | None = None, content: SessionContent | None = None) -> Reconstruction:
    return reconstruct(stitched_of(nodes), nodes, content or SessionContent(), rules or plain_rules(), revision=3)


def _session(*nodes: Node, **more: Any) -> Row:
    return _rebuilt(*nodes, **more).session


def _reporting() -> Rules:
    """Rules under which every call costs what it reports."""
    rules = plain_rules()
    return Rules(
        identify=rules.identify,
        price=lambda row, reported, _told: rules.price(row, None, False) | {"cost_usd": reported},
        title=rules.title,
    )


def test_a_session_sums_its_calls() -> None:
    """Tokens, counts, models, tools and agents of everything that happened; embeddings are not counted as input."""
    session = _session(
        span("agent", kind="agent", until=900, gen_ai_agent_name="lead", tokens=(999, 999)),
        span("a", parent="agent", kind="llm", begin=10, tokens=(100, 10), gen_ai_response_model="m1",
             gen_ai_usage_cache_read_input_tokens=40),
        span("b", parent="agent", kind="llm", begin=20, tokens=(50, 5), gen_ai_response_model="m2", attempt=3),
        span("e", parent="agent", kind="embedding", begin=30, tokens=(7, None), gen_ai_operation_name="embeddings"),
        span("t", parent="agent", kind="tool", begin=40, gen_ai_tool_name="x", tool_outcome="error"),
        span("h", parent="agent", kind="handoff", begin=50, gen_ai_tool_name="y", gen_ai_tool_type="handoff"),
    )  # fmt: skip
    expected = {
        "input_tokens": 150,
        "output_tokens": 15,
        "cache_read_tokens": 40,
        "reasoning_tokens": None,
        "model_call_count": 3,
        "tool_call_count": 2,
        "tool_error_count": 1,
        "handoff_count": 1,
        "retry_count": 2,
        "models": ["m1", "m2"],
        "tools": ["x", "y"],
        "agent_names": ["lead"],
        "usage_source": "reported",
        "trace_count": 1,
    }
    assert expected == {name: session[name] for name in expected}


def test_a_container_fills_the_sums_only_where_no_call_does() -> None:
    """CrewAI's crew reports a total and its calls nothing: the session has it, and no model call is made of it."""
    rebuilt = _rebuilt(
        span("crew", kind="workflow", tokens=(100, 10)), span("task", parent="crew", kind="step", tokens=(60, 6))
    )
    assert (100, 10, "container") == tuple(
        rebuilt.session[name] for name in ("input_tokens", "output_tokens", "usage_source")
    )
    assert [] == rebuilt.model_calls
    with_calls = _session(
        span("crew", kind="workflow", tokens=(100, 10)), span("call", parent="crew", kind="llm", tokens=(7, 1))
    )
    assert (7, "reported") == (with_calls["input_tokens"], with_calls["usage_source"])


def test_calls_that_say_nothing_leave_the_containers_total() -> None:
    """The calls are counted, their tokens come from around them."""
    session = _session(span("crew", kind="workflow", tokens=(100, 10)), span("call", parent="crew", kind="llm"))
    assert (1, 100, "container") == (session["model_call_count"], session["input_tokens"], session["usage_source"])


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([span("agent", kind="agent")], None),
        ([span("flow", kind="workflow"), span("t", parent="flow", kind="tool", gen_ai_tool_name="x")], None),
        ([span("t", kind="tool", gen_ai_tool_name="x")], 0),
        ([span("agent", kind="agent"), span("c", parent="agent", kind="llm")], 1),
    ],
    ids=["agent", "workflow", "bare tool", "agent with a call"],
)
def test_an_agent_without_reported_calls_has_an_unknown_number(nodes: list[Node], expected: int | None) -> None:
    """It called a model that nobody recorded; a bare tool server called none."""
    assert expected == _session(*nodes)["model_call_count"]


def test_nothing_reported_is_null() -> None:
    """No tokens, no cost, no share: not zero."""
    session = _session(span("call", kind="llm"))
    names = ("input_tokens", "output_tokens", "cost_usd", "cost_priced_share", "usage_source")
    assert [None] * 5 == [session[name] for name in names]


def test_money_says_which_share_of_it_is_known() -> None:
    """Two of four calls with usage have a price; a call without usage is not part of the share."""
    nodes = [span(f"c{n}", kind="llm", begin=n, tokens=(1, 1), gen_ai_response_id=f"r{n}",
                  reported_cost_usd=DOLLAR if n < 2 else None) for n in range(4)]  # fmt: skip
    session = _session(*nodes, span("silent", kind="llm", begin=9), rules=_reporting())
    assert (Decimal(2), 0.5) == (session["cost_usd"], session["cost_priced_share"])


def test_absurd_figures_leave_the_sum_unknown_and_the_tables_whole() -> None:
    """One agent that reports nonsense must not stop the tables of all."""
    nodes = [span(f"c{n}", kind="llm", begin=n, tokens=(10**11, 1), gen_ai_response_id=f"r{n}",
                  reported_cost_usd=Decimal(999_999)) for n in range(1_100)]  # fmt: skip
    rebuilt = _rebuilt(*nodes, rules=_reporting())
    assert (None, 1_100 * 10**11) == (rebuilt.session["cost_usd"], rebuilt.session["input_tokens"])
    for name, rows in (("sessions", [rebuilt.session]), ("timeline", rebuilt.timeline)):
        assert len(rows) == batch_of(DERIVED[name], {}, rows).num_rows


def test_a_log_that_claims_to_have_lasted_for_centuries_starts_with_the_epoch() -> None:
    """Durations stay within 64 bits."""
    row = {"record_id": "r", "start_time_unix_nano": 10, "witness": "client", "is_log": True}
    table = pa.Table.from_pylist([row | {"event_duration_ns": 2**63 - 1, "operation_kind": "llm"}])
    [node] = NodeColumns(table).nodes(0, 1)
    assert (0, 10) == (node.start, node.end)


@pytest.mark.parametrize(
    ("nodes", "state"),
    [
        ([span("agent", kind="agent")], "done"),
        ([span("agent", kind="agent", until=None)], "running"),
        ([span("call", parent="never", kind="llm")], "running"),
        ([span("noise"), span("call", parent="never", kind="llm")], "running"),
        ([span("agent", kind="agent"), span("c", trace="trace-2", parent="never", kind="llm", begin=50)], "running"),
        ([span("a", parent="never", kind="llm"), span("b", trace="trace-2", kind="agent", begin=50)], "done"),
        ([span("web"), span("agent", parent="web", kind="agent")], "done"),
        ([log("task", kind="task"), log("call", kind="llm")], "running"),
    ],
    ids=[
        "root ended",
        "root open",
        "no root",
        "another root",
        "next turn runs",
        "last turn ended",
        "server root",
        "logs",
    ],
)
def test_a_session_is_done_when_the_root_of_its_last_trace_ended(nodes: list[Node], state: str) -> None:
    """The last trace in which something lived; a root beside it ends nothing."""
    assert state == _session(*nodes)["state"]


def test_a_session_lasts_from_its_first_to_its_last_record() -> None:
    """A record whose time cannot be right moves neither end."""
    suspect = span("old", begin=-(10**12), until=-(10**12) + 1)
    suspect.suspect = True
    session = _session(
        span("agent", kind="agent", until=700), span("late", parent="agent", kind="llm", begin=650, until=900), suspect
    )
    assert (900_000_000, False) == (session["duration_ns"], session["time_suspect"])
    alone = _session(suspect)
    assert alone["time_suspect"] is True


def test_the_task_is_what_was_asked_first() -> None:
    """Of task events the first, else of everything that carries one; nothing else is the task."""
    nodes = [span("call", kind="llm", begin=0), log("two", kind="task", at_ms=20), log("one", kind="task", at_ms=10)]
    texts = {"trace-1/call": "from the call", "log/two": "second", "log/one": "first"}
    assert "first" == _session(*nodes, content=SessionContent(tasks=texts))["task"]
    assert "from the call" == _session(nodes[0], content=SessionContent(tasks=texts))["task"]
    assert _session(nodes[0])["task"] is None


def test_people_and_refusals_are_counted() -> None:
    """Decisions of a user are interventions; denied tools and denied calls are denials."""
    session = _session(
        log(
            "a",
            kind="approval",
            gen_ai_tool_name="x",
            gen_ai_tool_call_id="c1",
            decision="deny",
            decision_source="user",
        ),
        log(
            "b",
            kind="approval",
            gen_ai_tool_name="x",
            gen_ai_tool_call_id="c2",
            decision="allow",
            decision_source="config",
        ),
        span("call", kind="llm", error_type="403"),
    )
    assert (1, 2) == (session["intervention_count"], session["denied_count"])


def test_the_best_known_identity_is_the_sessions() -> None:
    """A record that claims a registered instance outweighs those of which nobody knows."""
    rules = plain_rules()
    claimed = Identity(tenant="default", instance_id="fixer-1", identity_source="claimed", team="payments")
    chosen = Rules(
        identify=lambda resource, agent, sure: (
            claimed if "fixer-1" in resource else rules.identify(resource, agent, sure)
        ),
        price=rules.price,
        title=rules.title,
    )
    known = span("known", kind="llm", begin=5)
    known.resource_text = '{"headgate.instance.id":"fixer-1"}'
    rebuilt = _rebuilt(span("agent", kind="agent"), known, rules=chosen)
    shared = rebuilt.shared
    assert ("fixer-1", "claimed", "payments") == (shared["instance_id"], shared["identity_source"], shared["team"])


def test_of_two_versions_of_a_record_the_ended_one_wins() -> None:
    """A span that was exported while it was open and again at its end; then the later end."""
    open_, ended, later = span("s", until=None), span("s", until=10), span("s", until=20)
    for order in ([open_, ended, later], [later, ended, open_]):
        assert [later] == deduplicated(order)


def test_a_cycle_of_parents_is_cut() -> None:
    """Broken instrumentation must not hang the job."""
    nodes = linked(
        span("a", parent="b", kind="llm"), span("b", parent="a", kind="llm"), span("c", parent="c", kind="llm")
    )
    assert [True] * 3 == [len(list(node.ancestors())) < 3 for node in nodes]
    assert _session(*nodes)["model_call_count"] is not None


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (['[{"id": "c1", "arguments": {"a": 1}}]'], {"c1": {"a": 1}}),
        (['[{"id": "c1", "arguments": 1}]', '[{"id": "c1", "arguments": 2}]'], {"c1": 1}),
        (['[{"id": null, "arguments": 1}, {"id": "c", "arguments": null}, 7]'], {}),
        (["{broken", '{"id": "c"}', ""], {}),
    ],
    ids=str,
)
def test_requested_arguments_are_found_by_call(texts: list[str], expected: Row) -> None:
    """Text that redaction or a cut broke is passed over."""
    assert expected == requested_arguments(texts)


KINDS = ("llm", "tool", "agent", "step", "workflow", "attempt", "approval", "task", "message", "handoff", "other")


@given(seed=st.integers(0, 2**32))
def test_any_order_of_records_gives_the_same_session(seed: int) -> None:
    """Shuffled and doubled, the rows are the same, and every table takes them."""
    rng = random.Random(seed)
    specs = [
        (
            f"n{n}",
            rng.choice(KINDS),
            rng.choice([None, *(f"n{m}" for m in range(n))]),
            rng.randrange(50),
            rng.random() < 0.3,
        )
        for n in range(rng.randint(1, 14))
    ]

    def nodes() -> list[Node]:
        return [
            log(name, kind=kind, at_ms=begin, tokens=(begin, 1), gen_ai_tool_name="t", gen_ai_tool_call_id=parent)
            if is_log
            else span(
                name, kind=kind, parent=parent, begin=begin, until=begin + 9, tokens=(begin, 1), gen_ai_tool_name="t"
            )
            for name, kind, parent, begin, is_log in specs
        ]

    straight, crooked = nodes(), nodes() + nodes()
    rng.shuffle(crooked)
    expected = reconstruct(stitched_of(straight), straight, SessionContent(), plain_rules(), revision=1)
    assert expected == reconstruct(stitched_of(crooked), crooked, SessionContent(), plain_rules(), revision=1)
    for name in ("model_calls", "tool_calls", "timeline", "usage_records"):
        rows = getattr(expected, name)
        assert len(rows) == batch_of(DERIVED[name], {}, rows).num_rows
