"""What belongs to a session or a user: every trace and record that has to go with it."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate_console.queries.rows import fetch
from headgate_processors.store.forgotten import session_ids_of

if TYPE_CHECKING:
    import duckdb

_ROUNDS_MAX = 20
_RAW = ("spans", "span_events", "span_links", "log_events", "content")


@dataclass(frozen=True, slots=True, kw_only=True)
class Belongings:
    """Ids of sessions, traces and metric points, and how many rows of raw views they take away."""

    session_ids: tuple[str, ...]
    trace_ids: tuple[str, ...]
    point_ids: tuple[str, ...]
    rows: int


def of_sessions(connection: "duckdb.DuckDBPyConnection", session_ids: Collection[str]) -> Belongings:
    """Everything of these sessions: traces of their calls, of their keys, and linked ones that no other session has."""
    wanted = sorted(session_ids)
    rows = fetch(
        connection,
        "SELECT source_key, session_source FROM sessions WHERE session_id IN (SELECT unnest(?::VARCHAR[]))",
        [wanted],
    )
    keys = sorted({row["source_key"] for row in rows if row["session_source"] == "attribute"})
    traces = {row["source_key"] for row in rows if row["session_source"] != "attribute"}
    traces |= _traces_of_calls(connection, wanted) | _traces_of_keys(connection, keys, frozenset(wanted))
    traces |= _linked(connection, traces, wanted)
    points = "json_extract_string(attributes, '$.\"session.id\"') IN (SELECT unnest(?::VARCHAR[]))"
    return _counted(connection, wanted, traces, _column(connection, "record_id", "metric_points", points, keys))


def of_user(connection: "duckdb.DuckDBPyConnection", user_id: str) -> Belongings:
    """Everything of a user: whole sessions, and every trace and point of which a record names the user."""
    named = "user_id IN (SELECT unnest(?::VARCHAR[]))"
    sessions = _column(connection, "session_id", "sessions", named, [user_id])
    traces = set()
    for view in ("spans", "log_events"):
        traces |= _column(connection, "trace_id", view, named, [user_id])
    for view in ("model_calls", "tool_calls"):
        condition = "trace_id IN (SELECT unnest(?::VARCHAR[]))"
        sessions |= _column(connection, "session_id", view, condition, traces)
    whole = of_sessions(connection, sessions)
    points = _column(connection, "record_id", "metric_points", named, [user_id])
    return _counted(connection, sessions, {*traces, *whole.trace_ids}, {*points, *whole.point_ids})


def _traces_of_calls(connection: "duckdb.DuckDBPyConnection", session_ids: Collection[str]) -> set[str]:
    condition = "session_id IN (SELECT unnest(?::VARCHAR[]))"
    views = ("model_calls", "tool_calls")
    return set().union(*(_column(connection, "trace_id", view, condition, session_ids) for view in views))


def _traces_of_keys(
    connection: "duckdb.DuckDBPyConnection", keys: Collection[str], session_ids: frozenset[str]
) -> set[str]:
    rows = [
        row
        for view in ("spans", "log_events")
        for row in fetch(
            connection,
            f"SELECT DISTINCT tenant, service_name, session_key, trace_id FROM {view} "
            "WHERE trace_id IS NOT NULL AND session_key IN (SELECT unnest(?::VARCHAR[]))",
            [sorted(keys)],
        )
    ]
    return {
        row["trace_id"]
        for row in rows
        if not session_ids.isdisjoint(session_ids_of(row["tenant"], row["service_name"], row["session_key"]))
    }


def _linked(connection: "duckdb.DuckDBPyConnection", traces: Collection[str], session_ids: Collection[str]) -> set[str]:
    """Traces that links join to these, however far, and that neither a key nor a call gives to another session."""
    query = """
WITH mine AS (SELECT unnest(?1::VARCHAR[]) AS trace_id),
near AS (
  SELECT linked_trace_id AS trace_id FROM span_links SEMI JOIN mine USING (trace_id)
  UNION SELECT trace_id FROM span_links WHERE linked_trace_id IN (FROM mine)
),
others AS (
  SELECT trace_id FROM model_calls WHERE session_id NOT IN (SELECT unnest(?2::VARCHAR[]))
  UNION SELECT trace_id FROM tool_calls WHERE session_id NOT IN (SELECT unnest(?2::VARCHAR[]))
  UNION SELECT trace_id FROM spans WHERE session_key IS NOT NULL AND trace_id IN (FROM near)
)
SELECT trace_id FROM near ANTI JOIN mine USING (trace_id) ANTI JOIN others USING (trace_id)
"""
    found: set[str] = set()
    for _ in range(_ROUNDS_MAX):
        rows = fetch(connection, query, [sorted({*traces, *found}), sorted(session_ids)])
        if not rows:
            break
        found |= {row["trace_id"] for row in rows}
    return found


def _column(
    connection: "duckdb.DuckDBPyConnection", column: str, view: str, condition: str, values: Iterable[str]
) -> set[str]:
    listed = sorted(values)
    if not listed:
        return set()
    rows = fetch(
        connection,
        f"SELECT DISTINCT {column} AS value FROM {view} WHERE {condition} AND {column} IS NOT NULL",
        [listed],
    )
    return {row["value"] for row in rows}


def _counted(
    connection: "duckdb.DuckDBPyConnection",
    session_ids: Collection[str],
    trace_ids: Collection[str],
    point_ids: Collection[str],
) -> Belongings:
    listed = sorted(trace_ids)
    counts = (f"SELECT count(*) AS rows FROM {view} WHERE trace_id IN (SELECT unnest(?1::VARCHAR[]))" for view in _RAW)
    rows = fetch(connection, f"SELECT sum(rows) AS rows FROM ({' UNION ALL '.join(counts)})", [listed])
    return Belongings(
        session_ids=tuple(sorted(session_ids)),
        trace_ids=tuple(listed),
        point_ids=tuple(sorted(point_ids)),
        rows=int(rows[0]["rows"]) + len(point_ids),
    )
