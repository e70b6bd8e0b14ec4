"""Tool calls in a table."""

from collections.abc import Sequence
from typing import Any

from headgate_console.render.fleet import ID_DIGITS
from headgate_console.render.numbers import UNKNOWN, duration, moment_of_year
from headgate_console.render.table import Column, Row

RESULT_STYLES = {"error": "red", "timeout": "red", "denied": "yellow", "cancelled": "yellow", "unknown": "dim"}


def _result(row: Row) -> str:
    return RESULT_STYLES.get(row["result_class"], "green")


LEDGER = (
    Column(key="start_time", title="TIME (UTC)", format=moment_of_year, rank=3),
    Column(key="session", title="SESSION", style="cyan", rank=1),
    Column(key="agent", title="AGENT", rank=4, shrink_to=8),
    Column(key="title", title="WHAT", shrink_to=24),
    Column(key="result", title="RESULT", style=_result),
    Column(key="duration_ns", title="TOOK", format=duration, align="right", rank=2),
    Column(key="tool", title="TOOL", rank=5, shrink_to=8),
    Column(key="side_effects", title="EFFECTS", rank=6),
    Column(key="sensitivity", title="SENSITIVITY", rank=7, hide_when_empty=True),
    Column(key="decision", title="DECISION", rank=8, hide_when_empty=True),
)

LEDGER_USES = (
    *("session_id", "tool_call_id", "agent_name", "service_name", "start_time", "duration_ns", "tool", "state"),
    *("result_class", "exit_code", "side_effects", "sensitivity", "decision"),
)
"""The columns of `tool_calls` that `ledger_rows` shows."""


def ledger_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows of the ledger with the cells that need more than one column."""
    return [
        {
            **row,
            "session": row["session_id"][:ID_DIGITS],
            "agent": row["agent_name"] or row["service_name"] or UNKNOWN,
            "result": _ended(row),
        }
        for row in rows
    ]


def _ended(row: Row) -> str:
    if row["state"] != "executed" and row["result_class"] == "unknown":
        return str(row["state"])
    code = f" {row['exit_code']}" if row["exit_code"] else ""
    return f"{row['result_class']}{code}"
