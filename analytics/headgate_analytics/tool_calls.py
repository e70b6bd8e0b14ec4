"""Logical tool calls: requested by a model, decided, run, reported back; one row however many records tell of it."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from headgate_analytics.model_calls import Call, joint
from headgate_analytics.node import TOOL_KINDS, Facts, Node
from headgate_analytics.served import SLACK_NS

HOPS_MAX = 3
_NEVER = 2**63 - 1
_WORD = re.compile(r"[^a-z0-9]+")
_SEVERITY = ("denied", "timeout", "cancelled", "error", "empty", "ok")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A tool call that a model's message asks for."""

    call: Call
    call_id: str | None
    name: str
    type: str
    arguments_hash: str | None
    facts: dict[str, object]

    @property
    def at_unix_nano(self) -> int:
        """When it was asked for: at the end of the model call."""
        return self.call.end if self.call.end is not None else self.call.start


@dataclass(slots=True, eq=False)
class ToolCall:
    """One logical tool call and everything that tells of it.

    `nodes` is every record of it, those that ran it first, spans before logs; `told` is every fact, each from the first
    record that has it.
    """

    runs: list[Node] = field(default_factory=list)
    parts: list[Node] = field(default_factory=list)
    approvals: list[Node] = field(default_factory=list)
    request: Request | None = None
    returned: dict[str, object] | None = None
    nodes: Sequence[Node] = field(default=(), init=False, repr=False)
    told: Facts = field(default_factory=dict, init=False, repr=False)

    def add(self, *, runs: Sequence[Node] = (), parts: Sequence[Node] = (), approvals: Sequence[Node] = ()) -> None:
        """Take more records of the call in; only here they grow in number."""
        self.runs.extend(runs)
        self.parts.extend(parts)
        self.approvals.extend(approvals)
        ran = self.runs
        if len(ran) > 1:
            ran = sorted(ran, key=lambda node: (node.is_log, node.start, node.record_id))
        self.nodes = [*ran, *self.parts, *self.approvals]
        self.told = joint(self.nodes)

    def first(self, name: str) -> object:
        """A fact from the first record that has it."""
        return self.told.get(name)

    def text(self, name: str) -> str | None:
        """A fact as text."""
        value = self.told.get(name)
        return value if isinstance(value, str) else None

    @property
    def name(self) -> str | None:
        """The tool's name, from what ran, else from the request; of two, the one that the other only prefixes."""
        if len(self.nodes) == 1 and (only := self.nodes[0].text("gen_ai_tool_name")) and only != "handoff":
            return only
        names = list(dict.fromkeys(name for node in self.nodes if (name := node.text("gen_ai_tool_name"))))
        if self.request is not None and (not names or names == ["handoff"]):
            return self.request.name
        if not names:
            return None
        return next((name for name in names if names[0] != name and names[0].endswith(name)), names[0])

    @property
    def type(self) -> str:
        """The contract's tool type; the more telling of the request's and the run's."""
        types = {node.text("gen_ai_tool_type") for node in self.nodes} | {self.request.type if self.request else None}
        if "handoff" not in types and any(node.kind == "agent" or _starts_agent(node) for node in self.runs):
            return "subagent"
        for special in ("handoff", "subagent", "mcp", "code", "builtin"):
            if special in types:
                return special
        return "function"

    @property
    def callers(self) -> list[Node]:
        """The records that tell who called, the surest first: an agent's own span tells who was called."""
        asked = self.request.call.nodes if self.request else []
        own = [node for node in self.nodes if node.kind != "agent"]
        return [*own, *asked] or list(self.nodes)

    @property
    def call_id(self) -> str | None:
        """The source's id."""
        return self.text("gen_ai_tool_call_id") or (self.request.call_id if self.request else None)

    @property
    def start(self) -> int:
        """When it started to run, else when it was decided or asked for."""
        ran = self.runs or self.parts or self.approvals
        if ran:
            return ran[0].start if len(ran) == 1 else min([node.start for node in ran])
        return self.request.at_unix_nano if self.request else 0

    @property
    def end(self) -> int | None:
        """When it ended; NULL while it runs or was only asked for."""
        ends = [node.end for node in self.runs or self.parts if node.end is not None]
        return max(ends) if ends else None

    @property
    def state(self) -> str:
        """`executed`, `running`, `decided` or `requested`."""
        if (self.runs or self.parts) and not self._refused:
            return "executed" if self.end is not None else "running"
        return "decided" if self.approvals else "requested"

    @property
    def _refused(self) -> bool:
        """Whether it was decided that it must not run."""
        return any(node.text("decision") == "deny" for node in self.approvals)

    @property
    def result_class(self) -> str:
        """The worst that any record of it says; what only the model was told comes last."""
        outcomes = {_outcome(node) for node in (*self.runs, *self.parts)}
        if self._refused:
            outcomes.add("denied")
        if not outcomes - {None} and self.returned is not None:
            outcomes.add(str(self.returned.get("outcome") or "unknown"))
        return next((name for name in _SEVERITY if name in outcomes), "unknown")

    @property
    def attempts(self) -> int | None:
        """How often it ran, where the source shows more than the one call."""
        spans = [node for node in self.runs if not node.is_log]
        return len(spans) if len(spans) > 1 else None


def _outcome(node: Node) -> str | None:
    """How a record says that the call ended; an agent that ran in the place of a tool has only its status."""
    if node.kind != "agent":
        return node.text("tool_outcome")
    return "error" if node.text("error_type") else "ok" if node.status == "OK" else None


def _starts_agent(node: Node, depth: int = 0) -> bool:
    """Whether an agent runs directly inside a tool's span."""
    return depth < HOPS_MAX and any(
        child.kind == "agent" or (child.kind == "step" and _starts_agent(child, depth + 1))
        for child in node.children
        if not child.is_log
    )


@lru_cache(maxsize=4096)
def plain(name: str | None) -> str:
    """A tool's name without case, punctuation and server prefix, for comparing dialects."""
    text = (name or "").rsplit("__", 1)[-1].lower()
    return _WORD.sub("_", text).strip("_")


def tool_calls(nodes: Sequence[Node], calls: Sequence[Call]) -> list[ToolCall]:
    """The tool calls of one session, in order of their start."""
    found = _from_runs([node for node in nodes if node.kind in TOOL_KINDS])
    if parts := [node for node in nodes if node.kind == "tool_attempt"]:
        found = _with_parts(found, parts)
    if approvals := [node for node in nodes if node.kind == "approval"]:
        found = _with_approvals(found, approvals)
    found = _with_served(_without_copies(found))
    requests = _requests(calls)
    _answer(found, requests)
    matched = {id(tool.request) for tool in found}
    asked = [ToolCall(request=request) for request in requests if id(request) not in matched]
    _with_agents(asked, nodes)
    found += asked
    _report(found, calls)
    named = [(tool.start, name, tool.call_id or "", tool) for tool in found if (name := tool.name) is not None]
    return [tool for *_, tool in sorted(named, key=lambda item: item[:3])]


def _outer_tool(node: Node) -> Node | None:
    """The tool span around this one that is the same call: same name, near, with no model or agent between."""
    for hop, ancestor in enumerate(node.ancestors()):
        if hop >= HOPS_MAX or ancestor.kind in {"llm", "agent", "workflow"}:
            return None
        if ancestor.kind in {"tool", "tool_attempt", "handoff"}:
            same = plain(ancestor.text("gen_ai_tool_name")) == plain(node.text("gen_ai_tool_name"))
            return (
                ancestor
                if same or (ancestor.kind == "tool_attempt" and not ancestor.text("gen_ai_tool_name"))
                else None
            )
    return None


def _from_runs(runs: Sequence[Node]) -> list[ToolCall]:
    """Spans nested in the span of the same tool, and records with the same call id, are one call."""
    by_node: dict[Node, ToolCall] = {}
    by_id: dict[str, list[ToolCall]] = {}
    found: list[ToolCall] = []
    for node in sorted(runs, key=lambda node: (_depth(node), node.is_log, node.start, node.record_id)):
        outer = _outer_tool(node) if not node.is_log else None
        tool = by_node.get(outer) if outer is not None else None
        call_id = _call_id(node)
        known = by_id.setdefault(call_id, []) if call_id else []
        if tool is not None:
            tool.add(parts=[node])
        else:
            tool = next((other for other in known if _same_call(node, other)), None)
            if tool is None:
                tool = ToolCall()
                found.append(tool)
            tool.add(runs=[node])
        by_node[node] = tool
        if tool not in known:
            known.append(tool)
    return found


def _depth(node: Node) -> int:
    return sum(1 for _ in node.ancestors())


def _call_id(node: Node) -> str:
    call_id = node.text("gen_ai_tool_call_id") or ""
    return "" if call_id == "unknown" else call_id


def _same_call(node: Node, tool: ToolCall) -> bool:
    """One id may serve two tools of one source; a span and a log may name the same tool differently."""
    same_source = [run for run in tool.runs if run.is_log == node.is_log]
    return all(plain(run.text("gen_ai_tool_name")) == plain(node.text("gen_ai_tool_name")) for run in same_source)


def _by_call_id(found: Iterable[ToolCall]) -> dict[str, ToolCall]:
    index: dict[str, ToolCall] = {}
    for tool in found:
        for node in tool.nodes:
            if _call_id(node):
                index.setdefault(_call_id(node), tool)
    return index


def _with_parts(found: list[ToolCall], parts: Sequence[Node]) -> list[ToolCall]:
    """What runs inside a tool call belongs to it, by parent or by id; alone it stands for the call if it has a name."""
    by_node = {node: tool for tool in found for node in tool.nodes}
    by_id = _by_call_id(found)
    for part in parts:
        tool = next((by_node[up] for up in part.ancestors() if up in by_node), None)
        tool = tool or by_id.get(part.text("gen_ai_tool_call_id") or "")
        if tool is None:
            tool = ToolCall()
            found.append(tool)
            call_id = part.text("gen_ai_tool_call_id")
            if call_id:
                by_id[call_id] = tool
        tool.add(parts=[part])
        by_node[part] = tool
    return found


def _with_approvals(found: list[ToolCall], approvals: Sequence[Node]) -> list[ToolCall]:
    """A decision belongs to the call that it decides; a call that was decided and never ran is a call."""
    by_node = {node: tool for tool in found for node in tool.nodes}
    by_id = _by_call_id(found)
    for approval in approvals:
        call_id = approval.text("gen_ai_tool_call_id") or ""
        tool = by_id.get(call_id) or next((by_node[up] for up in approval.ancestors() if up in by_node), None)
        if tool is None and call_id:
            tool = by_id[call_id] = ToolCall()
            found.append(tool)
        if tool is not None:
            tool.add(approvals=[approval])
    return found


def _without_copies(found: list[ToolCall]) -> list[ToolCall]:
    """Logs that carry no id join the span of the same dialect and tool that is nearest in time."""
    logs = [tool for tool in found if tool.runs and all(node.is_log for node in tool.runs) and tool.call_id is None]
    if not logs:
        return found
    spans = [tool for tool in found if any(not node.is_log for node in tool.runs)]
    gone: set[int] = set()
    for log in sorted(logs, key=lambda tool: tool.start):
        node = log.runs[0]
        near = [
            tool
            for tool in spans
            if tool.runs[0].dialect == node.dialect
            and plain(tool.name) == plain(log.name)
            and not any(run.is_log for run in tool.runs)
            and tool.start <= (node.end or node.start)
        ]
        if near:
            best = max(near, key=lambda tool: tool.start)
            best.add(runs=log.runs)
            gone.add(id(log))
    return [tool for tool in found if id(tool) not in gone]


def _with_served(found: list[ToolCall]) -> list[ToolCall]:
    """What an MCP server did outside the span of its caller is part of the call of its tool around it in time."""
    served = [tool for tool in found if tool.runs and all(node.is_served for node in tool.runs)]
    if not served:
        return found
    apart = {id(tool) for tool in served}
    callers = [tool for tool in found if id(tool) not in apart and tool.type == "mcp"]
    taken: set[int] = set()
    for tool in sorted(served, key=lambda tool: (tool.start, tool.runs[0].record_id)):
        around = [caller for caller in callers if _encloses(caller, tool)]
        if around:
            best = min(around, key=lambda caller: (id(caller) in taken, (caller.end or _NEVER) - caller.start))
            best.add(parts=tool.nodes)
            taken |= {id(best), id(tool)}
    return [tool for tool in found if id(tool) not in apart or id(tool) not in taken]


def _encloses(caller: ToolCall, served: ToolCall) -> bool:
    named = plain(caller.name) in {plain(served.name), "mcp_tool"}
    end = caller.end
    return (
        named
        and caller.start <= served.start + SLACK_NS
        and (end is None or served.end is None or end >= served.end - SLACK_NS)
    )


def _requests(calls: Sequence[Call]) -> list[Request]:
    """Every call that a model's message asks for, once each."""
    requests: list[Request] = []
    seen: set[tuple[str, str]] = set()
    for call in calls:
        if "requested_tools" not in call.told:
            continue
        for node in call.nodes:
            listed = node.listed("requested_tools")
            fresh = [
                entry
                for entry in listed
                if (str(entry.get("id") or ""), str(entry["name"])) not in seen or not entry.get("id")
            ]
            if not listed:
                continue
            for entry in fresh:
                call_id = entry.get("id")
                if isinstance(call_id, str):
                    seen.add((call_id, str(entry["name"])))
                requests.append(_request(call, entry))
            break
    return requests


def _request(call: Call, entry: dict[str, object]) -> Request:
    call_id, digest = entry.get("id"), entry.get("arguments_hash")
    return Request(
        call=call,
        call_id=call_id if isinstance(call_id, str) else None,
        name=str(entry["name"]),
        type=str(entry.get("type") or "function"),
        arguments_hash=digest if isinstance(digest, str) else None,
        facts=entry,
    )


def _answer(found: Sequence[ToolCall], requests: Sequence[Request]) -> None:
    """Pair what ran with what was asked for: by id, by name and arguments, by name, hand-off with hand-off."""
    waiting = sorted(found, key=lambda tool: (tool.start, tool.name or "")) if requests else []
    taken: set[int] = set()
    for tool_key, request_key, needs_order in _PAIRINGS:
        waiting = [tool for tool in waiting if tool.request is None]
        if not waiting or len(taken) == len(requests):
            return
        open_requests: dict[object, list[Request]] = {}
        for request in requests:
            key = request_key(request)
            if key is not None and id(request) not in taken:
                open_requests.setdefault(key, []).append(request)
        for tool in waiting:
            listed = open_requests.get(tool_key(tool))
            paired = next((request for request in listed or () if not needs_order or _may_pair(tool, request)), None)
            if listed and paired is not None:
                tool.request = paired
                taken.add(id(paired))
                listed.remove(paired)


_Pairing = tuple[Callable[[ToolCall], object], Callable[[Request], object], bool]


def _delegation(name: str | None) -> str | None:
    return "delegate" if plain(name).startswith("delegate") else None


_PAIRINGS: tuple[_Pairing, ...] = (
    (lambda tool: tool.call_id, lambda request: request.call_id, False),
    (
        lambda tool: (plain(tool.name), tool.text("arguments_hash")),
        lambda request: (plain(request.name), request.arguments_hash),
        True,
    ),
    (lambda tool: plain(tool.name), lambda request: plain(request.name), True),
    (
        lambda tool: "handoff" if tool.type == "handoff" else None,
        lambda request: "handoff" if request.type == "handoff" else None,
        True,
    ),
    (lambda tool: _delegation(tool.name), lambda request: _delegation(request.name), True),
)


def _may_pair(tool: ToolCall, request: Request) -> bool:
    """Two different ids are two calls; without ids, a run follows its request."""
    if tool.call_id is not None and request.call_id is not None:
        return False
    ends = tool.end
    return ends is None or ends >= request.call.start


def _with_agents(asked: Sequence[ToolCall], nodes: Sequence[Node]) -> None:
    """A request that names an agent ran as the next span of that agent, where no span of a tool tells of it."""
    if not asked:
        return
    free = [node for node in nodes if node.kind == "agent" and not node.is_log and node.text("gen_ai_agent_name")]
    for tool in asked:
        request = tool.request
        assert request is not None
        agent = next(
            (
                node
                for node in free
                if plain(node.text("gen_ai_agent_name")) == plain(request.name) and node.start >= request.call.start
            ),
            None,
        )
        if agent is not None:
            free.remove(agent)
            tool.add(runs=[agent])


def _report(found: Sequence[ToolCall], calls: Sequence[Call]) -> None:
    """What the next input told the model of a call's result, for calls of which nothing else tells."""
    told: dict[str, dict[str, object]] = {}
    for call in calls:
        for node in call.nodes if "returned_tools" in call.told else ():
            for entry in node.listed("returned_tools"):
                if isinstance(entry.get("id"), str):
                    told.setdefault(str(entry["id"]), entry)
    for tool in found:
        if tool.call_id is not None:
            tool.returned = told.get(tool.call_id)
