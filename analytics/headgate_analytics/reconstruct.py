"""One session from its records: pure, and the same for any order in which they came."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import orjson

from headgate_analytics.costs import as_booked, total_usd, with_tries
from headgate_analytics.decided import Decided
from headgate_analytics.gateway_calls import GatewayTold, attested, led_by_agents
from headgate_analytics.model_calls import Call, container_usage, model_calls
from headgate_analytics.node import CALL_KINDS, CONTAINER_KINDS, Node, deduplicated, link
from headgate_analytics.rows import Row, Who, agents_of, call_status, model_call_row, tokens_row, tool_call_row
from headgate_analytics.shares import Share, shares
from headgate_analytics.stitch import Stitched
from headgate_analytics.timeline import Moment, call_moment, error_moment, task_moment, timeline_rows, tool_moment
from headgate_analytics.tool_calls import ToolCall, tool_calls
from headgate_analytics.usage import usage_rows
from headgate_processors.enrich.identity import Identity

_TOKEN_SUMS = (
    "input_tokens",
    "uncached_input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
)
_RANK = {"verified": 0, "claimed": 1, "matched": 2, "unknown": 3}
_FAILED = frozenset({"error", "denied", "timeout", "cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionContent:
    """Redacted content that rows show: tasks and arguments by record id, requested arguments by call id."""

    tasks: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    requested: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the reconstruction asks of the rest: identity, prices, titles.

    `identify(resource, agent, instance)`: the instance is one that a credential proved, else None.
    `price(row, reported_usd, cache_told)` gives the cost columns of a `model_calls` row; `cache_told` says
    whether its source tells cached from fresh input.
    """

    identify: Callable[[str, str | None, str | None], Identity]
    price: Callable[[Row, object, bool], Row]
    title: Callable[[Row], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """The rows of one session; each has the `shared` columns too, unless it has its own of that name.

    `of_others` are rows of other instances that named this session.
    """

    shared: Row
    session: Row
    model_calls: list[Row]
    tool_calls: list[Row]
    timeline: list[Row]
    usage_records: list[Row]
    of_others: Sequence[Share] = ()

    def rows(self, table: str) -> Sequence[Row]:
        """The rows of one derived table, by its name."""
        return {
            "sessions": [self.session],
            "model_calls": self.model_calls,
            "tool_calls": self.tool_calls,
            "timeline": self.timeline,
            "usage_records": self.usage_records,
        }[table]


def reconstruct(
    stitched: Stitched, nodes: Sequence[Node], content: SessionContent, rules: Rules, *, revision: int
) -> Reconstruction:
    """Rebuild one session.

    `nodes` are all records of the session's anchors in any order, with or without repeats.
    """
    nodes = deduplicated(nodes)
    link(nodes)
    who = _who(stitched, nodes, rules, revision)
    calls = attested(model_calls(nodes))
    led_by_agents(calls)
    tools = tool_calls(nodes, calls)
    call_rows = [model_call_row(call, who) for call in calls]
    _price(call_rows, calls, rules)
    tool_rows = _distinct(
        [tool_call_row(tool, who, content.arguments, content.requested) for tool in tools], "tool_call_id"
    )
    decided = Decided.of(nodes)
    decided.mark(tool_rows)
    moments = [call_moment(call, row) for call, row in zip(calls, call_rows, strict=True)]
    moments += [tool_moment(tool, row, rules.title(row)) for tool, row in zip(tools, tool_rows, strict=True)]
    moments += _tasks(nodes, content)
    moments += _errors(nodes, calls, tools, who)
    moments += decided.moments([*call_rows, *tool_rows], who)
    session = _session_row(stitched, nodes, who, calls=call_rows, tools=tool_rows) | {"task": _task(nodes, content)}
    _halt(session, decided, call_rows, tool_rows)
    usage = usage_rows(nodes, calls, call_rows, who)
    others = shares(
        nodes,
        who,
        list(zip(calls, call_rows, strict=True)),
        list(zip(tools, tool_rows, strict=True)),
        lambda of_one: _who(stitched, of_one, rules, revision),
    )
    given = {id(row) for share in others for row in (*share.model_calls, *share.tool_calls)}
    return Reconstruction(
        shared=who.shared,
        session=session,
        model_calls=[row for row in call_rows if id(row) not in given] if given else call_rows,
        tool_calls=[row for row in tool_rows if id(row) not in given] if given else tool_rows,
        timeline=timeline_rows(moments, who),
        usage_records=usage,
        of_others=others,
    )


def _who(stitched: Stitched, nodes: Sequence[Node], rules: Rules, revision: int) -> Who:
    agents = agents_of(nodes)
    candidates = {(node.resource_text, node.text("gen_ai_agent_name")) for node in nodes}
    candidates |= {(resource, agents.main) for resource, _ in candidates}
    sure = next((name for node in nodes if (name := node.text("verified_instance_id"))), None)
    if sure is not None:
        told = {node.resource_text for node in nodes if node.witness == "client"}
        candidates = {one for one in candidates if one[0] in told} or candidates
    identities = [
        (rules.identify(resource, name, sure), name != agents.main, resource, name or "")
        for resource, name in candidates
    ]
    best = min(identities, key=lambda item: (_RANK[item[0].identity_source], *item[1:]))
    return Who(
        session_id=stitched.key.session_id,
        identity=best[0],
        service_name=next((node.service for node in nodes if node.service and node.witness == "client"), None)
        or next((node.service for node in nodes if node.service), None),
        agents=agents,
        revision=revision,
    )


def _price(rows: Sequence[Row], calls: Sequence[Call], rules: Rules) -> None:
    """Add their price to rows; a source that tells cached tokens once has none where it is silent."""
    telling = {row["dialect"] for row in rows if row["cache_read_tokens"] is not None}
    for row, call in zip(rows, calls, strict=True):
        # What an agent says that a cut stream cost is the cost of what it heard of.
        reported = None if row["usage_source"] == "counted" else call.first("reported_cost_usd")
        row.update(rules.price(row, reported, row["dialect"] in telling))
        seen = GatewayTold.of(call)
        if seen is not None:
            booked = as_booked(row, seen.booked_usd, is_killed=seen.is_killed)
            row.update(booked or with_tries(row, seen.tried_usd), provider=seen.provider or row["provider"])
        if row["response_cache_hit"]:
            row.update(cost_usd=Decimal(0), cost_basis="reported", cost_missing_reason=None, price_version=None)


def _distinct(rows: list[Row], name: str) -> list[Row]:
    """Give rows with equal ids an ordinal, so that equal calls of one message stay apart."""
    seen: dict[object, int] = {}
    for row in rows:
        count = seen.get(row[name], 0)
        seen[row[name]] = count + 1
        if count:
            row[name] = f"{row[name]}-{count}"
    return rows


def _tasks(nodes: Sequence[Node], content: SessionContent) -> list[Moment]:
    """What users asked: task events, else the first message of the first call or agent of each trace."""
    events = [node for node in nodes if node.kind == "task"]
    if events:
        return [task_moment(node, content.tasks.get(node.record_id)) for node in events]
    if not content.tasks:
        return []
    found: list[Moment] = []
    told: set[str] = set()
    seen_traces: set[str | None] = set()
    for node in nodes:
        text = content.tasks.get(node.record_id)
        if (
            text is None
            or node.trace_id in seen_traces
            or node.kind not in CONTAINER_KINDS | CALL_KINDS | {"step", "message"}
        ):
            continue
        seen_traces.add(node.trace_id)
        if text not in told:
            told.add(text)
            found.append(task_moment(node, text))
    return found


def _errors(nodes: Sequence[Node], calls: Sequence[Call], tools: Sequence[ToolCall], who: Who) -> list[Moment]:
    """Errors of agents and steps that no failed call inside them explains."""
    culprits = [
        node for node in nodes if node.status == "ERROR" and not node.is_log and node.kind in CONTAINER_KINDS | {"step"}
    ]
    if not culprits:
        return []
    failed = {node for call in calls if call.failed for node in call.nodes}
    failed |= {node for tool in tools if tool.result_class in _FAILED for node in tool.nodes}
    explained = {up for node in failed for up in node.ancestors()}
    culprits = [node for node in culprits if node not in explained]
    inner = [node for node in culprits if not any(child in culprits for child in node.children)]
    return [error_moment(node, who.agents.of([node])) for node in inner]


def _sum(rows: Sequence[Row], name: str) -> int | None:
    values = [value for row in rows if isinstance(value := row[name], int)]
    return sum(values) if values else None


def _usage(nodes: Sequence[Node], calls: Sequence[Row]) -> Row:
    """The token sums: of the calls, else of the outermost containers that report a total."""
    counted = [row for row in calls if row["operation"] != "embeddings"]
    if any(row["usage_source"] for row in counted):
        return {name: _sum(counted, name) for name in _TOKEN_SUMS} | {"usage_source": "reported"}
    totals = [tokens_row(Call(node)) for node in container_usage(nodes)]
    return {name: _sum(totals, name) for name in _TOKEN_SUMS} | {"usage_source": "container" if totals else None}


def _money(calls: Sequence[Row]) -> Row:
    priced = [row["cost_usd"] for row in calls if isinstance(row["cost_usd"], Decimal)]
    with_usage = [row for row in calls if row["usage_source"] is not None]
    known = sum(row["cost_usd"] is not None for row in with_usage)
    return {
        "cost_usd": total_usd(priced),
        "cost_priced_share": known / len(with_usage) if with_usage else None,
    }


def _session_row(
    stitched: Stitched, nodes: Sequence[Node], who: Who, *, calls: Sequence[Row], tools: Sequence[Row]
) -> Row:
    times = [node for node in nodes if not node.suspect] or list(nodes)
    start = min(node.start for node in times)
    last = max(node.end if node.end is not None else node.start for node in times)
    ended, reason = _ended(nodes)
    agent_ran = any(node.kind in CONTAINER_KINDS for node in nodes)
    return {
        **who.row(nodes, who.agents.main),
        **_usage(nodes, calls),
        **_money(calls),
        "session_source": stitched.source,
        "source_key": stitched.key.key,
        "state": "done" if ended else "running",
        "state_reason": reason,
        "start_time_unix_nano": start,
        "end_time_unix_nano": last if ended else None,
        "last_activity_time_unix_nano": last,
        "duration_ns": max(0, last - start),
        "time_suspect": all(node.suspect for node in nodes),
        "root_ended": ended,
        "trace_count": len({node.trace_id for node in nodes if node.trace_id}),
        "agent_names": _unique([node.text("gen_ai_agent_name") for node in nodes]),
        "models": _unique([row["model"] for row in calls]),
        "tools": _unique([row["tool"] for row in tools]),
        "dialects": _unique([node.dialect for node in nodes]),
        "model_call_count": None if agent_ran and not calls else len(calls),
        "tool_call_count": len(tools),
        "tool_error_count": sum(row["result_class"] in {"error", "timeout"} for row in tools),
        "retry_count": sum(value for row in calls if isinstance(value := row["failed_attempts"], int)),
        "handoff_count": sum(row["tool_type"] == "handoff" for row in tools),
        "intervention_count": sum(row["decision_source"] == "user" for row in tools),
        "denied_count": sum(row["status"] == "denied" for row in calls)
        + sum(row["result_class"] == "denied" for row in tools),
    }


def _halt(session: Row, decided: Decided, calls: Sequence[Row], tools: Sequence[Row]) -> None:
    """Count what was denied without a call, and say that the session is stopped when it is."""
    denied = session["denied_count"]
    assert isinstance(denied, int)
    session["denied_count"] = denied + decided.denied([*calls, *tools])
    reason = decided.stopped(calls, tools)
    if reason is not None:
        session.update(state="stopped", state_reason=reason, end_time_unix_nano=session["last_activity_time_unix_nano"])


def _unique(values: Sequence[object]) -> list[str]:
    return [value for value in dict.fromkeys(values) if isinstance(value, str)]


def _task(nodes: Sequence[Node], content: SessionContent) -> str | None:
    told = [(node.kind != "task", node.start, node.record_id) for node in nodes if node.record_id in content.tasks]
    return content.tasks[min(told)[2]] if told else None


_LIVING = CALL_KINDS | CONTAINER_KINDS | {"tool", "handoff", "task"}


def _ended(nodes: Sequence[Node]) -> tuple[bool, str]:
    """Whether the last trace in which an agent, call or tool ran has a root, and that root ended."""
    alive = [node for node in nodes if not node.is_log and node.kind in _LIVING and node.trace_id]
    served = {node.trace_id for node in alive if node.is_served and node.parent_span_id is None}
    alive = [node for node in alive if node.trace_id not in served] or alive
    alive = [node for node in alive if node.witness == "client"] or alive
    if not alive:
        return False, "no root span was reported"
    latest = max(alive, key=lambda node: (node.start, node.record_id)).trace_id
    roots = [node for node in nodes if node.trace_id == latest and node.is_true_root]
    lively = {top for node in alive if node.trace_id == latest for top in (*node.ancestors(), node)}
    if any(root.end is not None and root in lively for root in roots):
        return True, "the root of its last trace ended"
    return False, "the root of its last trace has not ended"


def requested_arguments(texts: Sequence[str]) -> dict[str, object]:
    """Redacted arguments by call id, from `requested_tools` content rows."""
    found: dict[str, object] = {}
    for text in texts:
        try:
            listed = orjson.loads(text)
        except orjson.JSONDecodeError:
            continue
        for entry in listed if isinstance(listed, list) else ():
            if isinstance(entry, dict) and isinstance(entry.get("id"), str) and entry.get("arguments") is not None:
                found.setdefault(entry["id"], entry["arguments"])
    return found


__all__ = ["Reconstruction", "Rules", "SessionContent", "call_status", "reconstruct", "requested_arguments"]
