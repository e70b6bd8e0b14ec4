"""Nodes and facts for tests, built from what matters: names stand for ids, milliseconds for times.

root = span("root", kind="agent", until=9_000)
call = span("call", parent="root", kind="llm", begin=100, until=900, tokens=(120, 30))
told = log("told", kind="llm", at=905, tokens=(120, 30))
"""

from collections.abc import Iterable, Sequence

import orjson

from headgate_analytics.node import Node, deduplicated, link
from headgate_analytics.reconstruct import Rules
from headgate_analytics.rows import Row
from headgate_analytics.stitch import Fact, SessionKey, Stitched
from headgate_processors.enrich.identity import FileRegistry

START_UNIX_NANO = 1_794_000_000_000_000_000
MS = 1_000_000


def at(milliseconds: int) -> int:
    """Nanoseconds since the epoch of a moment of the test."""
    return START_UNIX_NANO + milliseconds * MS


def span(
    name: str,
    *,
    kind: str = "other",
    trace: str = "trace-1",
    parent: str | None = None,
    begin: int = 0,
    until: int | None = 1_000,
    tokens: tuple[int | None, int | None] | None = None,
    status: str = "UNSET",
    side: str = "INTERNAL",
    service: str | None = "agent",
    witness: str = "client",
    **facts: object,
) -> Node:
    """A span named `name`, which is its id too; `facts` are fact columns, lists as Python lists."""
    return Node(
        record_id=f"{trace}/{name}",
        is_log=False,
        trace_id=trace,
        span_id=name,
        parent_span_id=parent,
        name=name,
        start=at(begin),
        end=None if until is None else at(until),
        flags=0,
        status=status,
        event="",
        suspect=False,
        witness=witness,
        service=service,
        resource_text="{}",
        facts=_facts(kind, tokens, facts),
        side=side,
    )


def log(
    name: str,
    *,
    kind: str = "other",
    trace: str | None = None,
    context: str | None = None,
    at_ms: int = 1_000,
    took: int = 0,
    tokens: tuple[int | None, int | None] | None = None,
    service: str | None = "agent",
    **facts: object,
) -> Node:
    """A log event at `at_ms` that reports a duration of `took`; `context` is the span that it was written in."""
    return Node(
        record_id=f"log/{name}",
        is_log=True,
        trace_id=trace,
        span_id=context,
        parent_span_id=None,
        name="",
        start=at(at_ms - took),
        end=at(at_ms),
        flags=0,
        status="UNSET",
        event=name,
        suspect=False,
        witness="client",
        service=service,
        resource_text="{}",
        facts=_facts(kind, tokens, facts),
        side="UNSPECIFIED",
    )


def linked(*nodes: Node) -> list[Node]:
    """The nodes in the order of a session, each with its parent and children."""
    ordered = deduplicated(nodes)
    link(ordered)
    return ordered


def trace_fact(
    trace: str,
    *,
    key: str | None = None,
    begin: int = 0,
    until: int = 1_000,
    service: str | None = "agent",
    instance: str | None = None,
    root_calls: int = 0,
    root_others: int = 0,
    substantive: bool = True,
    linked_trace: str | None = None,
    tenant: str = "default",
) -> Fact:
    """What the spans of one trace say."""
    return Fact(
        tenant=tenant,
        trace_id=trace,
        service_name=service,
        key=key,
        instance=instance,
        first_unix_nano=at(begin),
        last_unix_nano=at(until),
        substantive=substantive,
        root_calls=root_calls,
        root_others=root_others,
        linked_trace_id=linked_trace,
    )


def log_fact(key: str, *, at_ms: int = 0, service: str | None = "agent", substantive: bool = True) -> Fact:
    """What the logs without a trace under one key say."""
    return Fact(
        tenant="default",
        trace_id=None,
        service_name=service,
        key=key,
        instance=None,
        first_unix_nano=at(at_ms),
        last_unix_nano=at(at_ms),
        substantive=substantive,
        root_calls=0,
        root_others=0,
    )


def stitched_of(nodes: Iterable[Node]) -> Stitched:
    """One session over all traces of `nodes`."""
    traces = {node.trace_id for node in nodes if node.trace_id}
    anchors = frozenset(f"trace\0default\0{trace}" for trace in traces)
    return Stitched(key=SessionKey("default", "agent", "session-1"), source="attribute", anchors=anchors)


def plain_rules() -> Rules:
    """Rules of a place that registered nobody, knows no price and calls tools by their names."""
    registry = FileRegistry.empty()
    unpriced: Row = {
        "cost_usd": None,
        "cost_basis": None,
        "price_version": None,
        "cost_missing_reason": "unknown_model",
    }
    return Rules(
        identify=lambda resource, agent, sure: registry.resolve(orjson.loads(resource), agent_name=agent, subject=sure),
        price=lambda _row, _reported, _told: unpriced,
        title=lambda row: str(row["tool"]),
    )


def _facts(kind: str, tokens: tuple[int | None, int | None] | None, given: dict[str, object]) -> dict[str, object]:
    read: Sequence[int | None] = tokens or (None, None)
    usage = {"gen_ai_usage_input_tokens": read[0], "gen_ai_usage_output_tokens": read[1]}
    known = {"operation_kind": kind, "dialect": "plain"} | usage | given
    return {
        name: orjson.dumps(value).decode() if name in {"requested_tools", "returned_tools"} else value
        for name, value in known.items()
        if value is not None
    }
