"""Sums of cost in a table, each with its part of the whole, and what has no cost."""

from collections.abc import Sequence
from typing import Any

from headgate_console.render.bars import portion
from headgate_console.render.numbers import UNKNOWN, count, money, share, tokens
from headgate_console.render.table import Column, Row

BAR_WIDTH = 12
REASONS = {
    None: "not said",
    "no_price": "no price for this model",
    "no_usage": "no tokens reported",
    "not_reported": "no tokens reported",
    "failed": "the call failed",
    "in_flight": "still running",
    "totals_only": "only a total was reported, not its calls",
    "no_calls_reported": "its agent reports no model calls",
    "unknown_model": "the model is not named",
}


def _is_total(row: Row) -> str:
    return "bold" if row.get("is_total") else ""


def cost_columns(by: str) -> tuple[Column, ...]:
    """The columns of a table grouped by `by`."""
    return (
        Column(key="group", title=by.replace("_", " ").upper(), shrink_to=12, style=_is_total),
        Column(key="sessions", title="SESSIONS", format=count, align="right", rank=3, style=_is_total),
        Column(key="model_calls", title="CALLS", format=count, align="right", rank=2, style=_is_total),
        Column(key="input_tokens", title="INPUT", format=tokens, align="right", rank=4, style=_is_total),
        Column(key="cache_read_tokens", title="CACHED", format=tokens, align="right", rank=6, style=_is_total),
        Column(key="output_tokens", title="OUTPUT", format=tokens, align="right", rank=5, style=_is_total),
        Column(key="cost_usd", title="COST", format=money, align="right", style=_is_total),
        Column(key="priced_share", title="PRICED", format=share, align="right", style=_is_total),
        Column(key="bar", title="", rank=7, style="green"),
    )


def cost_rows(rows: Sequence[Row], total: Row, *, unicode: bool) -> list[dict[str, Any]]:
    """The rows of a grouping with a bar for their part of the cost, and the total as the last one."""
    whole = total["cost_usd"]
    shown = [
        {
            **row,
            "group": "(none)" if row["group_value"] is None else row["group_value"],
            "bar": portion(float(row["cost_usd"] / whole), width=BAR_WIDTH, unicode=unicode)
            if whole and row["cost_usd"]
            else "",
        }
        for row in rows
    ]
    return [*shown, {**total, "group": "total", "bar": "", "is_total": True}] if len(rows) > 1 else shown


UNPRICED = (
    Column(key="model", title="MODEL", shrink_to=12),
    Column(key="provider", title="PROVIDER", rank=2, shrink_to=8),
    Column(key="sessions", title="SESSIONS", format=count, align="right", rank=3),
    Column(key="model_calls", title="CALLS", format=count, align="right"),
    Column(key="tokens", title="TOKENS", format=tokens, align="right", rank=1),
    Column(key="why", title="WHY", shrink_to=20),
)


def unpriced_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows of what has no cost, with the reason in words."""
    return [
        {
            **row,
            "model": row["model"] or UNKNOWN,
            "provider": row["provider"] or UNKNOWN,
            "model_calls": row["model_calls"] or None,
            "tokens": None
            if row["input_tokens"] is None and row["output_tokens"] is None
            else (row["input_tokens"] or 0) + (row["output_tokens"] or 0),
            "why": REASONS.get(row["reason"], str(row["reason"]).replace("_", " ")),
        }
        for row in rows
    ]
