"""What calls have spent in the window of a budget that is open, as the store tells it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from headgate_console.queries.rows import Where, fetch

if TYPE_CHECKING:
    import duckdb

VIEWS = ("model_calls", "sessions")
NS_PER_S = 1_000_000_000
_BEGINS: dict[str, dict[str, int]] = {
    "hour": {"minute": 0, "second": 0, "microsecond": 0},
    "day": {"hour": 0, "minute": 0, "second": 0, "microsecond": 0},
    "month": {"day": 1, "hour": 0, "minute": 0, "second": 0, "microsecond": 0},
}
_WHOSE = {
    "team": "team",
    "user": "user_id",
    "workflow": "workflow",
    "task_class": "task_class",
    "model": "provider || '/' || request_model",
    "instance": "instance_id",
}
_LIVES = frozenset({"instance", "session"})
"""Scopes whose whole life a budget in total is about."""
_SPENT = """
    SELECT count(*)::BIGINT AS calls, coalesce(sum(cost_usd), 0) AS usd,
        coalesce(sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)), 0)::BIGINT AS tokens,
        coalesce(sum(duration_ns) // 1000000, 0)::BIGINT AS duration_ms,
        (count(*) FILTER (WHERE cost_usd IS NULL AND status <> 'error'))::BIGINT AS unpriced
    FROM model_calls
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpentBefore:
    """What a window held before anybody was held to it; `unpriced` of the calls have no known cost."""

    usd: Decimal
    tokens: int
    calls: int
    duration_ms: int
    unpriced: int

    def opening(self, at_unix_nano: int) -> dict[str, Any]:
        """As control takes it."""
        amounts = {"tokens": self.tokens, "calls": self.calls, "duration_ms": self.duration_ms}
        return {"usd": str(self.usd), **amounts, "at_unix_nano": at_unix_nano}


def begins_before(scope: str, window: str) -> bool:
    """Whether a new budget counts what was spent before it: one in total does for what lives but once."""
    return window in _BEGINS or (window == "total" and scope in _LIVES)


def spent_before(
    connection: "duckdb.DuckDBPyConnection", scope: str, target: str | None, window: str, at_unix_nano: int
) -> SpentBefore:
    """What calls of a scope have spent in the window of this moment; those denied, and answers kept, are none."""
    where = Where(parts=["status <> 'denied'", "response_cache_hit IS NOT TRUE"])
    if scope == "session":
        where.add("session_id IN (SELECT session_id FROM sessions WHERE source_key = ?)", target)
    elif scope != "platform":
        where.equals(_WHOSE[scope], target)
    if window in _BEGINS:
        moment = datetime.fromtimestamp(at_unix_nano // NS_PER_S, UTC)
        where.add("start_time >= ?", moment.replace(**_BEGINS[window]))  # type: ignore[arg-type]
    (row,) = fetch(connection, f"{_SPENT} {where.clause()}", where.parameters)
    return SpentBefore(**{**row, "usd": Decimal(row["usd"])})
