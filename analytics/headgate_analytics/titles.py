"""One line for people about a tool call."""

from headgate_analytics.rows import Row
from headgate_processors.enrich.actions import Action
from headgate_processors.enrich.actions import title as action_title


def title(row: Row) -> str:
    """Such as "wrote `calc.py`", "ran `pytest`", "handed off to reviewer"; without a rule, the tool's name."""
    tool = str(row["tool"])
    if row["tool_type"] == "handoff":
        return f"handed off (`{tool}`)"
    if row["tool_type"] == "subagent":
        return f"started a sub-agent (`{tool}`)"
    return action_title(_action(row), tool)


def _action(row: Row) -> Action | None:
    if row["action"] is None:
        return None
    return Action(**{name: row[name] for name in ("action", "resource", "sensitivity", "reversible", "side_effects")})  # type: ignore[arg-type]
