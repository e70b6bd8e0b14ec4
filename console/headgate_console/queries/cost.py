"""What it cost, by anything that a call is known by, and what could not be priced and why.

A container that only carries totals (a crew, a workflow) fills its session's sums and no call. What a
session's sums hold beyond its calls is counted here too, so that every grouping has the same total. A session
whose agent reported no model calls at all is a row without tokens and cost, for its cost is unknown, not zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from headgate_console.queries.rows import Row, Where, fetch

if TYPE_CHECKING:
    import duckdb


class Group(StrEnum):
    """What cost can be grouped by."""

    TEAM = "team"
    WORKFLOW = "workflow"
    USER = "user"
    REPO = "repo"
    MODEL = "model"
    PROVIDER = "provider"
    SESSION = "session"
    AGENT = "agent"
    SERVICE = "service"
    TASK_CLASS = "task_class"
    ENVIRONMENT = "environment"
    OPERATION = "operation"
    PROMPT = "prompt"
    WORK_ITEM = "work_item"
    DAY = "day"


_EXPRESSIONS: Mapping[Group, str] = {
    Group.USER: "user_id",
    Group.SESSION: "session_id",
    Group.AGENT: "agent_name",
    Group.SERVICE: "service_name",
    Group.PROMPT: "prompt_name",
    Group.DAY: "strftime(start_time, '%Y-%m-%d')",
}
_WHO = "session_id, user_id, team, workflow, repo, environment, task_class, work_item, service_name, agent_name"


def _beyond(name: str) -> str:
    whole, calls = f"vague.{name}", f"coalesce(summed.{name}, 0)"
    return f"CASE WHEN {whole} > {calls} THEN {whole} - {calls} END AS {name}"


_CALLS = f"""
    SELECT {_WHO}, start_time, provider, coalesce(model, request_model) AS model, operation, prompt_name,
        1 AS calls, input_tokens, cache_read_tokens, output_tokens, cost_usd, cost_missing_reason,
        usage_missing_reason
    FROM model_calls
"""
_BEYOND = f"""
CREATE TEMP TABLE IF NOT EXISTS spent_beyond_calls AS
WITH vague AS MATERIALIZED (
    SELECT {_WHO}, start_time, models, model_call_count, input_tokens, cache_read_tokens, output_tokens, cost_usd
    FROM sessions
    WHERE model_call_count IS NULL
        OR (usage_source IS DISTINCT FROM 'reported' AND coalesce(input_tokens, output_tokens) IS NOT NULL)
),
summed AS (
    SELECT session_id, coalesce(sum(input_tokens), 0) AS input_tokens,
        coalesce(sum(cache_read_tokens), 0) AS cache_read_tokens,
        coalesce(sum(output_tokens), 0) AS output_tokens, coalesce(sum(cost_usd), 0) AS cost_usd
    FROM model_calls SEMI JOIN (FROM vague WHERE model_call_count > 0) USING (session_id) GROUP BY session_id
)
SELECT {", ".join(f"vague.{name}" for name in _WHO.split(", "))}, start_time, NULL::VARCHAR AS provider,
    CASE WHEN len(models) = 1 THEN models[1] END AS model, 'container' AS operation, NULL::VARCHAR AS prompt_name,
    0 AS calls,
    {_beyond("input_tokens")}, {_beyond("cache_read_tokens")}, {_beyond("output_tokens")}, {_beyond("cost_usd")},
    CASE WHEN model_call_count IS NULL AND vague.input_tokens IS NULL THEN 'no_calls_reported'
        ELSE 'totals_only' END AS cost_missing_reason,
    NULL::VARCHAR AS usage_missing_reason
FROM vague LEFT JOIN summed USING (session_id)
WHERE vague.input_tokens > coalesce(summed.input_tokens, 0)
    OR vague.output_tokens > coalesce(summed.output_tokens, 0)
    OR vague.cost_usd > coalesce(summed.cost_usd, 0)
    OR model_call_count IS NULL
"""
_SPENT = f"WITH spent AS ({_CALLS} UNION ALL BY NAME SELECT * FROM spent_beyond_calls)"

_SUMS = """
    count(DISTINCT hash(session_id)) AS sessions,
    sum(calls)::BIGINT AS model_calls,
    sum(input_tokens)::BIGINT AS input_tokens,
    sum(cache_read_tokens)::BIGINT AS cache_read_tokens,
    sum(output_tokens)::BIGINT AS output_tokens,
    sum(cost_usd)::DECIMAL(18,9) AS cost_usd,
    count(cost_usd) / count(*) AS priced_share
"""
_COUNTS = "count(cost_usd) AS priced_rows, count(*) AS rows"
# What all rows of one session have alike: no session is in two groups of these.
_OF_SESSIONS = frozenset(
    {Group.TEAM, Group.WORKFLOW, Group.USER, Group.REPO, Group.TASK_CLASS, Group.ENVIRONMENT, Group.WORK_ITEM}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostFilter:
    """Which calls count; None does not filter."""

    team: str | None = None
    workflow: str | None = None
    since: datetime | None = None


def _where(wanted: CostFilter) -> Where:
    where = Where()
    where.equals("team", wanted.team)
    where.equals("workflow", wanted.workflow)
    if wanted.since is not None:
        where.add("start_time >= ?", wanted.since)
    return where


def cost_by(connection: "duckdb.DuckDBPyConnection", group: Group, wanted: CostFilter) -> list[Row]:
    """One row per value of `group`, dearest first, what has no cost last."""
    return cost_table(connection, group, wanted)[0]


def cost_table(connection: "duckdb.DuckDBPyConnection", group: Group, wanted: CostFilter) -> tuple[list[Row], Row]:
    """The rows of `cost_by`, and those of `total_cost` over all of them."""
    where = _where(wanted)
    query = (
        f"{_SPENT} SELECT '{group.value}' AS group_by, {_EXPRESSIONS.get(group, group.value)}::VARCHAR AS group_value,"
        f" {_SUMS}, {_COUNTS} FROM spent {where.clause()} GROUP BY ALL"
        " ORDER BY cost_usd DESC NULLS LAST, model_calls DESC, group_value"
    )
    found = _spent(connection, query, where)
    total = _added(found) if found and group in _OF_SESSIONS else total_cost(connection, wanted)
    return [{name: value for name, value in row.items() if name not in {"priced_rows", "rows"}} for row in found], total


def total_cost(connection: "duckdb.DuckDBPyConnection", wanted: CostFilter) -> Row:
    """The same sums over everything."""
    where = _where(wanted)
    return _spent(connection, f"{_SPENT} SELECT {_SUMS} FROM spent {where.clause()}", where)[0]


def _spent(connection: "duckdb.DuckDBPyConnection", query: str, where: Where) -> list[Row]:
    """Ask what was spent; what sessions spent beyond their calls is worked out once for each connection."""
    connection.execute(_BEYOND)
    return fetch(connection, query, where.parameters)


def _added(rows: Sequence[Row]) -> Row:
    """The total of groups that share no session."""
    names = ("sessions", "model_calls", "input_tokens", "cache_read_tokens", "output_tokens", "cost_usd")
    known = {name: [row[name] for row in rows if row[name] is not None] for name in names}
    share = sum(row["priced_rows"] for row in rows) / sum(row["rows"] for row in rows)
    return {name: sum(values) if values else None for name, values in known.items()} | {"priced_share": share}


def unpriced(connection: "duckdb.DuckDBPyConnection", wanted: CostFilter) -> list[Row]:
    """What has no cost, by provider, model and reason, most calls first."""
    where = _where(wanted)
    where.add("cost_usd IS NULL")
    query = f"""{_SPENT}
        SELECT provider, model, coalesce(cost_missing_reason, usage_missing_reason) AS reason,
            count(DISTINCT hash(session_id)) AS sessions, sum(calls)::BIGINT AS model_calls,
            sum(input_tokens)::BIGINT AS input_tokens, sum(output_tokens)::BIGINT AS output_tokens
        FROM spent {where.clause()} GROUP BY ALL ORDER BY model_calls DESC, provider, model, reason"""
    return _spent(connection, query, where)
