"""Calls that name the session of somebody else: they count to the instance whose credential came with them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from headgate_analytics.gateway_calls import is_of_gateway
from headgate_analytics.model_calls import Call
from headgate_analytics.node import Node
from headgate_analytics.rows import Row, Who
from headgate_analytics.tool_calls import ToolCall

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Rows of a session that are another instance's than the session; each has the `shared` columns too."""

    shared: Row
    model_calls: Sequence[Row]
    tool_calls: Sequence[Row]

    def rows(self, table: str) -> Sequence[Row]:
        """The rows of one derived table, by its name."""
        return {"model_calls": self.model_calls, "tool_calls": self.tool_calls}.get(table, ())


def owner_of(node: Node) -> str | None:
    """The instance that a credential proved for a record."""
    return node.text("verified_instance_id")


def shares(
    nodes: Sequence[Node],
    who: Who,
    calls: Sequence[tuple[Call, Row]],
    tools: Sequence[tuple[ToolCall, Row]],
    whose: Callable[[Sequence[Node]], Who],
) -> Sequence[Share]:
    """The shares of every instance but the session's own; `whose` says who the records of one instance are about."""
    if who.identity.identity_source != "verified":
        return ()
    others = _by_owner((owner_of(node), node) for node in nodes)
    others.pop(who.identity.instance_id, None)
    given = _by_owner((_owner_of_call(call), row) for call, row in calls) if others else {}
    lent = _by_owner((_owner_of_tool(tool), row) for tool, row in tools) if others else {}
    return [
        Share(shared=whose(own).shared, model_calls=given.get(name, []), tool_calls=lent.get(name, []))
        for name, own in sorted(others.items(), key=lambda item: item[0])
    ]


def _by_owner(owned: Iterable[tuple[str | None, _T]]) -> dict[str, list[_T]]:
    """What each instance owns; what nobody does is left out."""
    found: dict[str, list[_T]] = {}
    for name, one in owned:
        if name:
            found.setdefault(name, []).append(one)
    return found


def _owner_of_call(call: Call) -> str | None:
    """What a gateway saw comes before what an agent says."""
    seen = sorted(call.nodes, key=lambda node: not is_of_gateway(node))
    return next((owner for node in seen if (owner := owner_of(node)) is not None), None)


def _owner_of_tool(tool: ToolCall) -> str | None:
    own = next((owner for node in tool.nodes if (owner := owner_of(node)) is not None), None)
    return own if own is not None or tool.request is None else _owner_of_call(tool.request.call)
