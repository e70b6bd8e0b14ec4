"""The timeline as it is drawn."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot

from headgate_console.render.timeline import LOOKS, timeline

Entry = Callable[..., dict[str, Any]]


@pytest.fixture
def entries(entry: Entry) -> list[dict[str, Any]]:
    """A session with a retry, an error, a hand-off and a denied call."""
    cost = {"cost_usd": Decimal("0.0123"), "status": "ok"}
    reviewer = {"actor": "reviewer", "depth": 1}
    return [
        entry(1, "task", "Fix the failing test in calc.py", at_s=0, actor="user"),
        entry(
            2, "model_call", "chat claude-sonnet-4-5", at_s=0.1, took_s=3.2, cost_so_far_usd=Decimal("0.0123"), **cost
        ),
        entry(3, "file_read", "read `calc.py`", at_s=3.3, took_s=0.02, status="ok"),
        entry(4, "retry", "429 rate_limit_error", at_s=7.6, status="error"),
        entry(5, "file_write", "wrote `calc.py`", at_s=12, took_s=0.02, status="ok"),
        entry(6, "handoff", "handed over to reviewer", at_s=12.2, took_s=20),
        entry(
            7,
            "model_call",
            "chat claude-sonnet-4-5",
            at_s=12.3,
            took_s=6.2,
            cost_so_far_usd=Decimal("0.0246"),
            **cost,
            **reviewer,
        ),
        entry(
            8,
            "command",
            "ran `python -m pytest -q tests/test_calc.py`",
            at_s=18.5,
            took_s=13.7,
            status="error",
            **reviewer,
        ),
        entry(9, "external_action", "called `payments`", at_s=32.3, took_s=3.2, status="denied"),
    ]


def _plain(entries: list[dict[str, Any]], width: int, *, unicode: bool = True) -> str:
    return "\n" + "\n".join(line.plain for line in timeline(entries, width=width, unicode=unicode)) + "\n"


def test_a_timeline_at_eighty_columns(entries: list[dict[str, Any]]) -> None:
    """Agents are indented, durations are bars on one scale, the cost adds up."""
    assert _plain(entries, 80) == snapshot("""\

   TIME  WHAT                                   TOOK  0 ──────── 35.5 s   SO FAR
 +0.0 s  ▶ Fix the failing test in calc.py
         ╭ fixer
 +0.1 s  ◆ chat claude-sonnet-4-5              3.2 s  ██                 $0.0123
 +3.3 s  ○ read `calc.py`                      20 ms   ▏
 +7.6 s  ↻ 429 rate_limit_error  error
+12.0 s  ✎ wrote `calc.py`                     20 ms       ▏
+12.2 s  ⇢ handed over to reviewer            20.0 s       ██████████
         │ ╭ reviewer
+12.3 s  │ ◆ chat claude-sonnet-4-5            6.2 s       ████          $0.0246
+18.5 s  │ ❯ ran `python -m pytest -…  error  13.7 s          ███████
+32.3 s  ↗ called `payments`  denied           3.2 s                 ██
""")


def test_a_wide_timeline(entries: list[dict[str, Any]]) -> None:
    """A wider terminal gives longer titles and longer bars."""
    assert _plain(entries, 120) == snapshot("""\

   TIME  WHAT                                                        TOOK  0 ─────────────────────────── 35.5 s   SO FAR
 +0.0 s  ▶ Fix the failing test in calc.py
         ╭ fixer
 +0.1 s  ◆ chat claude-sonnet-4-5                                   3.2 s  ███                                   $0.0123
 +3.3 s  ○ read `calc.py`                                           20 ms     ▏
 +7.6 s  ↻ 429 rate_limit_error  error
+12.0 s  ✎ wrote `calc.py`                                          20 ms              ▏
+12.2 s  ⇢ handed over to reviewer                                 20.0 s              █████████████████████
         │ ╭ reviewer
+12.3 s  │ ◆ chat claude-sonnet-4-5                                 6.2 s              ███████                   $0.0246
+18.5 s  │ ❯ ran `python -m pytest -q tests/test_calc.py`  error   13.7 s                    ███████████████
+32.3 s  ↗ called `payments`  denied                                3.2 s                                  ████
""")


def test_a_narrow_timeline_gives_up_its_bars(entries: list[dict[str, Any]]) -> None:
    """Sixty columns hold times, titles and cost."""
    assert _plain(entries, 60) == snapshot("""\

   TIME  WHAT                                  TOOK   SO FAR
 +0.0 s  ▶ Fix the failing test in calc.py
         ╭ fixer
 +0.1 s  ◆ chat claude-sonnet-4-5             3.2 s  $0.0123
 +3.3 s  ○ read `calc.py`                     20 ms
 +7.6 s  ↻ 429 rate_limit_error  error
+12.0 s  ✎ wrote `calc.py`                    20 ms
+12.2 s  ⇢ handed over to reviewer           20.0 s
         │ ╭ reviewer
+12.3 s  │ ◆ chat claude-sonnet-4-5           6.2 s  $0.0246
+18.5 s  │ ❯ ran `python -m pytest…  error   13.7 s
+32.3 s  ↗ called `payments`  denied          3.2 s
""")


def test_a_timeline_in_ascii(entries: list[dict[str, Any]]) -> None:
    """A terminal without Unicode gets marks of its own."""
    drawn = _plain(entries, 80, unicode=False)
    assert drawn == snapshot("""\

   TIME  WHAT                                   TOOK  0 -------- 35.5 s   SO FAR
 +0.0 s  > Fix the failing test in calc.py
         + fixer
 +0.1 s  * chat claude-sonnet-4-5              3.2 s  ##                 $0.0123
 +3.3 s  r read `calc.py`                      20 ms   |
 +7.6 s  ~ 429 rate_limit_error  error
+12.0 s  w wrote `calc.py`                     20 ms       |
+12.2 s  @ handed over to reviewer            20.0 s       ##########
         | + reviewer
+12.3 s  | * chat claude-sonnet-4-5            6.2 s       ####          $0.0246
+18.5 s  | $ ran `python -m pytest...  error  13.7 s          #######
+32.3 s  ^ called `payments`  denied           3.2 s                 ##
""")
    assert drawn.isascii()


def test_errors_and_refusals_are_coloured(entries: list[dict[str, Any]]) -> None:
    """A failed command is red, a denied one yellow."""
    drawn = timeline(entries, width=80)
    styles = {"error": set[str](), "denied": set[str]()}
    for line in drawn:
        for word, seen in styles.items():
            seen.update(str(s.style) for s in line.spans if line.plain[s.start : s.end].strip() == word)
    assert {"error": {"red"}, "denied": {"yellow"}} == styles


def test_nothing_happened() -> None:
    """A session without rows draws nothing."""
    assert [] == timeline([], width=80)


def test_a_single_agent_is_not_named_on_a_line_of_its_own(entry: Entry) -> None:
    """Where one agent did everything there is no need to say so again."""
    assert 3 == len(
        timeline([entry(1, "task", "Go", at_s=0, actor="user"), entry(2, "model_call", "chat", at_s=1)], width=80)
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.integers(min_value=40, max_value=200))
def test_every_line_fits(entry: Entry, data: st.DataObject, width: int) -> None:
    """Whatever the titles, depths and times, no line is longer than the terminal is wide."""
    kinds = st.sampled_from([*LOOKS, "unheard_of"])
    seconds = st.floats(min_value=0, max_value=1e6)
    rows = [
        entry(
            seq,
            data.draw(kinds),
            data.draw(st.text(max_size=60)),
            at_s=data.draw(seconds),
            took_s=data.draw(st.none() | seconds),
            depth=data.draw(st.integers(min_value=0, max_value=12)),
            actor=data.draw(st.sampled_from([None, "user", "a", "a very long name of an agent " * 4])),
            status=data.draw(st.sampled_from([None, "ok", "error", "in_flight"])),
            cost_usd=data.draw(st.none() | st.just(Decimal("0.1"))),
            cost_so_far_usd=Decimal("123.4"),
        )
        for seq in range(data.draw(st.integers(min_value=1, max_value=6)))
    ]
    assert all(line.cell_len <= width for line in timeline(rows, width=width))
