"""The fleet and the head of a session as they are drawn."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from inline_snapshot import snapshot

from headgate_console.queries.sessions import SessionFilter, list_sessions
from headgate_console.render.calls import LEDGER, ledger_rows
from headgate_console.render.fleet import FLEET, fleet_rows, session_head
from headgate_console.render.money import cost_columns, cost_rows
from headgate_console.render.table import fit

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def rows(views: Any, session_row: Make) -> list[dict[str, Any]]:
    """A session of two agents, and one of which next to nothing is known."""
    nothing = dict.fromkeys(
        (
            "team",
            "workflow",
            "user_id",
            "task",
            "model_call_count",
            "input_tokens",
            "output_tokens",
            "cost_usd",
            "cache_read_tokens",
            "reasoning_tokens",
            "agent_name",
            "cost_priced_share",
        )
    )
    unknown = session_row(session_id="ab" * 16, agent_names=[], models=[], state="running", **nothing)
    partly = session_row(cost_priced_share=0.5)
    found = list_sessions(views({"sessions": [partly, unknown]}), SessionFilter())
    return sorted(found, key=lambda row: row["session_id"])


def _plain(lines: Any) -> str:
    return "\n" + "\n".join(line.plain for line in lines) + "\n"


def test_the_fleet_at_a_wide_terminal(rows: list[dict[str, Any]]) -> None:
    """What is unknown is a dash; what is priced in part is at least so much."""
    assert _plain(fit(FLEET, fleet_rows(rows, unicode=True), width=112).lines) == snapshot("""\

SESSION   STATE    AGENT      TEAM      WORKFLOW  STARTED (UTC)     TOOK  CALLS  TOOLS  ERRORS  TOKENS      COST
3f9c1c0b  done     fixer +1   payments  fix-tes…  11-13 02:13:20  41.0 s      6      5       1   43.3k  ≥$0.0813
abababab  running  claude-c…  –         –         11-13 02:13:20  41.0 s      –      5       1       –         –
""")


def test_the_head_of_a_session(rows: list[dict[str, Any]]) -> None:
    """Who ran, for whom, on what, what it took and cost."""
    assert _plain(session_head(rows[0], width=80)) == snapshot("""\

Session 3f9c1c0b000000000000000000000000  done after 41.0 s
  agent   fixer, reviewer · service claude-code
  when    2025-11-13 02:13:20 UTC
  who     ada · payments · fix-tests · identity claimed
  task    Fix the failing test in calc.py
  models  claude-sonnet-4-5
  did     6 model calls · 5 tool calls (1 failed) · 1 retry · 1 hand-off
  tokens  41.2k in (38.1k from cache) · 2.10k out (800 reasoning)
  cost    ≥$0.0813, 50 % of the calls priced
  key     thread-1 (attribute)
""")


def test_the_head_of_a_session_that_told_little(rows: list[dict[str, Any]]) -> None:
    """Nothing is made up: unknown is said."""
    assert _plain(session_head(rows[1], width=80)) == snapshot("""\

Session abababababababababababababababab  running
  agent   service claude-code
  when    2025-11-13 02:13:20 UTC
  who     identity claimed
  did     model calls unknown · 5 tool calls (1 failed) · 1 retry · 1 hand-off
  tokens  unknown
  cost    unknown: headgate cost --by model says why
  key     thread-1 (attribute)
""")


def test_the_bill_has_a_total() -> None:
    """Parts have bars for their share of the cost, the total stands below."""
    sums = {"sessions": 1, "model_calls": 4, "input_tokens": 5000, "cache_read_tokens": 0, "output_tokens": 100}
    total = {**sums, "cost_usd": Decimal("0.04"), "priced_share": 0.5}
    rows = [
        {**sums, "group_value": "payments", "cost_usd": Decimal("0.03"), "priced_share": 1.0},
        {**sums, "group_value": None, "cost_usd": None, "priced_share": 0.0},
    ]
    assert _plain(fit(cost_columns("team"), cost_rows(rows, total, unicode=True), width=100).lines) == snapshot("""\

TEAM      SESSIONS  CALLS  INPUT  CACHED  OUTPUT     COST  PRICED
payments         1      4  5.00k       0     100  $0.0300   100 %  █████████
(none)           1      4  5.00k       0     100        –     0 %
total            1      4  5.00k       0     100  $0.0400    50 %
""")


def test_the_ledger_shows_how_each_call_ended() -> None:
    """An exit code stands beside the result; a call that only was requested says so."""
    call = {"start_time": None, "session_id": "ab" * 16, "agent_name": None, "service_name": "s", "duration_ns": None}
    call |= {"tool": "bash", "side_effects": "local", "sensitivity": None, "decision": None}
    rows = [
        {**call, "title": "ran `pytest`", "state": "executed", "result_class": "error", "exit_code": 1},
        {**call, "title": "ran `ls`", "state": "requested", "result_class": "unknown", "exit_code": None},
    ]
    assert _plain(fit(LEDGER, ledger_rows(rows), width=100).lines) == snapshot("""\

TIME (UTC)  SESSION   AGENT  WHAT          RESULT     TOOK  TOOL  EFFECTS
–           abababab  s      ran `pytest`  error 1       –  bash  local
–           abababab  s      ran `ls`      requested     –  bash  local
""")
