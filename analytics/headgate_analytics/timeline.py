"""The timeline of one session: everything that happened, once, in order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from headgate_analytics.costs import total_usd
from headgate_analytics.model_calls import Call
from headgate_analytics.node import Node
from headgate_analytics.rows import Row, Who
from headgate_analytics.tool_calls import ToolCall

TITLE_CHARACTERS_MAX = 160
_ACTION_KINDS = frozenset({"file_read", "file_write", "command", "external_action"})


@dataclass(slots=True, kw_only=True, eq=False)
class Moment:
    """One thing that happened, before it has its place in the order."""

    nodes: Sequence[Node]
    unix_nano: int
    kind: str
    title: str
    actor: str | None
    status: str | None = None
    duration_ns: int | None = None
    cost_usd: Decimal | None = None
    ref_view: str | None = None
    ref_id: str | None = None
    owner_id: str | None = None

    @property
    def sequence(self) -> int:
        """The source's own order, for moments at the same instant."""
        for node in self.nodes:
            if (value := node.number("event_sequence")) is not None:
                return value
        return 0


def call_moment(call: Call, row: Row) -> Moment:
    """The moment of a model call."""
    model = row["model"] or "unknown model"
    return Moment(
        nodes=call.nodes,
        unix_nano=call.start,
        kind="model_call",
        title=f"{row['operation']} {model}",
        actor=_text(row["agent_name"]),
        status=_text(row["status"]),
        duration_ns=_int(row["duration_ns"]),
        cost_usd=row["cost_usd"] if isinstance(row["cost_usd"], Decimal) else None,
        ref_view="model_calls",
        ref_id=_text(row["model_call_id"]),
    )


def tool_moment(tool: ToolCall, row: Row, title: str) -> Moment:
    """The moment of a tool call; its kind is its action where the contract lists it."""
    action = _text(row["action"]) or ""
    kind = "handoff" if row["tool_type"] == "handoff" else action if action in _ACTION_KINDS else "tool_call"
    if action.startswith("memory_"):
        kind = "memory"
    nodes = tool.nodes or (tool.request.call.nodes if tool.request else [])
    return Moment(
        nodes=nodes,
        unix_nano=tool.start,
        kind=kind,
        title=title,
        actor=_text(row["agent_name"]),
        status=_text(row["result_class"]) if row["state"] == "executed" else _text(row["state"]),
        duration_ns=_int(row["duration_ns"]),
        ref_view="tool_calls",
        ref_id=_text(row["tool_call_id"]),
        owner_id=_text(row["model_call_id"]),
    )


def task_moment(node: Node, text: str | None) -> Moment:
    """The moment when a user asked for something."""
    title = " ".join((text or "task").split())[:TITLE_CHARACTERS_MAX]
    return Moment(nodes=[node], unix_nano=node.start, kind="task", title=title, actor="user")


def error_moment(node: Node, actor: str | None) -> Moment:
    """The moment of an error that no call row carries."""
    error = node.text("error_type") or "error"
    at_unix_nano = node.end if node.end is not None else node.start
    return Moment(
        nodes=[node],
        unix_nano=at_unix_nano,
        kind="error",
        title=f"{node.name or node.event}: {error}"[:TITLE_CHARACTERS_MAX],
        actor=actor,
        status="error",
    )


_KIND_ORDER = {"task": 0, "model_call": 1}


def timeline_rows(moments: Sequence[Moment], who: Who) -> list[Row]:
    """The rows in order: no moment before the one that contains it, then time, then the source's sequence."""
    parents = _parents(moments)
    places = _places(moments, parents)
    ordered = sorted(
        moments,
        key=lambda moment: (
            *places[id(moment)],
            _KIND_ORDER.get(moment.kind, 2),
            moment.sequence,
            moment.ref_id or min(node.record_id for node in moment.nodes),
        ),
    )
    seqs = {id(moment): seq for seq, moment in enumerate(ordered, 1)}
    by_ref = {moment.ref_id: seqs[id(moment)] for moment in ordered if moment.ref_id}
    rows: list[Row] = []
    spent = so_far_usd = None
    for seq, moment in enumerate(ordered, 1):
        if moment.cost_usd is not None:
            spent = moment.cost_usd if spent is None else spent + moment.cost_usd
            so_far_usd = total_usd([spent])
        parent = parents.get(id(moment))
        known = [seqs[id(parent)] if parent else None, by_ref.get(moment.owner_id) if moment.owner_id else None]
        before = next((found for found in known if found is not None and found < seq), None)
        rows.append(_row(seq, moment, who, so_far_usd, before))
    return rows


def _parents(moments: Sequence[Moment]) -> dict[int, Moment]:
    """The moment around each moment, by the spans that enclose it; a model call contains nothing."""
    by_node = {node: moment for moment in moments for node in moment.nodes if moment.ref_view != "model_calls"}
    found: dict[int, Moment] = {}
    for moment in moments if by_node else ():
        parent = next((by_node[up] for up in _around(moment) if by_node.get(up, moment) is not moment), None)
        if parent is not None:
            found[id(moment)] = parent
    return found


def _around(moment: Moment) -> Iterator[Node]:
    for node in moment.nodes:
        yield from node.ancestors()


def _places(moments: Sequence[Moment], parents: Mapping[int, Moment]) -> dict[int, tuple[int, int]]:
    """When each moment counts as having happened, and how deep it is: clocks of other hosts may run behind."""
    places: dict[int, tuple[int, int]] = {}
    for moment in moments:
        chain: dict[int, Moment] = {}
        current: Moment | None = moment
        while current is not None and id(current) not in places and id(current) not in chain:
            chain[id(current)] = current
            current = parents.get(id(current))
        at_unix_nano, depth = places.get(id(current), (0, -1))
        for inner in reversed(chain.values()):
            at_unix_nano, depth = max(inner.unix_nano, _floor(inner), at_unix_nano), depth + 1
            places[id(inner)] = (at_unix_nano, depth)
    return places


def _floor(moment: Moment) -> int:
    """The latest start of the spans around it."""
    node = moment.nodes[0]
    if node.is_log or node.parent is None:
        return 0
    return max([up.start for up in node.ancestors() if not up.suspect], default=0)


def _row(seq: int, moment: Moment, who: Who, spent: Decimal | None, parent_seq: int | None) -> Row:
    return {
        **who.row(moment.nodes, moment.actor if moment.actor != "user" else who.agents.main),
        "seq": seq,
        "unix_nano": moment.unix_nano,
        "kind": moment.kind,
        "title": moment.title,
        "status": moment.status,
        "duration_ns": moment.duration_ns,
        "cost_usd": moment.cost_usd,
        "cost_so_far_usd": spent,
        "actor": moment.actor,
        "depth": who.agents.depth(moment.nodes),
        "parent_seq": parent_seq,
        "ref_view": moment.ref_view,
        "ref_id": moment.ref_id,
        "witness": moment.nodes[0].witness,
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _int(value: object) -> int | None:
    return value if isinstance(value, int) else None
