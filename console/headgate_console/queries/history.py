"""Recorded calls in the order in which they happened, for policies and manifests to be tried on."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from headgate_console.queries.rows import Row, Where

if TYPE_CHECKING:
    import duckdb

VIEWS = ("model_calls", "tool_calls", "sessions")
BATCH_ROWS = 10_000
_WHO = (
    "session_id, instance_id, identity_source, launched_by, user_id, team, workflow, repo, environment, task_class, "
    "risk_tier, policy_profile, runtime, start_time_unix_nano, duration_ns"
)
_MODEL = (
    f"'model_call' AS kind, model_call_id AS call_id, {_WHO}, provider, request_model, model, status, cost_usd, "
    "input_tokens, output_tokens"
)
_TOOL = (
    f"'tool_call' AS kind, tool_call_id AS call_id, {_WHO}, tool, mcp_server, action, resource AS resource, "
    "sensitivity, arguments, result_class, state, decision"
)


def recorded_rows(
    connection: "duckdb.DuckDBPyConnection", *, since: datetime | None = None, workflow: str | None = None
) -> tuple[int, Iterator[Row]]:
    """How many calls there are, and their rows, the oldest first; `success` is that of their session."""
    where = Where()
    where.equals("workflow", workflow)
    if since is not None:
        where.add("start_time >= ?", since)
    calls = (
        f"SELECT {_MODEL} FROM model_calls {where.clause()} "
        f"UNION ALL BY NAME SELECT {_TOOL} FROM tool_calls {where.clause()}"
    )
    parameters = [*where.parameters, *where.parameters]
    counted = connection.execute(f"SELECT count(*) FROM ({calls})", parameters).fetchone()
    query = (
        f"SELECT calls.*, sessions.success FROM ({calls}) AS calls LEFT JOIN sessions USING (session_id) "
        "ORDER BY start_time_unix_nano, call_id"
    )
    return (counted[0] if counted else 0), _rows(connection, query, parameters)


def _rows(connection: "duckdb.DuckDBPyConnection", query: str, parameters: list[object]) -> Iterator[Row]:
    cursor = connection.execute(query, parameters)
    names = [column[0] for column in cursor.description or ()]
    while batch := cursor.fetchmany(BATCH_ROWS):
        for values in batch:
            yield dict(zip(names, values, strict=True))
