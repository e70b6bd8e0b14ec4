"""MCP servers that no trace context reached: their spans are traces of their own, inside the call that they served.

A served call belongs to the call of the same tool that encloses it in time, whichever of both arrives first.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

SLACK_NS = 100_000_000
NEAR_MAX = 256
SPANS_MAX = 200_000

# Claude Code hides the names of MCP tools unless told to show them: such a call may be any tool's.
_HIDDEN = frozenset({"mcp_tool"})
_ANY = ""

_Interval = tuple[int, int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpan:
    """One run of an MCP tool; `served` when a server tells of it that knows no caller."""

    tool: str
    served: bool


@dataclass(slots=True)
class Servings:
    """Pairs served calls with the calls around them; remembers at most `SPANS_MAX` of each kind and tool."""

    _calls: dict[tuple[str, str], list[_Interval]] = field(default_factory=dict)
    _served: dict[tuple[str, str], list[_Interval]] = field(default_factory=dict)

    def pairs(self, tenant: str, span: ToolSpan, start: int, end: int, anchor_id: str) -> Iterator[tuple[str, str]]:
        """The anchors that this run connects: the served one first, then the one that called."""
        tool = _ANY if span.tool in _HIDDEN else span.tool
        if span.served:
            _remember(self._served, (tenant, tool), (start, end, anchor_id))
            _remember(self._served, (tenant, _ANY), (start, end, anchor_id))
            around = [
                call
                for name in (tool, _ANY)
                for call in _near(self._calls.get((tenant, name), []), start)
                if call[0] <= start + SLACK_NS and call[1] >= end - SLACK_NS and call[2] != anchor_id
            ]
            if around:
                yield anchor_id, min(around, key=lambda call: (call[1] - call[0], call))[2]
            return
        _remember(self._calls, (tenant, tool), (start, end, anchor_id))
        for at, until, served in _within(self._served.get((tenant, tool), []), start, end):
            if until <= end + SLACK_NS and at >= start - SLACK_NS and served != anchor_id:
                yield served, anchor_id


def _remember(kept: dict[tuple[str, str], list[_Interval]], key: tuple[str, str], interval: _Interval) -> None:
    listed = kept.setdefault(key, [])
    place = bisect_left(listed, interval)
    if place < len(listed) and listed[place] == interval:
        return
    insort(listed, interval)
    if len(listed) > SPANS_MAX:
        del listed[: SPANS_MAX // 2]


def _near(listed: list[_Interval], start: int) -> list[_Interval]:
    """The intervals that begin last before `start`."""
    place = bisect_right(listed, (start + SLACK_NS, 2**63, ""))
    return listed[max(0, place - NEAR_MAX) : place]


def _within(listed: list[_Interval], start: int, end: int) -> list[_Interval]:
    """The intervals that begin between `start` and `end`."""
    first = bisect_left(listed, (start - SLACK_NS, 0, ""))
    return listed[first : bisect_right(listed, (end + SLACK_NS, 2**63, ""), first)][:NEAR_MAX]
