"""What goes with a session or a user: sessions, traces and metric points."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate_analytics.belongings import Anchors
from headgate_console.queries.rows import fetch
from headgate_processors.store.forgotten import session_ids_of

if TYPE_CHECKING:
    import duckdb

_RAW = ("spans", "span_events", "span_links", "log_events", "content")
_LISTED = "IN (SELECT unnest(?::VARCHAR[]))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Belongings:
    """Ids of sessions, traces and metric points, and how many rows of raw views they take away.

    `session_ids` are those of `sessions`, and those that a key of one of them would give by itself.
    """

    sessions: int
    session_ids: tuple[str, ...]
    trace_ids: tuple[str, ...]
    point_ids: tuple[str, ...]
    rows: int


def of_sessions(
    connection: "duckdb.DuckDBPyConnection", session_ids: Collection[str], stitched: Mapping[str, Anchors]
) -> Belongings:
    """Everything of these sessions: what stitching joined to them, and what came since with their keys."""
    mine = [stitched[session_id] for session_id in session_ids if session_id in stitched]
    ids = {*session_ids, *(key for one in mine for key in one.key_session_ids)}
    keys = _column(connection, "source_key", "sessions", f"session_source = 'attribute' AND session_id {_LISTED}", ids)
    traces = {trace for one in mine for trace in one.trace_ids} | _traces_of_keys(connection, keys, ids)
    named = f"json_extract_string(attributes, '$.\"session.id\"') {_LISTED}"
    points = _column(connection, "record_id", "metric_points", named, keys)
    return _counted(connection, len(session_ids), ids, traces, points)


def of_user(connection: "duckdb.DuckDBPyConnection", user_id: str, stitched: Mapping[str, Anchors]) -> Belongings:
    """Everything of a user: whole sessions, and every trace and point of which a record names the user."""
    named = f"user_id {_LISTED}"
    sessions = _column(connection, "session_id", "sessions", named, [user_id])
    traces = set()
    for view in ("spans", "log_events"):
        traces |= _column(connection, "trace_id", view, named, [user_id])
    sessions |= {session_id for session_id, one in stitched.items() if not traces.isdisjoint(one.trace_ids)}
    whole = of_sessions(connection, sessions, stitched)
    points = _column(connection, "record_id", "metric_points", named, [user_id])
    return _counted(
        connection,
        len(sessions),
        whole.session_ids,
        {*traces, *whole.trace_ids},
        {*points, *whole.point_ids},
    )


def _traces_of_keys(
    connection: "duckdb.DuckDBPyConnection", keys: Collection[str], session_ids: Collection[str]
) -> set[str]:
    """Traces of records with these keys, unsealed ones too; a key without its service may be another session's."""
    if not keys:
        return set()
    query = (
        "SELECT DISTINCT tenant, service_name, session_key, trace_id FROM {} WHERE trace_id IS NOT NULL AND session_key"
    )
    rows = [
        row
        for view in ("spans", "log_events")
        for row in fetch(connection, f"{query.format(view)} {_LISTED}", [sorted(keys)])
    ]
    wanted = set(session_ids)
    return {
        row["trace_id"]
        for row in rows
        if not wanted.isdisjoint(session_ids_of(row["tenant"], row["service_name"], row["session_key"]))
    }


def _column(
    connection: "duckdb.DuckDBPyConnection", column: str, view: str, condition: str, values: Iterable[str]
) -> set[str]:
    listed = sorted(values)
    if not listed:
        return set()
    query = f"SELECT DISTINCT {column} AS value FROM {view} WHERE {condition} AND {column} IS NOT NULL"
    return {row["value"] for row in fetch(connection, query, [listed])}


def _counted(
    connection: "duckdb.DuckDBPyConnection",
    sessions: int,
    session_ids: Collection[str],
    trace_ids: Collection[str],
    point_ids: Collection[str],
) -> Belongings:
    listed = sorted(trace_ids)
    counts = (f"SELECT count(*) AS rows FROM {view} WHERE trace_id IN (SELECT unnest(?1::VARCHAR[]))" for view in _RAW)
    rows = fetch(connection, f"SELECT sum(rows) AS rows FROM ({' UNION ALL '.join(counts)})", [listed])
    return Belongings(
        sessions=sessions,
        session_ids=tuple(sorted(session_ids)),
        trace_ids=tuple(listed),
        point_ids=tuple(sorted(point_ids)),
        rows=int(rows[0]["rows"]) + len(point_ids),
    )
