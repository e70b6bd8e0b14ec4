"""What the views say of a session or a stop, for an archive of evidence."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from headgate_console.queries.rows import Row, fetch
from headgate_console.queries.sessions import find_session, session_timeline
from headgate_console.render.records import plain

if TYPE_CHECKING:
    import duckdb

CUT_WITHIN_NS = 30_000_000_000
"""A call that a stop has cut ends so soon after it."""
_ABOUT = {
    "platform": "true",
    "team": "team = $2",
    "workflow": "workflow = $2",
    "identity": "user_id = $2",
    "model": "$2 IN (provider || '/' || request_model, provider || '/' || model)",
    "instance": "$2 IN (instance_id, parent_instance_id, root_instance_id)",
    "session": "(session_id = $2 OR session_id IN (SELECT session_id FROM sessions WHERE source_key = $2))",
}
"""By the scope of a stop, which rows of calls it is about."""
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
    """What became of a stop, by the name of the view: the calls that it cut among them."""
    cut = cut_calls(connection, stop_id)
    timeline = """
        SELECT * FROM timeline
        WHERE (kind = 'stop' AND ref_id = $1) OR (ref_view = 'model_calls' AND list_contains($2, ref_id))
           OR (ref_view = 'decisions' AND ref_id IN (SELECT decision_id FROM decisions WHERE stop_id = $1))
        ORDER BY session_id, seq
    """
    if "decisions" not in _known(connection):
        return {}
    return {
        "timeline": _plain(fetch(connection, timeline, [stop_id, [row["model_call_id"] for row in cut]])),
        "model_calls": _plain(cut),
        **effect_rows(connection, [stop_id]),
    }


def cut_calls(connection: "duckdb.DuckDBPyConnection", stop_id: str) -> list[Row]:
    """The calls that ran when a stop came, are what it is about, and ended then because they were stopped."""
    if not {"stops", "model_calls", "sessions"} <= _known(connection):
        return []
    found = fetch(connection, "SELECT scope, target, accepted_unix_nano FROM stops WHERE stop_id = ?", [stop_id])
    if not found or (about := _ABOUT.get(str(found[0]["scope"]))) is None or found[0]["accepted_unix_nano"] is None:
        return []
    query = f"""
        SELECT * FROM model_calls WHERE error_type = 'stopped' AND status <> 'denied'
          AND start_time_unix_nano <= $1 + {CUT_WITHIN_NS} AND end_time_unix_nano BETWEEN $1 AND $1 + {CUT_WITHIN_NS}
          AND $2 IS NOT NULL AND {about}
        ORDER BY start_time_unix_nano, model_call_id
    """
    return fetch(connection, query, [found[0]["accepted_unix_nano"], found[0]["target"] or ""])


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
