"""Which rows of derived tables count: per session the highest revision, of one revision the last written."""

from headgate_processors.store.relation import SqlColumn, SqlTable

SEQUENCE = "write_sequence"
REMOVED = "removed_sessions"
SESSIONS = "sessions"

_SESSION = SqlColumn(name="session_id", type="VARCHAR")
_REVISION = SqlColumn(name="revision", type="BIGINT")
_SEQUENCE = SqlColumn(name=SEQUENCE, type="BIGINT")

VERSION = SqlTable(name=SESSIONS, columns=(_SESSION, _REVISION, _SEQUENCE))
TOMBSTONE = SqlTable(name=REMOVED, columns=(_SESSION, _SEQUENCE))
KEY = f"session_id, revision, {SEQUENCE}"


def current_sql(*, fresh: str, settled: str, removed: str) -> str:
    """Of every session in a file that is not settled: the version that counts, unless it was removed since.

    `fresh` and `settled` give the versions of sessions in files that are not settled, and in those that are;
    `removed` gives tombstones.
    """
    return f"""
WITH fresh AS ({fresh}),
removed AS (SELECT session_id, max({SEQUENCE}) AS removed_sequence FROM ({removed}) GROUP BY session_id),
versions AS (
  SELECT * FROM fresh
  UNION ALL
  SELECT * FROM ({settled})
    SEMI JOIN (SELECT session_id FROM fresh UNION ALL SELECT session_id FROM removed) USING (session_id)
)
SELECT {KEY} FROM versions LEFT JOIN removed USING (session_id)
WHERE removed_sequence IS NULL OR {SEQUENCE} >= removed_sequence
QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY revision DESC, {SEQUENCE} DESC) = 1"""


def stale_sql(*, fresh: str, settled: str, removed: str, current: str) -> str:
    """Sessions whose rows in settled files no longer count; `current` names the table of `current_sql`."""
    return f"""
WITH touched AS (SELECT session_id FROM ({fresh}) UNION SELECT session_id FROM ({removed}))
SELECT session_id FROM touched
ANTI JOIN (SELECT session_id FROM ({settled}) SEMI JOIN {current} USING ({KEY})) USING (session_id)"""
