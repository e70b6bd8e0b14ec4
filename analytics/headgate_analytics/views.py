"""The views of analysts: the store's, with the state of sessions told against the watermark."""

from collections.abc import Collection
from pathlib import Path

import duckdb

from headgate_analytics.control_views import control_views_sql, needed
from headgate_analytics.schema import DERIVED, SESSIONS
from headgate_processors.store import ReaderConfig, StoreReader

IDLE_GAP_NS = 30 * 60 * 1_000_000_000


def session_view_sql(*, idle_gap_ns: int = IDLE_GAP_NS, now_unix_nano: int | None = None) -> str:
    """Statements that put the moving state over the stored sessions.

    A session is `done` when a root ended, `abandoned` when none did and it was idle for longer than the gap,
    else `running`; idle is measured against the latest activity of any session whose times can be right, or
    against `now_unix_nano`.
    """
    watermark = (
        str(now_unix_nano)
        if now_unix_nano is not None
        else ("(SELECT max(last_activity_time_unix_nano) FROM stored_sessions WHERE NOT time_suspect)")
    )
    idle = f"{watermark} - last_activity_time_unix_nano > {idle_gap_ns}"
    state = f"CASE WHEN state <> 'running' THEN state WHEN {idle} THEN 'abandoned' ELSE 'running' END"
    return f"""
ALTER VIEW sessions RENAME TO stored_sessions;
CREATE VIEW sessions AS
SELECT * REPLACE (
  {state} AS state,
  CASE WHEN state = 'running' AND {idle} THEN 'idle for longer than ' || ({idle_gap_ns} // 60000000000) || ' minutes'
       ELSE state_reason END AS state_reason,
  CASE WHEN {state} = 'running' THEN NULL ELSE last_activity_time_unix_nano END AS end_time_unix_nano,
  CASE WHEN {state} = 'running' THEN NULL ELSE last_activity_time END AS end_time
)
FROM stored_sessions;
"""


def told_views_sql(*, idle_gap_ns: int = IDLE_GAP_NS, now_unix_nano: int | None = None) -> str:
    """Every statement that goes over the views of a store: sessions as they stand, and control's records."""
    return session_view_sql(idle_gap_ns=idle_gap_ns, now_unix_nano=now_unix_nano) + control_views_sql(
        now_unix_nano=now_unix_nano
    )


def open_views(
    folder: Path,
    *,
    idle_gap_ns: int = IDLE_GAP_NS,
    now_unix_nano: int | None = None,
    only: Collection[str] | None = None,
    config: ReaderConfig | None = None,
) -> duckdb.DuckDBPyConnection:
    """A read-only connection with every raw, derived and control view of a store, or with those that `only` names.

    Raises:
        StoreError: there is no store, or it is newer or damaged.
    """
    asked = None if only is None else needed(only)
    connection = StoreReader(folder, derived=DERIVED, only=asked, config=config or ReaderConfig()).connect()
    if asked is None or SESSIONS.name in asked:
        # A connection shows one state of the store: its newest record is found once, not by every question.
        now = _newest_unix_nano(connection) if now_unix_nano is None else now_unix_nano
        connection.execute(session_view_sql(idle_gap_ns=idle_gap_ns, now_unix_nano=now))
    if statements := control_views_sql(only=only, now_unix_nano=now_unix_nano):
        connection.execute(statements)
    return connection


def _newest_unix_nano(connection: duckdb.DuckDBPyConnection) -> int | None:
    found = connection.execute("SELECT max(last_activity_time_unix_nano) FROM sessions WHERE NOT time_suspect")
    newest: tuple[int | None] | None = found.fetchone()
    return newest[0] if newest else None
