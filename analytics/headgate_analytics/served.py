"""MCP servers that no trace context reached: their spans are traces of their own, inside the call that they served.

A served call belongs to the call of the same tool that encloses it in time, whichever of both arrives first.
"""

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

SLACK_NS = 100_000_000
NEAR_MAX = 256

SCHEMA = """
CREATE TABLE tools (
  tenant TEXT, tool TEXT, served INTEGER, start INTEGER, until INTEGER, anchor INTEGER,
  PRIMARY KEY (tenant, tool, served, start, until, anchor)
) WITHOUT ROWID;
CREATE INDEX tools_of ON tools (anchor, served);
"""
TEMPORARY = "CREATE TEMP TABLE calls (tenant TEXT, tool TEXT, start INTEGER, until INTEGER)"

# Claude Code hides the names of MCP tools unless told to show them: such a call may be any tool's.
_HIDDEN = frozenset({"mcp_tool"})
_ANY = ""
_WITHIN = f"""
SELECT tools.anchor, min(calls.until - calls.start) FROM calls CROSS JOIN tools ON
  tools.tenant = calls.tenant AND tools.tool = calls.tool AND served = 1
  AND tools.start BETWEEN calls.start - {SLACK_NS} AND calls.until + {SLACK_NS}
WHERE tools.until <= calls.until + {SLACK_NS} GROUP BY tools.anchor
"""
_AROUND = f"""
SELECT until - start, start, until, anchor FROM (
  SELECT * FROM tools WHERE tenant = ? AND tool = ? AND served = 0 AND start <= ? ORDER BY start DESC LIMIT {NEAR_MAX}
) WHERE until >= ? AND anchor <> ? ORDER BY 1, 2, 3 LIMIT 2
"""


class ToolSpan(NamedTuple):
    """One run of an MCP tool; `served` when a server tells of it that knows no caller."""

    tool: str
    served: bool


class Run(NamedTuple):
    """When a tool ran, and in which anchor, by its number."""

    tenant: str
    span: ToolSpan
    start_unix_nano: int
    end_unix_nano: int
    anchor: int


def remember(database: sqlite3.Connection, runs: Iterable[Run]) -> dict[int, int]:
    """Keep runs in the table `tools`; the served anchors that may have another caller now.

    Each comes with how long the shortest of the new calls around it took, in nanoseconds; 0 when it is new itself.
    """
    rows: list[tuple[str, str, bool, int, int, int]] = []
    for run in runs:
        tool = _ANY if run.span.tool in _HIDDEN else run.span.tool
        names = {tool, _ANY} if run.span.served else {tool}
        rows += [(run.tenant, name, run.span.served, *run[2:]) for name in names]
    database.executemany("INSERT OR IGNORE INTO tools VALUES (?, ?, ?, ?, ?, ?)", sorted(rows))
    database.execute("DELETE FROM calls")
    calls = ((tenant, tool, start, until) for tenant, tool, served, start, until, _ in rows if not served)
    database.executemany("INSERT INTO calls VALUES (?, ?, ?, ?)", calls)
    return dict(database.execute(_WITHIN).fetchall()) | {row[-1]: 0 for row in rows if row[2]}


def caller_of(database: sqlite3.Connection, anchor: int) -> tuple[int, int] | None:
    """The anchor of the call that encloses a served run of this one most closely, and how long that call took."""
    found = [
        call
        for tenant, tool, start, until in database.execute(
            "SELECT tenant, tool, start, until FROM tools WHERE anchor = ? AND served = 1", (anchor,)
        )
        for call in database.execute(_AROUND, (tenant, tool, start + SLACK_NS, until - SLACK_NS, anchor))
    ]
    if not found:
        return None
    *closest, caller = min(found)
    tied = {call[-1] for call in found if [*call[:-1]] == closest}
    if len(tied) > 1:
        # Numbers come in the order of arrival, names do not.
        caller = min(tied, key=lambda one: database.execute("SELECT name FROM nodes WHERE id = ?", (one,)).fetchone())
    return caller, closest[0]
