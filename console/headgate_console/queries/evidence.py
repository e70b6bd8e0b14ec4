"""What the views say of a session or a stop, for an archive of evidence."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from headgate_console.queries.rows import Row, fetch
from headgate_console.queries.sessions import find_session, session_timeline
from headgate_console.render.records import plain

if TYPE_CHECKING:
    import duckdb

_TRACED = ("model_calls", "tool_calls")


def session_rows(connection: "duckdb.DuckDBPyConnection", wanted: str) -> tuple[Row, Mapping[str, list[Row]]]:
    """A session, and its rows by the name of the view.

    Raises:
        CommandError: no session, or several, are called so; the message names them.
    """
    session = find_session(connection, wanted)
    session_id = session["session_id"]
    denied = "SELECT DISTINCT stop_id FROM decisions WHERE session_id = ? AND stop_id IS NOT NULL"
    stops = fetch(connection, denied, [session_id]) if "decisions" in _known(connection) else []
    return session, {
        "sessions": _plain([session]),
        "timeline": _plain(session_timeline(connection, session_id)),
        **effect_rows(connection, [row["stop_id"] for row in stops]),
    }


def trace_ids(connection: "duckdb.DuckDBPyConnection", session_id: str) -> frozenset[str]:
    """The traces in which a session called models and tools."""
    union = " UNION ".join(f"SELECT trace_id FROM {view} WHERE session_id = $1" for view in _TRACED)
    return frozenset(row["trace_id"] for row in fetch(connection, union, [session_id]) if row["trace_id"])


def stop_rows(connection: "duckdb.DuckDBPyConnection", stop_id: str) -> Mapping[str, list[Row]]:
    """What became of a stop, by the name of the view."""
    timeline = "SELECT * FROM timeline WHERE kind = 'stop' AND ref_id = ? ORDER BY session_id, seq"
    return {"timeline": _plain(fetch(connection, timeline, [stop_id])), **effect_rows(connection, [stop_id])}


def effect_rows(connection: "duckdb.DuckDBPyConnection", stop_ids: Iterable[str]) -> Mapping[str, list[Row]]:
    """What the enforcement points did about some stops; nothing where no view has it."""
    wanted = sorted(stop_ids)
    if "stop_effects" not in _known(connection) or not wanted:
        return {}
    found = fetch(connection, "SELECT * FROM stop_effects WHERE list_contains(?, stop_id)", [wanted])
    return {"stop_effects": _plain(found)}


def _known(connection: "duckdb.DuckDBPyConnection") -> set[str]:
    """The views that there are."""
    return {row["view_name"] for row in fetch(connection, "SELECT view_name FROM duckdb_views()")}


def _plain(rows: Iterable[Row]) -> list[Row]:
    return [{name: plain(value) for name, value in row.items()} for row in rows]
