"""Logical model calls from everything that tells of them: one call, however many spans, logs and witnesses.

Nested spans of one call are one call, told by the deepest that has usage; parallel sources (logs beside
spans, a gateway beside its client) join by response id, request id, else by equal usage close in time.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from headgate_analytics.node import BOUNDARY_KINDS, CALL_KINDS, CONTAINER_KINDS, Facts, Node
from headgate_analytics.retries import retried

MATCH_WINDOW_NS = 120 * 1_000_000_000
NEAR_NS = 1_000_000_000

_INPUT, _OUTPUT = "gen_ai_usage_input_tokens", "gen_ai_usage_output_tokens"


@dataclass(slots=True, eq=False)
class Call:
    """One logical call: `primary` tells the tokens, `others` fill what it does not say, `attempts` came before it.

    `nodes` is every record of it, the primary first, and `told` every fact, each from the first record that has it.
    It starts with the first of them and ends with the last; `end` is None while its span is open. `error` is its error
    type, None for a call that went well: a success anywhere outweighs the failure of an attempt. `apart` is the
    decision that keeps it apart from another call with the same id of the response.
    """

    primary: Node
    others: list[Node] = field(default_factory=list)
    attempts: list[Node] = field(default_factory=list)
    apart: str | None = None
    nodes: Sequence[Node] = field(init=False, repr=False)
    told: Facts = field(init=False, repr=False)
    start: int = field(init=False)
    end: int | None = field(init=False)
    has_usage: bool = field(init=False)
    error: str | None = field(init=False)

    def __post_init__(self) -> None:
        self._learn()

    def _learn(self) -> None:
        """Sum up what the records say; they only change by the methods below."""
        primary, others = self.primary, self.others
        self.nodes = [primary, *others]
        self.told = told = joint(self.nodes)
        self.start, self.end = primary.start, primary.end
        self.has_usage = _INPUT in told or _OUTPUT in told
        self.error = primary.text("error_type")
        if others:
            self.start = min([node.start for node in self.nodes])
            self.end = max([node.end for node in self.nodes if node.end is not None], default=None)
            if self.error is None and not self.has_usage:
                self.error = next((text for node in others if (text := node.text("error_type"))), None)

    def first(self, name: str) -> object:
        """A fact from the first record that has it."""
        return self.told.get(name)

    def text(self, name: str) -> str | None:
        """A fact as text."""
        value = self.told.get(name)
        return value if isinstance(value, str) else None

    def number(self, name: str) -> int | None:
        """A fact as a whole number."""
        value = self.told.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    @property
    def failed(self) -> bool:
        """Whether the call itself ended in an error."""
        return self.error is not None

    def add(self, *nodes: Node) -> None:
        """Take more records of the call in."""
        self.others.extend(nodes)
        self._learn()

    def lead(self, node: Node) -> None:
        """Take in a record that tells more than the primary did."""
        self.others.insert(0, self.primary)
        self.primary = node
        self._learn()

    def absorb(self, other: "Call") -> None:
        """Take another telling of the same call in; the one with more to say stays primary."""
        self.attempts.extend(other.attempts)
        self.add(*other.nodes)


def joint(nodes: Sequence[Node]) -> Facts:
    """Every fact of some records, each from the first that has it; of one record its own."""
    if len(nodes) == 1:
        return nodes[0].facts
    joint: dict[str, object] = {}
    for node in reversed(nodes):
        joint.update(node.facts)
    return joint


def _has_usage(node: Node) -> bool:
    return _INPUT in node.facts or _OUTPUT in node.facts


def model_calls(nodes: Sequence[Node]) -> list[Call]:
    """The calls of one session, in order of their start."""
    telling = [node for node in nodes if node.kind in CALL_KINDS]
    earlier = retried(telling)
    tried = {node for some in earlier.values() for node in some}
    if tried:
        telling = [node for node in telling if node not in tried]
    mirrors = [node for node in telling if node.facts.get("usage_role") == "mirror"]
    sources = [node for node in telling if node.facts.get("usage_role") != "mirror"] if mirrors else telling
    calls = _nested([node for node in sources if not node.is_log])
    calls = _with_ends(calls, [node for node in mirrors if not node.is_log])
    calls = _with_mirrors(calls, [node for node in mirrors if node.is_log])
    calls += [Call(node) for node in sources if node.is_log]
    calls.sort(key=_authority)
    for name in ("gen_ai_response_id", "request_id"):
        calls = _joined(calls, name)
    calls = _matched(calls)
    _attach_messages(calls, [node for node in nodes if node.kind == "message" and node.is_log])
    for call in calls if earlier else ():
        call.attempts.extend(before for node in call.nodes for before in earlier.get(node, ()))
    return _with_attempts(calls, [node for node in nodes if node.kind == "attempt"])


def _enclosing_call(node: Node) -> Node | None:
    for ancestor in node.ancestors():
        if ancestor.kind in CALL_KINDS:
            return ancestor
        if ancestor.kind in BOUNDARY_KINDS:
            return None
    return None


def _nested(spans: Sequence[Node]) -> list[Call]:
    """Chains of call spans inside each other, without a tool or agent in between, are the same call."""
    inner: dict[Node, list[Node]] = {node: [] for node in spans}
    tops: list[Node] = []
    for node in spans:
        outer = _enclosing_call(node)
        if outer is not None and outer.kind == node.kind:
            inner[outer].append(node)
        else:
            tops.append(node)
    return [call for top in tops for call in _resolved(top, inner, 0)]


def _resolved(node: Node, inner: dict[Node, list[Node]], depth: int) -> list[Call]:
    if not inner[node]:
        return [Call(node)]
    below = [call for child in inner[node] for call in _resolved(child, inner, depth + 1)] if depth < 64 else []
    telling = [call for call in below if call.has_usage]
    if len(telling) > 1:
        # A span around several calls only carries their sum; what failed inside was tried before one of them.
        telling[0].attempts.extend(call.primary for call in below if not call.has_usage)
        return telling
    if telling:
        call = telling[0]
        call.add(node)
        call.attempts.extend(other.primary for other in below if other is not call and other.failed)
        return [call]
    call = Call(node, others=[other.primary for other in below if not other.failed])
    failed = [other for other in below if other.failed]
    if failed and call.failed:
        # The last failure inside is the end of the call itself.
        call.absorb(failed.pop())
    call.attempts.extend(other.primary for other in failed)
    return [call]


def _with_ends(calls: list[Call], ends: Sequence[Node]) -> list[Call]:
    """A span that tells how a stream ended belongs to the last silent call before it beside which it stands."""
    if not ends:
        return calls
    waiting: dict[tuple[str | None, str | None], list[Call]] = {}
    for call in sorted(calls, key=lambda call: call.start):
        if not call.has_usage and not call.failed:
            waiting.setdefault((call.primary.trace_id, call.primary.parent_span_id), []).append(call)
    for end in sorted(ends, key=lambda node: (node.start, node.record_id)):
        beside = waiting.get((end.trace_id, end.parent_span_id), [])
        before = next((call for call in reversed(beside) if call.start <= end.start), None)
        if before is None:
            calls.append(Call(end))
        else:
            beside.remove(before)
            before.lead(end)
    return calls


def _with_mirrors(calls: list[Call], mirrors: Sequence[Node]) -> list[Call]:
    """Events that speak of the span whose context they carry join its call, or stand for it when it never came."""
    if not mirrors:
        return calls
    by_span = {(node.trace_id, node.span_id): call for call in calls for node in call.nodes}
    attempts = {(node.trace_id, node.span_id) for call in calls for node in call.attempts}
    for mirror in mirrors:
        if (mirror.trace_id, mirror.span_id) in attempts:
            continue
        place = (mirror.trace_id, mirror.span_id)
        call = by_span.get(place) if mirror.span_id else None
        if call is None:
            call = Call(mirror)
            calls.append(call)
            by_span[place] = call
        else:
            call.add(mirror)
    return calls


def _joined(calls: list[Call], name: str) -> list[Call]:
    """Calls with the same id are one, told by the first of them; the calls come and go in order of authority.

    Gateways decide about each call once: what has different decisions is not one, whatever its provider calls it.
    """
    kept: dict[str, _Namesakes] = {}
    result: list[Call] = []
    for call in calls:
        identity = call.text(name)
        if identity is not None:
            same = kept.setdefault(identity, _Namesakes()).joined(call)
            if same is not call:
                same.absorb(call)
                continue
        result.append(call)
    return result


@dataclass(slots=True)
class _Namesakes:
    """Calls with one id of the response, found by the decisions about them; one without any is every one's."""

    calls: list[Call] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)

    def joined(self, call: Call) -> Call:
        """The first call that this one is, or itself."""
        decisions = _decisions(call)
        known = [place for one in decisions if (place := self.places.get(one)) is not None]
        is_apart = bool(decisions) and bool(self.places) and not known
        place = min(known, default=0) if self.calls and not is_apart else len(self.calls)
        if is_apart:
            call.apart = min(decisions)
        if place == len(self.calls):
            self.calls.append(call)
        for one in decisions:
            self.places.setdefault(one, place)
        return self.calls[place]


def _decisions(call: Call) -> set[str]:
    """The decisions of gateways that let it pass."""
    told = (node.own.get("headgate.decision_id") for node in call.nodes if node.witness == "gateway")
    return {one for one in told if isinstance(one, str)}


def _authority(call: Call) -> tuple[bool, bool, int, str]:
    """Usage tells before none, spans before logs."""
    return (not call.has_usage, call.primary.is_log, call.primary.start, call.primary.record_id)


def _matched(calls: list[Call]) -> list[Call]:
    """Logs that carry no id join the span of the same dialect with the same usage that is nearest in time."""
    logs = [call for call in calls if call.primary.is_log and all(node.is_log for node in call.nodes)]
    if not logs:
        return calls
    spans = [call for call in calls if not call.primary.is_log]
    free = {id(call): call for call in spans if not any(node.is_log for node in call.nodes)}
    taken: set[int] = set()
    for span_key, key_of in _MATCHES:
        waiting: dict[object, list[Call]] = {}
        for span in free.values():
            if (key := span_key(span)) is not None:
                waiting.setdefault(key, []).append(span)
        pairs = sorted(
            (_distance_ns(span, log), span.start, log.start, span.primary.record_id, log.primary.record_id, span, log)
            for log in logs
            if id(log) not in taken
            for span in waiting.get(key_of(log), ())
            if _same_trace(span, log) and _distance_ns(span, log) <= MATCH_WINDOW_NS
        )
        for *_, span, log in pairs:
            if id(span) in free and id(log) not in taken:
                del free[id(span)]
                taken.add(id(log))
                span.absorb(log)
    return [call for call in calls if id(call) not in taken]


def _same_trace(span: Call, log: Call) -> bool:
    return log.primary.trace_id is None or span.primary.trace_id == log.primary.trace_id


def _usage_key(call: Call) -> object:
    return (call.primary.dialect, call.number(_INPUT), call.number(_OUTPUT)) if call.has_usage else None


def _input_key(call: Call) -> object:
    tokens = call.number(_INPUT)
    return None if tokens is None else (call.primary.dialect, tokens)


def _failure_key(call: Call) -> object:
    return (call.primary.dialect, "failed") if call.failed else None


def _silent_key(call: Call) -> object:
    return None if call.has_usage or call.failed else (call.primary.dialect, "silent")


def _silenced_key(call: Call) -> object:
    return (call.primary.dialect, "silent") if call.has_usage and not call.failed else None


# How a span and a log of one call know each other, the surest way first; a span may be told to hide its tokens.
_MATCHES: tuple[tuple[Callable[[Call], object], Callable[[Call], object]], ...] = (
    (_usage_key, _usage_key),
    (_input_key, _input_key),
    (_failure_key, _failure_key),
    (_silent_key, _silenced_key),
)


def _distance_ns(span: Call, log: Call) -> int:
    """How far the log's time is from the end of the span."""
    end = span.end if span.end is not None else span.start
    return abs((log.end or log.start) - end)


def _attach_messages(calls: Sequence[Call], messages: Sequence[Node]) -> None:
    """Message events add to the call whose span they belong to what its span does not say.

    Those without a span belong to the call of the same source with the same usage that ended with them.
    """
    if not messages:
        return
    by_span = {(node.trace_id, node.span_id): call for call in calls for node in call.nodes if node.span_id}
    by_usage: dict[object, list[Call]] = {}
    for call in calls:
        by_usage.setdefault(_usage_key(call), []).append(call)
    for node in messages:
        owner = by_span.get((node.trace_id, node.span_id)) if node.span_id else None
        if owner is None and node.text("gen_ai_response_id") is not None:
            near = (call for call in by_usage.get(_usage_key(Call(node)), ()) if not call.text("gen_ai_response_id"))
            owner = min(near, key=lambda call: _distance_ns(call, Call(node)), default=None)
            if owner is not None and _distance_ns(owner, Call(node)) > NEAR_NS:
                owner = None
        if owner is not None:
            owner.add(node)


def _with_attempts(calls: list[Call], attempts: Sequence[Node]) -> list[Call]:
    """Attempts inside a call's span belong to it; those beside it to the next call of the same source."""
    by_node = {node: call for call in calls for node in call.nodes} if attempts else {}
    loose: list[Node] = []
    for attempt in attempts:
        if any(up.kind == "attempt" for up in attempt.ancestors()):
            continue
        owner = next((by_node[up] for up in attempt.ancestors() if up in by_node), None) if not attempt.is_log else None
        if owner is not None:
            owner.attempts.append(attempt)
        elif attempt.is_log:
            loose.append(attempt)
    if loose:
        calls = calls + _assign_loose(calls, loose)
    return sorted(calls, key=lambda call: (call.start, call.primary.record_id))


def _assign_loose(calls: Sequence[Call], attempts: Iterable[Node]) -> list[Call]:
    """Give each logged attempt to the call that it led to; failures that led to none are a failed call."""
    answered: dict[tuple[str | None, str | None], list[Call]] = {}
    for call in sorted((call for call in calls if not call.failed), key=lambda call: (_answered_at(call), call.start)):
        answered.setdefault(_source(call), []).append(call)
    left: dict[tuple[str | None, str | None], list[Node]] = {}
    for attempt in sorted(attempts, key=lambda node: (node.start, node.record_id)):
        source = (attempt.dialect, attempt.text("session_key"))
        known = answered.get(source, [])
        following = bisect_left(known, attempt.start, key=_answered_at)
        if following < len(known):
            known[following].attempts.append(attempt)
        elif attempt.text("error_type") is not None:
            left.setdefault(source, []).append(attempt)
    return [Call(failed[-1], others=[], attempts=failed) for failed in left.values()]


def _answered_at(call: Call) -> int:
    return call.end or call.start


def _source(call: Call) -> tuple[str | None, str | None]:
    key = next((text for node in call.nodes if (text := node.text("session_key"))), None)
    return call.primary.dialect, key


def container_usage(nodes: Sequence[Node]) -> list[Node]:
    """The outermost containers that report totals: what a session used when no call says."""
    totals = [node for node in nodes if node.kind in CONTAINER_KINDS | {"step"} and _has_usage(node)]
    return [node for node in totals if not any(_has_usage(up) for up in node.ancestors())]
