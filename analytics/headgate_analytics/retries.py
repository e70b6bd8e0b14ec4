"""Calls that an agent's library made again by itself, as gateways saw them: the attempts of one call.

A call is another one made again when the library says so (it counts), or when the agent's trace and the request are
the same; and the one before it, of the same instance, session and request, has failed shortly before.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headgate_analytics.node import CALL_KINDS, Node

SLACK_NS = 1_000_000_000
WINDOW_NS = 120 * 1_000_000_000
NEAR_MAX = 64
"""Failed calls of one session that are looked at, the latest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Try:
    """One call as a gateway tells it; `count` is how often the library says that it has tried before."""

    node: Node
    place: tuple[object, ...]
    count: int
    request: object
    was_sent: bool

    @classmethod
    def of(cls, node: Node) -> "_Try":
        own = node.own
        count, attempts = own.get("headgate.retry_count"), own.get("headgate.attempts")
        names = ("headgate.instance.id", "session.id", "gen_ai.operation.name")
        return cls(
            node=node,
            place=tuple(own.get(name) for name in names),
            count=count if type(count) is int else 0,
            request=own.get("headgate.request_hash"),
            was_sent=type(attempts) is int and attempts > 0,
        )

    @property
    def may_be_tried_again(self) -> bool:
        """Whether it failed at its provider: what was denied is a decision, and no attempt."""
        return self.was_sent and self.node.text("error_type") is not None

    def follows(self, before: "_Try") -> bool:
        """Whether it is that call, made again."""
        ended = before.node.end if before.node.end is not None else before.node.start
        if not -SLACK_NS <= self.node.start - ended <= WINDOW_NS or before.node is self.node:
            return False
        if self.count:
            return self.count == before.count + 1 and self._asks_the_same(before)
        parent = self.node.parent_span_id
        is_beside = parent is not None and (self.node.trace_id, parent) == (
            before.node.trace_id,
            before.node.parent_span_id,
        )
        return is_beside and self.request is not None and self.request == before.request

    def _asks_the_same(self, before: "_Try") -> bool:
        if self.request is not None and before.request is not None:
            return self.request == before.request
        return self.node.text("gen_ai_request_model") == before.node.text("gen_ai_request_model")


def retried(nodes: Sequence[Node]) -> Mapping[Node, list[Node]]:
    """For the last attempt of each call that was made again, those before it, in their order."""
    seen = [node for node in nodes if node.witness == "gateway" and node.kind in CALL_KINDS and not node.is_log]
    if all(node.text("error_type") is None for node in seen):
        return {}
    earlier: dict[Node, list[Node]] = {}
    failed: dict[tuple[object, ...], deque[_Try]] = {}
    for one in map(_Try.of, sorted(seen, key=lambda node: (node.start, node.record_id))):
        waiting = failed.setdefault(one.place, deque(maxlen=NEAR_MAX))
        before = next((other for other in reversed(waiting) if one.follows(other)), None)
        if before is not None:
            waiting.remove(before)
            tried = earlier[one.node] = earlier.pop(before.node, [])
            tried.append(before.node)
        if one.may_be_tried_again:
            waiting.append(one)
    return earlier
