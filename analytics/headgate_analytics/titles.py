"""One line for people about a tool call."""

from collections.abc import Callable

from headgate_analytics.rows import Row
from headgate_processors.enrich.actions import Action, ActionRules


def titles(rules: ActionRules) -> Callable[[Row], str]:
    """Titles of tool calls in the words of the action rules, with the host names that a site gives."""
    return lambda row: _title(row, rules)


def _title(row: Row, rules: ActionRules) -> str:
    """Such as "wrote `calc.py`", "ran `pytest`", "handed off to reviewer"; without a rule, the tool's name."""
    tool = str(row["tool"])
    if row["tool_type"] == "handoff":
        return f"handed off (`{tool}`)"
    if row["tool_type"] == "subagent":
        return f"started a sub-agent (`{tool}`)"
    return rules.title(_action(row), tool)


def _action(row: Row) -> Action | None:
    if row["action"] is None:
        return None
    return Action(**{name: row[name] for name in ("action", "resource", "sensitivity", "reversible", "side_effects")})  # type: ignore[arg-type]
