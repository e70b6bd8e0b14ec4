"""One raw record as the reconstruction sees it, and the tree that spans of one session form."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

Facts = Mapping[str, object]

# Raw columns that a node needs; what `log_events` does not have stands as NULL there.
PLACE_COLUMNS = (
    "record_id",
    "trace_id",
    "span_id",
    "parent_span_id",
    "name",
    "kind",
    "start_time_unix_nano",
    "end_time_unix_nano",
    "flags",
    "status_code",
    "event_name",
    "time_suspect",
    "witness",
    "service_name",
    "resource_attributes",
)
FACT_COLUMNS = (
    "dialect",
    "operation_kind",
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_request_model",
    "gen_ai_response_model",
    "gen_ai_response_id",
    "service_tier",
    "request_id",
    "gen_ai_response_finish_reasons",
    "gen_ai_usage_input_tokens",
    "gen_ai_usage_cache_read_input_tokens",
    "gen_ai_usage_cache_write_input_tokens",
    "cache_write_1h_tokens",
    "gen_ai_usage_output_tokens",
    "gen_ai_usage_reasoning_output_tokens",
    "usage_role",
    "time_to_first_chunk_ns",
    "reported_cost_usd",
    "event_duration_ns",
    "attempt",
    "session_key",
    "event_sequence",
    "gen_ai_agent_name",
    "gen_ai_agent_id",
    "gen_ai_workflow_name",
    "gen_ai_tool_name",
    "gen_ai_tool_call_id",
    "gen_ai_tool_type",
    "tool_version",
    "mcp_server",
    "tool_outcome",
    "exit_code",
    "error_type",
    "http_response_status_code",
    "decision",
    "decision_source",
    "hash_key_id",
    "arguments_hash",
    "arguments_bytes",
    "result_hash",
    "result_bytes",
    "action",
    "action_resource",
    "sensitivity",
    "reversible",
    "side_effects",
    "system_hash",
    "tools_hash",
    "prefix_hash",
    "prompt_hash",
    "prompt_name",
    "prompt_version",
    "context_source",
    "context_compacted",
    "memory_refs",
    "requested_tools",
    "returned_tools",
    # Of Headgate's own parts their attributes, and whose credential a record came with.
    "own_attributes",
    "verified_instance_id",
)

CALL_KINDS = frozenset({"llm", "embedding"})
TOOL_KINDS = frozenset({"tool", "handoff"})
BOUNDARY_KINDS = frozenset({"tool", "tool_attempt", "handoff", "agent", "workflow", "agent_setup"})
CONTAINER_KINDS = frozenset({"agent", "workflow"})
_REMOTE_PARENT = 0x300


@dataclass(slots=True, eq=False)
class Node:
    """A span or log event; `facts` holds the known `FACT_COLUMNS`, `side` is the span kind of OpenTelemetry.

    `kind` is what the record is, `other` when no dialect knows it; `dialect` is the dialect's name.
    """

    record_id: str
    is_log: bool
    trace_id: str | None
    span_id: str | None
    parent_span_id: str | None
    name: str
    start: int
    end: int | None
    flags: int
    status: str
    event: str
    suspect: bool
    witness: str
    service: str | None
    resource_text: str
    side: str
    facts: Facts
    kind: str = field(init=False)
    dialect: str | None = field(init=False)
    parent: "Node | None" = field(default=None, repr=False)
    children: "list[Node]" = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        kind, dialect = self.facts.get("operation_kind"), self.facts.get("dialect")
        self.kind = str(kind or "other")
        self.dialect = dialect if isinstance(dialect, str) else None

    @property
    def is_true_root(self) -> bool:
        """A span that nothing in this system started: no parent, or a parent on the other side of a wire."""
        if self.is_log or self.parent is not None:
            return False
        return self.parent_span_id is None or self.flags & _REMOTE_PARENT == _REMOTE_PARENT

    @property
    def is_served(self) -> bool:
        """What an MCP server did for a call, seen from its side."""
        return self.side == "SERVER" and self.dialect == "mcp" and self.kind == "tool"

    def text(self, name: str) -> str | None:
        """A fact as text."""
        value = self.facts.get(name)
        return value if isinstance(value, str) else None

    def number(self, name: str) -> int | None:
        """A fact as a whole number."""
        value = self.facts.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def listed(self, name: str) -> list[dict[str, object]]:
        """A fact that is a JSON array of objects, parsed."""
        text = self.text(name)
        parsed: list[dict[str, object]] = orjson.loads(text) if text else []
        return parsed

    @property
    def own(self) -> Mapping[str, object]:
        """What Headgate's own parts say in their attributes; empty for what an agent tells."""
        text = self.text("own_attributes")
        parsed: dict[str, object] = orjson.loads(text) if text else {}
        return parsed

    def ancestors(self) -> Iterator["Node"]:
        """The chain of parents, nearest first; it ends, for `link` closes no cycle."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent


def deduplicated(nodes: Sequence[Node]) -> list[Node]:
    """One node per record in a fixed order: of two versions of a span the ended one wins, then the later end."""
    best: dict[str, Node] = {}
    for node in nodes:
        other = best.get(node.record_id)
        if other is None or _version(node) > _version(other):
            best[node.record_id] = node
    return sorted(best.values(), key=lambda node: (node.start, node.is_log, node.record_id))


def _version(node: Node) -> tuple[bool, int, int]:
    return (node.end is not None, node.end or 0, len(node.facts))


def link(nodes: Sequence[Node]) -> dict[tuple[str, str], Node]:
    """Connect spans to their parents and logs to the span whose context they carry; returns the spans by id.

    A parent that was never exported leaves an orphan; an edge that would close a cycle is left out.
    """
    spans = {
        (node.trace_id, node.span_id): node for node in nodes if not node.is_log and node.trace_id and node.span_id
    }
    for node in nodes:
        wanted = node.span_id if node.is_log else node.parent_span_id
        parent = spans.get((node.trace_id, wanted)) if wanted and node.trace_id else None
        if parent is None or parent is node or (node.children and node in parent.ancestors()):
            continue
        node.parent = parent
        parent.children.append(node)
    return spans
