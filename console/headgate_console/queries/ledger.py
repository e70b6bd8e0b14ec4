"""The ledger: tool calls, each in words, with what it touched and how it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from headgate_console.queries.rows import Row, Where, among, fetch, selected

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


def ledger(
    connection: "duckdb.DuckDBPyConnection", wanted: LedgerFilter, *, columns: Sequence[str] | None = None
) -> list[Row]:
    """The last tool calls, oldest first, and `title` in words.

    Every column of `tool_calls`, or `columns` alone, of which `session_id`, `tool_call_id` and `tool` are needed.
    """
    where = Where()
    where.equals("session_id", wanted.session_id)
    where.equals("tool", wanted.tool)
    where.equals("action", wanted.action)
    where.equals("result_class", wanted.result)
    where.equals("team", wanted.team)
    if wanted.since is not None:
        where.add("start_time >= ?", wanted.since)
    if wanted.search is not None:
        where.add(_SAID, wanted.search, wanted.search)
    order = "ORDER BY start_time DESC NULLS LAST, tool_call_id"
    # The columns that decide first, then the others and the words of the few that are shown.
    last = f"SELECT session_id, tool_call_id FROM tool_calls {where.clause()} {order} LIMIT ?"
    found = fetch(connection, last, [*where.parameters, wanted.limit])
    sessions = list(dict.fromkeys(row["session_id"] for row in found))
    calls = list(dict.fromkeys(row["tool_call_id"] for row in found))
    mine = among("session_id", sessions)
    rows = fetch(
        connection,
        f"SELECT {selected(columns)} FROM tool_calls WHERE {mine} AND {among('tool_call_id', calls)} {order}",
        [*sessions, *calls],
    )
    titles = _titles(connection, sessions, calls)
    named = (row | {"title": titles.get((row["session_id"], row["tool_call_id"]), row["tool"])} for row in rows)
    return list(named)[::-1]


_SAID = """(
    contains(lower(concat_ws(' ', tool, resource, arguments)), lower(?))
    OR tool_call_id IN (
        SELECT ref_id FROM timeline WHERE ref_view = 'tool_calls' AND contains(lower(title), lower(?))
    )
)"""


def _titles(
    connection: "duckdb.DuckDBPyConnection", sessions: Sequence[str], calls: Sequence[str]
) -> Mapping[tuple[str, str], str]:
    """What the timeline calls some tool calls, by session and call."""
    query = f"""
        SELECT session_id, ref_id, min(title) AS title FROM timeline
        WHERE ref_view = 'tool_calls' AND {among("session_id", sessions)} AND {among("ref_id", calls)} GROUP BY ALL"""
    rows = fetch(connection, query, [*sessions, *calls])
    return {(row["session_id"], row["ref_id"]): row["title"] for row in rows}
