"""The ledger: tool calls, each in words, with what it touched and how it ended."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from headgate_console.queries.rows import Row, Where, fetch

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFilter:
    """Which tool calls to list; None does not filter. `search` looks in tool, resource, arguments and words."""

    session_id: str | None = None
    tool: str | None = None
    action: str | None = None
    result: str | None = None
    team: str | None = None
    since: datetime | None = None
    search: str | None = None
    limit: int = 50


_LEDGER = """
SELECT * FROM (
    SELECT tool_calls.*, coalesce(told.title, tool_calls.tool) AS title
    FROM tool_calls
    LEFT JOIN (
        SELECT session_id, ref_id, min(title) AS title FROM timeline WHERE ref_view = 'tool_calls' GROUP BY ALL
    ) AS told ON told.session_id = tool_calls.session_id AND told.ref_id = tool_calls.tool_call_id
)
"""


def ledger(connection: "duckdb.DuckDBPyConnection", wanted: LedgerFilter) -> list[Row]:
    """The last tool calls, oldest first: every column of `tool_calls`, and `title` in words."""
    where = Where()
    where.equals("session_id", wanted.session_id)
    where.equals("tool", wanted.tool)
    where.equals("action", wanted.action)
    where.equals("result_class", wanted.result)
    where.equals("team", wanted.team)
    if wanted.since is not None:
        where.add("start_time >= ?", wanted.since)
    if wanted.search is not None:
        where.add("contains(lower(concat_ws(' ', tool, resource, arguments, title)), lower(?))", wanted.search)
    query = f"{_LEDGER} {where.clause()} ORDER BY start_time DESC NULLS LAST, tool_call_id LIMIT ?"
    return fetch(connection, query, [*where.parameters, wanted.limit])[::-1]
