"""What an instance did, from the views: its sessions, what it called and touched, what it spent, what was decided."""

from typing import TYPE_CHECKING, Any

from headgate_console.queries.opening import open_views
from headgate_console.queries.rows import fetch

if TYPE_CHECKING:
    from headgate_console.settings import Settings

LISTED_MAX = 12
_VIEWS = ("sessions", "model_calls", "tool_calls", "decisions")
_SPENT = """
    SELECT count(*) FILTER (WHERE status <> 'denied') AS model_calls,
        sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
        sum(cost_usd) AS cost_usd, count(*) FILTER (WHERE status NOT IN ('ok', 'in_flight', 'denied')) AS not_ok
    FROM model_calls WHERE instance_id = ?
"""
_SESSIONS = """
    SELECT session_id, state, task, last_activity_time FROM sessions
    WHERE instance_id = ? ORDER BY last_activity_time DESC LIMIT ?
"""
_MODELS = """
    SELECT coalesce(model, request_model) AS model, count(*) AS calls FROM model_calls
    WHERE instance_id = ? AND status <> 'denied' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?
"""
_TOOLS = """
    SELECT tool, mcp_server, count(*) AS calls, count(*) FILTER (WHERE result_class NOT IN ('ok', 'empty')) AS not_ok
    FROM tool_calls WHERE instance_id = ? GROUP BY ALL ORDER BY 3 DESC, 1 LIMIT ?
"""
_TOUCHED = """
    SELECT action, resource, count(*) AS times FROM tool_calls
    WHERE instance_id = ? AND resource IS NOT NULL GROUP BY ALL ORDER BY 3 DESC, 1, 2 LIMIT ?
"""
_DECIDED = """
    SELECT effect, code, count(*) AS decisions, max(time) AS last_time, arg_max(reason, time) AS last_reason
    FROM decisions WHERE instance_id = ? GROUP BY ALL ORDER BY 3 DESC
"""


def acts(settings: "Settings", instance_id: str) -> dict[str, Any]:
    """`spent`, and lists `sessions`, `models`, `tools`, `touched`, `decided`, each of `LISTED_MAX` at most.

    Raises:
        StoreError: the folder holds no store.
    """
    connection = open_views(settings, only=_VIEWS)
    return {
        "spent": fetch(connection, _SPENT, [instance_id])[0],
        "sessions": fetch(connection, _SESSIONS, [instance_id, LISTED_MAX]),
        "models": fetch(connection, _MODELS, [instance_id, LISTED_MAX]),
        "tools": fetch(connection, _TOOLS, [instance_id, LISTED_MAX]),
        "touched": fetch(connection, _TOUCHED, [instance_id, LISTED_MAX]),
        "decided": fetch(connection, _DECIDED, [instance_id]),
    }
