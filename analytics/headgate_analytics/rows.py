"""From logical calls to table rows: who, money, tokens, status, in the words of `schema.py`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from operator import attrgetter

import orjson

from headgate_analytics.gateway_calls import GatewayTold, is_of_gateway
from headgate_analytics.model_calls import Call
from headgate_analytics.node import CALL_KINDS, Node
from headgate_analytics.tool_calls import ToolCall
from headgate_processors.enrich.identity import Identity

Row = dict[str, object]

_WHO = (
    "tenant",
    "instance_id",
    "parent_instance_id",
    "root_instance_id",
    "identity_source",
    "launched_by",
    "user_id",
    "team",
    "workflow",
    "repo",
    "resource",
    "environment",
    "task_class",
    "risk_tier",
    "policy_profile",
    "manifest_digest",
    "runtime",
    "work_item",
)
_WHO_OF = attrgetter(*_WHO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Whose session it is, and under which revision its rows are written."""

    session_id: str
    identity: Identity
    service_name: str | None
    agents: "Agents"
    revision: int

    @property
    def shared(self) -> Row:
        """The who columns that all rows of the session have alike."""
        values: Row = dict(zip(_WHO, _WHO_OF(self.identity), strict=True))
        return values | {"session_id": self.session_id, "revision": self.revision}

    def row(self, nodes: Sequence[Node], agent_name: str | None) -> Row:
        """The who columns of a row that `nodes` tell of, without the shared ones."""
        if len(nodes) == 1:
            only = nodes[0]
            own = only.service if only.witness == "client" else None
            return {
                "service_name": own or self.service_name,
                "agent_name": agent_name,
                "witnesses": [only.witness],
            }
        return {
            "service_name": next(
                (node.service for node in nodes if node.service and node.witness == "client"), self.service_name
            ),
            "agent_name": agent_name,
            "witnesses": sorted({node.witness for node in nodes}),
        }


@dataclass(slots=True)
class Agents:
    """Agent names, down from the nearest ancestor and up from what a session has only one of."""

    main: str | None = None
    by_agent_id: Mapping[str, str] = field(default_factory=dict)
    only: Mapping[str, str] = field(default_factory=dict)
    _found: dict[Node, str | None] = field(default_factory=dict, init=False, repr=False)

    def of(self, nodes: Sequence[Node]) -> str | None:
        """The agent that did what `nodes` tell of."""
        for node in nodes:
            name = self._found[node] if node in self._found else self._above(node)
            if name is not None:
                return name
        for node in nodes:
            if node.trace_id is not None and node.trace_id in self.only:
                return self.only[node.trace_id]
        return self.main

    def _above(self, node: Node) -> str | None:
        """The name that a record or the nearest one above it has; kept for every record on the way."""
        way: list[Node] = []
        name: str | None = None
        up: Node | None = node
        while up is not None and name is None:
            if up in self._found:
                name = self._found[up]
                break
            way.append(up)
            name = up.text("gen_ai_agent_name") or self.by_agent_id.get(up.text("gen_ai_agent_id") or "")
            up = up.parent
        self._found.update(dict.fromkeys(way, name))
        return name

    def depth(self, nodes: Sequence[Node]) -> int:
        """How deep in sub-agents it happened, 0 at the top: tool calls around it, or another agent's log."""
        first = next((node for node in nodes if not node.is_log), nodes[0])
        if first.parent is None and not first.is_log:
            return 0
        tools = [up for up in first.ancestors() if up.kind == "tool"]
        if not tools and not first.is_log:
            return 0
        own = {first.text("gen_ai_tool_call_id"), first.text("gen_ai_tool_name")} if first.kind == "tool" else set()
        around = {
            up.text("gen_ai_tool_call_id") or up.record_id for up in tools if up.text("gen_ai_tool_name") not in own
        }
        if around or not first.is_log:
            return len(around)
        name = self.of(nodes)
        return int(name is not None and name != self.main)


def agents_of(nodes: Sequence[Node]) -> Agents:
    """Learn the names from every record of the session."""
    by_agent_id: dict[str, set[str]] = {}
    per_trace: dict[str, list[str]] = {}
    first: str | None = None
    for node in nodes:
        name = node.text("gen_ai_agent_name")
        if name is None:
            continue
        first = first or name
        agent_id = node.text("gen_ai_agent_id")
        if agent_id is not None and (node.is_log or node.kind in CALL_KINDS):
            by_agent_id.setdefault(agent_id, set()).add(name)
        if node.trace_id is None:
            continue
        names = per_trace.setdefault(node.trace_id, [])
        if name not in names and not _in_tool(node):
            names.append(name)
    tops = [node for node in nodes if node.kind == "agent" and node.text("gen_ai_agent_name") and not _inside(node)]
    main = min(tops, key=lambda node: (node.start, node.record_id)).text("gen_ai_agent_name") if tops else first
    return Agents(
        main=main,
        by_agent_id={agent_id: next(iter(names)) for agent_id, names in by_agent_id.items() if len(names) == 1},
        only={trace: names[0] for trace, names in per_trace.items() if len(names) == 1},
    )


def _inside(node: Node) -> bool:
    return any((up.kind == "agent" and up.text("gen_ai_agent_name")) or up.kind == "tool" for up in node.ancestors())


def _in_tool(node: Node) -> bool:
    return any(up.kind == "tool" for up in node.ancestors())


def _record_ids(nodes: Sequence[Node]) -> list[str]:
    return [nodes[0].record_id] if len(nodes) == 1 else sorted({node.record_id for node in nodes})


def stable_id(*parts: str | None) -> str:
    """An id that the same facts give again, 32 hexadecimal digits."""
    return sha256("\0".join(part or "" for part in parts).encode()).hexdigest()[:32]


def call_status(call: Call) -> tuple[str, str | None]:
    """The status of a model call, and its error type when it failed."""
    error = call.error
    if error is None:
        return ("in_flight", None) if call.end is None else ("ok", None)
    http = call.number("http_response_status_code")
    word = error.lower()
    if http == 403 or "403" in word or "permission" in word or "denied" in word or "auth_error" in word:
        return "denied", error
    if "cancel" in word or "abort" in word or "interrupt" in word:
        return "cancelled", error
    return "error", error


def _attempts(call: Call, failed: bool) -> tuple[int | None, int | None]:
    """Attempts and failed attempts of the agent, from a count that it gives or from attempts that it shows."""
    tried = [node for node in call.attempts if not is_of_gateway(node)]
    if tried:
        bad = sum(node.text("error_type") is not None or node.status == "ERROR" for node in tried)
        shown = len(tried)
        inner = sum(node.kind in {"llm", "embedding"} for node in tried)
        return (shown + 1, bad + failed) if inner else (shown, bad)
    count = max((value for node in call.nodes if (value := node.number("attempt")) is not None), default=None)
    if count is None:
        return None, None
    return max(count, 1), max(count, 1) - (0 if failed else 1)


def tokens_row(call: Call) -> Row:
    """The token columns: input includes the cache, output includes reasoning, unknown is NULL."""
    total = call.number("gen_ai_usage_input_tokens")
    read = call.number("gen_ai_usage_cache_read_input_tokens")
    written = call.number("gen_ai_usage_cache_write_input_tokens")
    known = total is not None and (read is not None or written is not None)
    return {
        "input_tokens": total,
        "uncached_input_tokens": max(0, total - (read or 0) - (written or 0)) if known and total is not None else None,
        "cache_read_tokens": read,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": call.number("cache_write_1h_tokens"),
        "output_tokens": _output_tokens(call),
        "reasoning_tokens": call.number("gen_ai_usage_reasoning_output_tokens"),
    }


def _output_tokens(call: Call) -> int | None:
    """The output as told by a record that splits reasoning off: only there it is sure to be part of it."""
    if len(call.nodes) == 1:
        return call.number("gen_ai_usage_output_tokens")
    split = (node for node in call.nodes if node.number("gen_ai_usage_reasoning_output_tokens") is not None)
    told = (node.number("gen_ai_usage_output_tokens") for node in split)
    return next((count for count in told if count is not None), call.number("gen_ai_usage_output_tokens"))


_CALL_FACTS = {
    "provider": "gen_ai_provider_name",
    "request_model": "gen_ai_request_model",
    "response_id": "gen_ai_response_id",
    "service_tier": "service_tier",
    "request_id": "request_id",
    "finish_reasons": "gen_ai_response_finish_reasons",
    "time_to_first_chunk_ns": "time_to_first_chunk_ns",
    "prompt_name": "prompt_name",
    "prompt_version": "prompt_version",
    "prompt_hash": "prompt_hash",
    "system_hash": "system_hash",
    "tools_hash": "tools_hash",
    "prefix_hash": "prefix_hash",
    "context_source": "context_source",
    "context_compacted": "context_compacted",
    "memory_refs": "memory_refs",
}


def model_call_id(call: Call, who: Who) -> str:
    """An id that survives later records of the same call: from the response or request id, else its first record."""
    identity = call.text("gen_ai_response_id") or call.text("request_id")
    apart = (call.apart,) if call.apart is not None else ()
    return stable_id("model_call", who.session_id, identity or min(node.record_id for node in call.nodes), *apart)


def model_call_row(call: Call, who: Who) -> Row:
    """The `model_calls` row, without its price."""
    nodes, told = call.nodes, call.told
    seen = GatewayTold.of(call)
    status, error = call_status(call)
    if seen is not None and seen.denial is not None:
        status, error = "cancelled" if seen.was_sent else "denied", seen.denial
    attempts, failed = _attempts(call, error is not None)
    if seen is not None and seen.attempts is not None:
        attempts, failed = max(attempts or 0, seen.attempts), max(failed or 0, seen.failed_attempts or 0)
    spans = [node for node in nodes if not node.is_log]
    primary = next((node for node in spans if not is_of_gateway(node)), spans[0] if spans else call.primary)
    missing = (
        None if call.has_usage else "in_flight" if status == "in_flight" else "failed" if error else "not_reported"
    )
    return {
        **who.row(nodes, who.agents.of(nodes)),
        **_place(primary, call.start, call.end),
        **{column: told.get(fact) for column, fact in _CALL_FACTS.items()},
        **tokens_row(call),
        "model_call_id": model_call_id(call, who),
        "operation": call.text("gen_ai_operation_name") or "chat",
        "model": call.text("gen_ai_response_model") or call.text("gen_ai_request_model"),
        "status": status,
        "error_type": error,
        "attempts": attempts,
        "failed_attempts": failed,
        "usage_source": None if not call.has_usage else "counted" if seen and seen.is_counted else "reported",
        "usage_missing_reason": missing,
        "routed_from_model": seen.routed_from_model if seen else None,
        "skipped_models": (seen.skipped_models or None) if seen else None,
        "response_cache_hit": seen.response_cache_hit if seen else None,
        "saved_usd": seen.saved_usd if seen else None,
        "decision_id": seen.decision_id if seen else None,
        "attempt_decision_ids": (seen.attempt_decision_ids or None) if seen else None,
        "dialect": call.primary.dialect,
        "record_ids": _record_ids((*nodes, *call.attempts)),
    }


def _place(node: Node, start: int, end: int | None) -> Row:
    return {
        "trace_id": node.trace_id,
        "span_id": node.span_id if not node.is_log else None,
        "parent_span_id": node.parent_span_id,
        "start_time_unix_nano": start,
        "end_time_unix_nano": end,
        "duration_ns": None if end is None else max(0, end - start),
        "time_suspect": node.suspect,
    }


_TOOL_FACTS = {
    "tool_version": "tool_version",
    "exit_code": "exit_code",
    "result_hash": "result_hash",
    "result_bytes": "result_bytes",
}
_ASKED_FACTS = ("mcp_server", "arguments_hash", "arguments_bytes")
_ACTION_FACTS = {
    "action": "action",
    "resource": "action_resource",
    "sensitivity": "sensitivity",
    "reversible": "reversible",
    "side_effects": "side_effects",
}


def tool_call_row(tool: ToolCall, who: Who, arguments: Mapping[str, str], requested: Mapping[str, object]) -> Row:
    """The `tool_calls` row; `arguments` by record, `requested` by call id, both redacted."""
    nodes = tool.nodes or (tool.request.call.nodes if tool.request else [])
    asked = tool.request.facts if tool.request else {}
    result = tool.result_class
    returned = tool.returned or {}
    first = nodes[0]
    decided = next((node for node in tool.approvals if node.text("decision")), None) or next(
        (node for node in tool.nodes if node.text("decision")), None
    )
    return {
        **{name: _or(tool.first(name), asked.get(name)) for name in _ASKED_FACTS},
        **who.row(nodes, who.agents.of(tool.callers)),
        **_place(first, tool.start, tool.end),
        **{column: _or(tool.first(fact), returned.get(column)) for column, fact in _TOOL_FACTS.items()},
        "tool_call_id": stable_id("tool_call", who.session_id, tool.call_id or _tool_identity(tool)),
        "source_call_id": tool.call_id,
        "model_call_id": model_call_id(tool.request.call, who) if tool.request else None,
        "tool": tool.name,
        "tool_type": tool.type,
        "state": tool.state,
        "result_class": result,
        "error_type": (tool.text("error_type") or _error_type(result))
        if result not in {"ok", "empty", "unknown"}
        else None,
        "attempts": tool.attempts,
        "arguments": _arguments(tool, arguments, requested),
        **_action(tool, asked),
        "hash_key_id": _or(tool.first("hash_key_id"), first.text("hash_key_id")),
        "decision_id": None,
        "decision": decided.text("decision") if decided else None,
        "decision_source": decided.text("decision_source") if decided else None,
        "dialect": first.dialect,
        "record_ids": _record_ids(nodes),
    }


def _action(tool: ToolCall, asked: Row) -> Row:
    """What the call did, by the one record that knows its arguments: a name alone tells less."""
    told = [node.facts for node in tool.nodes if "action" in node.facts]
    informed = next((facts for facts in told if "arguments_hash" in facts), None)
    if informed is None and asked.get("action") is not None:
        return {column: asked.get(column) for column in _ACTION_FACTS}
    facts = informed or next(iter(told), {})
    return {column: facts.get(fact) for column, fact in _ACTION_FACTS.items()}


def _or(value: object, other: object) -> object:
    return other if value is None else value


def _error_type(result: str) -> str:
    return {"denied": "denied", "timeout": "timeout", "cancelled": "cancelled"}.get(result, "tool_error")


def _tool_identity(tool: ToolCall) -> str:
    if tool.nodes:
        return min(node.record_id for node in tool.nodes)
    assert tool.request is not None
    listed = [node.record_id for node in tool.request.call.nodes]
    return (
        f"{min(listed)}\0{tool.request.name}\0{orjson.dumps(tool.request.facts, option=orjson.OPT_SORT_KEYS).decode()}"
    )


def _arguments(tool: ToolCall, arguments: Mapping[str, str], requested: Mapping[str, object]) -> str | None:
    own = next((arguments[node.record_id] for node in tool.nodes if node.record_id in arguments), None)
    asked = requested.get(tool.call_id or "") if tool.request else None
    if asked is not None and (own is None or own[:1] not in "{["):
        return asked if isinstance(asked, str) else orjson.dumps(asked).decode()
    return own
