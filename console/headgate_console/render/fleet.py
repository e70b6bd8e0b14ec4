"""The fleet and single sessions in words: the table of sessions, and the head of one."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from rich.text import Text

from headgate_console.render.numbers import (
    UNKNOWN,
    count,
    duration,
    moment,
    moment_of_year,
    money,
    plural,
    share,
    tokens,
)
from headgate_console.render.table import Column, Row, clip, one_line

STATE_STYLES = {
    "running": "green",
    "done": "",
    "abandoned": "yellow",
    "stuck": "red",
    "looping": "red",
    "stopped": "red",
}
ID_DIGITS = 8
WIDE = 72


def _state(row: Row) -> str:
    return STATE_STYLES.get(row["state"], "")


def _errors(row: Row) -> str:
    return "red" if row["tool_error_count"] else ""


FLEET = (
    Column(key="session", title="SESSION", style="cyan"),
    Column(key="state", title="STATE", style=_state),
    Column(key="agent", title="AGENT", shrink_to=8),
    Column(key="team", title="TEAM", rank=5, shrink_to=8, hide_when_empty=True),
    Column(key="workflow", title="WORKFLOW", rank=6, shrink_to=8, hide_when_empty=True),
    Column(key="user_id", title="USER", rank=9, shrink_to=8, hide_when_empty=True),
    Column(key="start_time", title="STARTED (UTC)", format=moment_of_year, rank=7),
    Column(key="duration_ns", title="TOOK", format=duration, align="right", rank=1),
    Column(key="model_call_count", title="CALLS", format=count, align="right", rank=2),
    Column(key="tool_call_count", title="TOOLS", format=count, align="right", rank=3),
    Column(key="tool_error_count", title="ERRORS", format=count, align="right", rank=4, style=_errors),
    Column(key="tokens", title="TOKENS", format=tokens, align="right", rank=1),
    Column(key="cost", title="COST", align="right"),
    Column(key="task", title="TASK", rank=8, shrink_to=16, style="dim"),
)

FLEET_USES = (
    *("session_id", "state", "agent_name", "agent_names", "service_name", "team", "workflow", "user_id", "task"),
    *("start_time", "duration_ns", "model_call_count", "tool_call_count", "tool_error_count"),
    *("input_tokens", "output_tokens", "cost_usd", "cost_priced_share"),
)
"""The columns of `sessions` that `fleet_rows` shows."""


def fleet_rows(rows: Sequence[Row], *, unicode: bool) -> list[dict[str, Any]]:
    """Rows of `sessions` with the cells that need more than one column."""
    return [
        {
            **row,
            "session": row["session_id"][:ID_DIGITS],
            "agent": agents(row),
            "tokens": add(row["input_tokens"], row["output_tokens"]),
            "cost": cost(row, unicode=unicode),
            "task": row["task"] or UNKNOWN,
        }
        for row in rows
    ]


def fleet_summary(states: Mapping[str, int], *, shown: int) -> Text:
    """How many sessions there are, by state, and how to see one."""
    total = sum(states.values())
    parts = ", ".join(f"{number:,} {state}" for state, number in states.items())
    more = f"{shown:,} of " if shown < total else ""
    return Text(f"{more}{plural(total, 'session')}: {parts}. One of them: headgate session ID", "dim")


def agents(row: Row) -> str:
    """The agent of a session, and how many more took part."""
    names = row["agent_names"] or []
    first = row["agent_name"] or (names[0] if names else row["service_name"]) or UNKNOWN
    more = len([name for name in names if name != first])
    return f"{first} +{more}" if more else str(first)


def add(*values: int | None) -> int | None:
    """The sum of what is known; None when nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def cost(row: Row, *, unicode: bool = True) -> str:
    """The cost; where only a part could be priced, that it is at least so much."""
    priced: float | None = row["cost_priced_share"]
    partly = row["cost_usd"] is not None and priced is not None and priced < 1
    return (("≥" if unicode else ">=") if partly else "") + money(row["cost_usd"])


def session_head(row: Row, *, width: int, unicode: bool = True) -> list[Text]:
    """Who ran, for whom, on what, what it took and cost: a few lines of at most `width` cells."""
    dot = " · " if unicode else ", "
    facts = {
        "agent": _agent_line(row, dot),
        "when": f"{moment(row['start_time'])} UTC",
        "who": _who_line(row, dot),
        "task": one_line(row["task"] or ""),
        "models": ", ".join(row["models"] or []),
        "did": _did_line(row, dot),
        "tokens": _tokens_line(row, dot),
        "cost": _cost_line(row, unicode=unicode),
        "key": f"{one_line(row['source_key'] or '')} ({row['session_source']})",
    }
    lines = [_first_line(row, whole_id=width >= WIDE)]
    for name, fact in facts.items():
        if fact:
            line = Text(f"  {name:<7} ", style="dim")
            lines.append(Text().append_text(line).append(clip(fact, width - 10, unicode=unicode)))
    return lines


def _first_line(row: Row, *, whole_id: bool) -> Text:
    line = Text()
    line.append(f"Session {row['session_id'] if whole_id else row['session_id'][:ID_DIGITS]}", "bold cyan")
    line.append(f"  {row['state']}", STATE_STYLES.get(row["state"], "") or "bold")
    line.append(f" after {duration(row['duration_ns'])}" if row["state"] != "running" else "")
    return line


def _agent_line(row: Row, dot: str) -> str:
    names = list(dict.fromkeys(filter(None, [row["agent_name"], *(row["agent_names"] or [])])))
    service = [f"service {row['service_name']}"] if row["service_name"] and row["service_name"] not in names else []
    seen = [f"seen by {', '.join(row['witnesses'])}"] if set(row["witnesses"] or ()) - {"client"} else []
    return dot.join([*filter(None, [", ".join(names)]), *service, *seen])


def _who_line(row: Row, dot: str) -> str:
    named = [row[name] for name in ("user_id", "team", "workflow", "repo", "environment") if row[name]]
    return dot.join([*named, f"identity {row['identity_source'] or 'unknown'}"])


def _did_line(row: Row, dot: str) -> str:
    calls = row["model_call_count"]
    parts = [plural(calls, "model call") if calls is not None else "model calls unknown"]
    failed = f" ({row['tool_error_count']} failed)" if row["tool_error_count"] else ""
    parts.append(plural(row["tool_call_count"], "tool call") + failed)
    for name, one, many in (
        ("retry_count", "retry", "retries"),
        ("handoff_count", "hand-off", ""),
        ("denied_count", "denied", "denied"),
        ("intervention_count", "decision by a person", "decisions by people"),
    ):
        if row[name]:
            parts.append(plural(row[name], one, many))
    return dot.join(parts)


def _tokens_line(row: Row, dot: str) -> str:
    if row["input_tokens"] is None and row["output_tokens"] is None:
        return "unknown"
    cached = f" ({tokens(row['cache_read_tokens'])} from cache)" if row["cache_read_tokens"] else ""
    thought = f" ({tokens(row['reasoning_tokens'])} reasoning)" if row["reasoning_tokens"] else ""
    return f"{tokens(row['input_tokens'])} in{cached}{dot}{tokens(row['output_tokens'])} out{thought}"


def _cost_line(row: Row, *, unicode: bool) -> str:
    spent: Decimal | None = row["cost_usd"]
    if spent is None:
        return "unknown: headgate cost --by model says why"
    priced: float | None = row["cost_priced_share"]
    partly = f", {share(priced)} of the calls priced" if priced is not None and priced < 1 else ""
    return cost(row, unicode=unicode) + partly
