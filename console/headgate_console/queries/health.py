"""What the doctor asks the views: who sends what, and what could not be read, counted or priced."""

from typing import TYPE_CHECKING

from headgate_console.queries.rows import Row, fetch

if TYPE_CHECKING:
    import duckdb

KEYS_MAX = 12

_RECORDS = """
    SELECT 'span' AS record, dialect, service_name, scope_name, name, attributes, time_suspect, received_unix_nano
    FROM spans
    UNION ALL BY NAME
    SELECT 'log' AS record, dialect, service_name, scope_name, event_name AS name, attributes, time_suspect,
        received_unix_nano
    FROM log_events
"""


def received(connection: "duckdb.DuckDBPyConnection") -> list[Row]:
    """How many rows each dataset holds, and when the last one came."""
    parts = [
        f"SELECT '{name}' AS dataset, count(*) AS rows, max(received_unix_nano) AS last_received_unix_nano FROM {name}"
        for name in ("spans", "log_events", "metric_points")
    ]
    return fetch(connection, " UNION ALL ".join(parts))


def dialects_seen(connection: "duckdb.DuckDBPyConnection") -> list[Row]:
    """Which services speak each dialect that a table knows."""
    query = f"""
        SELECT dialect, list(DISTINCT service_name ORDER BY service_name) AS services,
            count(*) FILTER (record = 'span') AS spans, count(*) FILTER (record = 'log') AS logs,
            max(received_unix_nano) AS last_received_unix_nano
        FROM ({_RECORDS}) WHERE dialect IS NOT NULL GROUP BY dialect ORDER BY dialect"""
    return fetch(connection, query)


def unknown_agents(connection: "duckdb.DuckDBPyConnection") -> list[Row]:
    """Records that no dialect reads: who sends them, in which scope, under which names and attribute keys."""
    query = f"""
        WITH unread AS (SELECT * FROM ({_RECORDS}) WHERE dialect IS NULL),
        keyed AS (
            SELECT service_name, scope_name, key, count(*) AS uses
            FROM unread, unnest(json_keys(attributes)) AS keys(key) GROUP BY ALL
        ),
        listed AS (
            SELECT service_name, scope_name, list(key ORDER BY uses DESC, key)[:{KEYS_MAX}] AS attribute_keys
            FROM keyed GROUP BY ALL
        )
        SELECT unread.service_name, unread.scope_name, count(*) AS records,
            list(DISTINCT name ORDER BY name)[:{KEYS_MAX}] AS names, any_value(attribute_keys) AS attribute_keys
        FROM unread LEFT JOIN listed
            ON unread.service_name IS NOT DISTINCT FROM listed.service_name
            AND unread.scope_name IS NOT DISTINCT FROM listed.scope_name
        GROUP BY ALL ORDER BY records DESC, 1, 2"""
    return fetch(connection, query)


def without_usage(connection: "duckdb.DuckDBPyConnection") -> list[Row]:
    """Sessions that ran an agent and reported no tokens, by service and dialect."""
    query = """
        SELECT service_name, dialects, count(*) AS sessions, sum(coalesce(model_call_count, 0))::BIGINT AS model_calls
        FROM sessions WHERE input_tokens IS NULL AND output_tokens IS NULL AND coalesce(model_call_count, 1) > 0
        GROUP BY ALL ORDER BY sessions DESC, service_name"""
    return fetch(connection, query)


def identities(connection: "duckdb.DuckDBPyConnection") -> list[Row]:
    """Sessions by how their agent instance is known."""
    query = """
        SELECT coalesce(identity_source, 'unknown') AS identity_source, count(*) AS sessions,
            count(team) AS with_team, count(user_id) AS with_user
        FROM sessions GROUP BY 1 ORDER BY sessions DESC, 1"""
    return fetch(connection, query)


def suspect_times(connection: "duckdb.DuckDBPyConnection") -> list[Row]:
    """Records whose time cannot be right, by service."""
    query = f"""
        SELECT service_name, count(*) AS records FROM ({_RECORDS})
        WHERE time_suspect GROUP BY 1 ORDER BY records DESC, 1"""
    return fetch(connection, query)
