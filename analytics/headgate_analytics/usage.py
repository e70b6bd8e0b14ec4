"""Which record's tokens count: the audit trail of the rule that nothing is counted twice."""

from collections.abc import Sequence

from headgate_analytics.model_calls import Call
from headgate_analytics.node import CALL_KINDS, Node
from headgate_analytics.rows import Row, Who

_INPUT, _OUTPUT = "gen_ai_usage_input_tokens", "gen_ai_usage_output_tokens"


def usage_rows(nodes: Sequence[Node], calls: Sequence[Call], call_rows: Sequence[Row], who: Who) -> list[Row]:
    """One row per record that reports tokens or is a model call, with the role of its usage."""
    call_of = {
        node: (call, row) for call, row in zip(calls, call_rows, strict=True) for node in (*call.nodes, *call.attempts)
    }
    rows: list[Row] = []
    for node in nodes:
        if node.kind not in CALL_KINDS and not _tells(node):
            continue
        call, row = call_of.get(node, (None, None))
        rows.append(
            {
                **who.row([node], who.agents.of([node])),
                "input_tokens": node.number(_INPUT),
                "output_tokens": node.number(_OUTPUT),
                "record_id": node.record_id,
                "unix_nano": node.start,
                "usage_role": _role(node, call),
                "model_call_id": row["model_call_id"] if row else None,
                "dialect": node.dialect,
            }
        )
    return rows


def _tells(node: Node) -> bool:
    return _INPUT in node.facts or _OUTPUT in node.facts


def _role(node: Node, call: Call | None) -> str:
    """`leaf` counts; `suppressed` and `mirror` tell of a leaf again; `container` sums; `missing` says nothing."""
    if not _tells(node):
        return "missing"
    if call is None:
        return "suppressed" if node.kind in CALL_KINDS else "container"
    if node is call.primary:
        return "leaf"
    return "mirror" if node.is_log else "suppressed"
