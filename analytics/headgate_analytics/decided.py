"""What Headgate decided about a session: its decisions and stops as moments, on its calls and in its state."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headgate_analytics.node import Node
from headgate_analytics.rows import Row, Who
from headgate_analytics.timeline import TITLE_CHARACTERS_MAX, Moment

_WORDS = {
    "allow": "allowed",
    "deny": "denied",
    "modify": "changed",
    "require_approval": "approval needed for",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The decisions of a session, each once, and the stops that name it, as they stand last."""

    decisions: Sequence[Node] = ()
    stops: Sequence[Node] = ()

    @classmethod
    def of(cls, nodes: Sequence[Node]) -> "Decided":
        """Those among its records, in their order; what an agent says of decisions is none."""
        ours = [node for node in nodes if node.kind in {"decision", "stop"} and node.witness != "client"]
        if not ours:
            return cls()
        decisions: dict[str, Node] = {}
        stops: dict[str, Node] = {}
        for node in ours:
            if node.kind == "decision":
                decisions.setdefault(_told(node, "decision_id") or node.record_id, node)
            else:
                stops[_told(node, "stop_id") or node.record_id] = node
        return cls(decisions=tuple(decisions.values()), stops=tuple(stops.values()))

    def mark(self, tools: Sequence[Row]) -> None:
        """Say on tool calls what was decided about them; the first of the hardest decisions counts."""
        by_call: dict[str, Node] = {}
        for node in sorted(self.decisions, key=_mildness):
            if name := _told(node, "tool_use_id"):
                by_call.setdefault(name, node)
        for row in tools if by_call else ():
            found = by_call.get(str(row["source_call_id"]))
            if found is None:
                continue
            effect = _told(found, "effect")
            row.update(
                decision_id=_told(found, "decision_id"),
                decision=effect,
                decision_source=row["decision_source"] or "policy",
            )
            if effect == "deny" and row["state"] == "requested":
                row.update(state="decided", result_class="denied", error_type="denied")

    def uncarried(self, rows: Sequence[Row]) -> list[Node]:
        """The decisions that none of these rows of calls carries: what a tool does besides is decided with its call."""
        carried = {row["decision_id"] for row in rows if row["decision_id"] is not None}
        for row in rows:
            if isinstance(others := row.get("attempt_decision_ids"), list):
                carried.update(others)
        tools = {row.get("source_call_id") for row in rows if row["decision_id"] is not None} - {None}
        return [
            node
            for node in self.decisions
            if _told(node, "decision_id") not in carried and _told(node, "tool_use_id") not in tools
        ]

    def denied(self, rows: Sequence[Row]) -> int:
        """How many calls were denied of which no row says so."""
        shown = [row for row in rows if "denied" in {row.get("status"), row.get("result_class")}]
        names = {row.get(name) for row in shown for name in ("decision_id", "source_call_id")}
        denials = [node for node in self.decisions if _told(node, "effect") == "deny"]
        return len({_told(node, "tool_use_id") or _told(node, "decision_id") for node in denials} - names)

    def moments(self, rows: Sequence[Row], who: Who) -> list[Moment]:
        """Denials and approvals, allows that no call carries, and stops."""
        bare = {id(node) for node in self.uncarried(rows)}
        shown = [
            node for node in self.decisions if id(node) in bare or _told(node, "effect") not in {"allow", "modify"}
        ]
        return [_decision(node, who) for node in shown] + [_stop(node) for node in self.stops]

    def stopped(self, calls: Sequence[Row], tools: Sequence[Row]) -> str | None:
        """Why the session is stopped; None when it is not, or went on afterwards."""
        told = [(node.start, _told(node, "reason") or "") for node in self._halts()]
        told += [
            (at, "its call was cut")
            for row in calls
            if row["error_type"] == "stopped" and isinstance(at := row["end_time_unix_nano"], int)
        ]
        if not told:
            return None
        at_unix_nano, reason = max(told)
        went_on = any(row["status"] in {"ok", "in_flight"} and _begun(row) > at_unix_nano for row in calls) or any(
            row["state"] == "executed" and row["result_class"] != "denied" and _begun(row) > at_unix_nano
            for row in tools
        )
        return None if went_on else f"stopped: {reason}" if reason else "stopped"

    def _halts(self) -> Iterator[Node]:
        for node in self.decisions:
            if _told(node, "code") == "stopped":
                yield node
        for node in self.stops:
            if _told(node, "mode") == "stop" and _told(node, "state") != "ended":
                yield node


def _mildness(node: Node) -> int:
    """0 for a denial: of several decisions about one call the hardest is the call's."""
    return {"deny": 0, "require_approval": 1, "modify": 2}.get(_told(node, "effect") or "", 3)


def _decision(node: Node, who: Who) -> Moment:
    effect = _told(node, "effect") or "deny"
    what = " ".join(text for name in ("action", "resource_id") if (text := _told(node, name)))
    reason = _told(node, "reason")
    title = f"{_WORDS.get(effect, effect)} {what}" + (f": {reason}" if reason else "")
    return Moment(
        nodes=[node],
        unix_nano=node.start,
        kind="approval" if effect == "require_approval" else "decision",
        title=title[:TITLE_CHARACTERS_MAX],
        actor=who.agents.of([node]),
        status=effect,
        ref_view="decisions",
        ref_id=_told(node, "decision_id"),
    )


def _stop(node: Node) -> Moment:
    is_over = _told(node, "state") == "ended"
    word = "stop ended" if is_over else "paused" if _told(node, "mode") == "pause" else "stopped"
    reason = _told(node, "reason")
    return Moment(
        nodes=[node],
        unix_nano=node.start,
        kind="stop",
        title=(f"{word}: {reason}" if reason else word)[:TITLE_CHARACTERS_MAX],
        actor=_told(node, "author"),
        status=_told(node, "state"),
        ref_view="stops",
        ref_id=_told(node, "stop_id"),
    )


def _begun(row: Row) -> int:
    value = row["start_time_unix_nano"]
    return value if isinstance(value, int) else 0


def _told(node: Node, name: str) -> str | None:
    value = node.own.get(f"headgate.{name}")
    return value if isinstance(value, str) else None
