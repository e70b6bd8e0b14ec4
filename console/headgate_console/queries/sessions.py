"""The fleet: which sessions there are, in what state, and which one a person means."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from headgate_console.errors import CommandError
from headgate_console.queries.rows import Row, Where, among, fetch, selected

if TYPE_CHECKING:
    import duckdb

CANDIDATES_MAX = 8
FOUND_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFilter:
    """Which sessions to list; None does not filter."""

    state: str | None = None
    team: str | None = None
    workflow: str | None = None
    user: str | None = None
    agent: str | None = None
    since: datetime | None = None
    limit: int = 20


def list_sessions(
    connection: "duckdb.DuckDBPyConnection", wanted: SessionFilter, *, columns: Sequence[str] | None = None
) -> list[Row]:
    """The sessions that were active last, newest first: some columns of `sessions`, by default every one."""
    where = Where()
    where.equals("state", wanted.state)
    where.equals("team", wanted.team)
    where.equals("workflow", wanted.workflow)
    where.equals("user_id", wanted.user)
    if wanted.agent is not None:
        where.add("(agent_name = ? OR list_contains(agent_names, ?))", wanted.agent, wanted.agent)
    if wanted.since is not None:
        where.add("last_activity_time >= ?", wanted.since)
    order = "ORDER BY last_activity_time DESC, session_id"
    # The columns that decide first, then what is shown of the few that are: a session is wide.
    latest = f"SELECT session_id FROM sessions {where.clause()} {order} LIMIT ?"
    ids = [row["session_id"] for row in fetch(connection, latest, [*where.parameters, wanted.limit])]
    return fetch(connection, f"SELECT {selected(columns)} FROM sessions WHERE {among('session_id', ids)} {order}", ids)


def states(connection: "duckdb.DuckDBPyConnection") -> dict[str, int]:
    """How many sessions are in each state, of the whole store."""
    rows = fetch(connection, "SELECT state, count(*) AS sessions FROM sessions GROUP BY ALL ORDER BY 2 DESC, 1")
    return {row["state"]: row["sessions"] for row in rows}


def find_session(connection: "duckdb.DuckDBPyConnection", wanted: str) -> Row:
    """The one session that a session id, a unique prefix of one, or the source's own key names.

    Raises:
        CommandError: none or several; the message names them.
    """
    rows = sessions_called(connection, wanted)
    if len(rows) == 1:
        return rows[0]
    if rows:
        raise CommandError(several(wanted, rows))
    message = (
        f"No session is called {wanted!r}. Give a session id, the first digits of one,"
        " or the agent's own key; see: headgate sessions"
    )
    raise CommandError(message)


def sessions_called(connection: "duckdb.DuckDBPyConnection", wanted: str) -> list[Row]:
    """The sessions with this id; if there is none, with this key of their own; else whose ids begin so."""
    query = (
        "SELECT session_id FROM sessions WHERE session_id = ?1 OR source_key = ?1"
        " OR starts_with(session_id, lower(?1))"
        " ORDER BY (session_id = lower(?1)) DESC, (source_key = ?1) DESC, last_activity_time DESC, session_id"
        f" LIMIT {FOUND_MAX}"
    )
    ids = [row["session_id"] for row in fetch(connection, query, [wanted])] if wanted else []
    rows_of = {
        row["session_id"]: row
        for row in fetch(connection, f"SELECT * FROM sessions WHERE {among('session_id', ids)}", ids)
    }
    found = [rows_of[session_id] for session_id in ids]
    exact = [row for row in found if wanted.lower() == row["session_id"]]
    keyed = [row for row in found if wanted == row["source_key"]]
    return exact or keyed or found


def several(wanted: str, rows: list[Row]) -> str:
    """What to say where several sessions are called so."""
    named = ", ".join(row["session_id"][:12] for row in rows[:CANDIDATES_MAX])
    more = f" and {len(rows) - CANDIDATES_MAX} more" if len(rows) > CANDIDATES_MAX else ""
    return f"{len(rows)} sessions match {wanted!r}: {named}{more}. Give more digits of the session id."


def session_timeline(connection: "duckdb.DuckDBPyConnection", session_id: str) -> list[Row]:
    """What happened in a session, in order: every column of `timeline`."""
    return fetch(connection, "SELECT * FROM timeline WHERE session_id = ? ORDER BY seq", [session_id])
