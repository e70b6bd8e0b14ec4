"""An instance on one screen, from records that say little, much, or something nasty."""

from decimal import Decimal
from typing import Any

import pytest

from headgate_console.render.instance import LISTED_MAX, told

BARE: dict[str, Any] = {
    "instance_id": "ai-1",
    "state": "created",
    "manifest_digest": "sha256:0",
    "launched_by": None,
    "lineage": ["ai-1"],
    "granted": [],
    "budgets": [],
    "stopped_by": None,
    "spent": {"model_calls": 0, "input_tokens": None, "output_tokens": None, "cost_usd": None, "not_ok": 0},
    "sessions": [],
    "models": [],
    "tools": [],
    "touched": [],
    "decided": [],
}
BUDGET = {
    "scope": "team",
    "target": "payments",
    "window": "day",
    "mode": "hard",
    **{f"limit_{unit}": None for unit in ("usd", "tokens", "calls", "seconds")},
    **{f"{what}_{unit}": 0 for what in ("settled", "reserved") for unit in ("tokens", "calls", "seconds")},
    **{f"{what}_usd": "0.000000000" for what in ("settled", "reserved")},
}


def lines(width: int = 100, **more: Any) -> list[str]:
    """The screen, line by line."""
    return [line.plain for line in told({**BARE, **more}, width=width)]


def answer(title: str, **more: Any) -> list[str]:
    """The lines below one question."""
    shown = lines(**more)
    below = shown[shown.index(title) + 1 :]
    return [line.strip() for line in below[: below.index("") if "" in below else None]]


def test_an_instance_that_did_nothing_has_seven_answers() -> None:
    """Those that have nothing say so, and none is made up."""
    assert ["nobody known", "no team, no workflow", "manifest sha256:0"] == answer("Who started it")
    for title in ("What it may do", "Which tools and models it used", "What it touched", "Which decisions it met"):
        assert ["nothing so far"] == answer(title)
    assert ["headgate stop instance ai-1 --reason TEXT"] == answer("How to stop it")
    assert "$0" not in " ".join(answer("What it spent"))


def test_a_child_names_its_line_and_what_it_takes_up() -> None:
    """With who launched whom."""
    found = answer(
        "Who started it", lineage=["ai-1", "ai-0", "ai-root"], restart_of="ai-9", user="ada", launched_by="ci"
    )
    assert ["ci, for ada", "launched by ai-0 ← ai-root", "takes up the work of ai-9"] == [found[0], *found[2:4]]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"limit_usd": "2.500000000", "settled_usd": "1.000000000"}, "$1.00 of $2.50, $0 reserved"),
        ({"limit_calls": 1000, "settled_calls": 100}, "100 calls of 1,000 calls, 0 calls reserved"),
        ({"limit_seconds": 60.0, "settled_seconds": 1.5}, "1.5 seconds of 60 seconds, 0 seconds reserved"),
    ],
)
def test_a_budget_says_what_is_left_of_it_and_whose_it_is(changed: dict[str, Any], expected: str) -> None:
    """In its own unit."""
    found = answer("What it spent", budgets=[{**BUDGET, **changed}])
    assert f"{expected} (team payments, day, hard)" == found[1]


def test_money_is_shown_as_far_as_it_is_known() -> None:
    """Without a figure for tokens that nobody counted."""
    spent = {
        "model_calls": 2,
        "input_tokens": 41_200,
        "output_tokens": None,
        "cost_usd": Decimal("0.0813"),
        "not_ok": 0,
    }
    assert "$0.0813 in 2 calls, 41.2k tokens in, – out" == answer("What it spent", spent=spent)[0]


def test_what_an_agent_wrote_does_not_move_the_cursor() -> None:
    """Names of tools, resources and reasons are its own, or those of whoever it read."""
    nasty = "\x1b[2J\x1b[1;1Hall is well\r\n\u202e"
    touched = [{"action": "command", "resource": nasty, "times": 1}]
    tools = [{"tool": nasty, "mcp_server": None, "calls": 1, "not_ok": 0}]
    decided = [{"effect": "deny", "code": "policy", "decisions": 1, "last_reason": nasty}]
    shown = lines(touched=touched, tools=tools, decided=decided)
    assert all(line.isprintable() for line in shown)
    assert 3 == sum("all is well" in line for line in shown)


def test_lists_are_cut_where_they_are_long_and_lines_where_they_are_wide() -> None:
    """One screen stays one screen."""
    touched = [{"action": "command", "resource": "x" * 200, "times": 1}] * 50
    assert LISTED_MAX == len(answer("What it touched", touched=touched))
    assert 60 == max(map(len, lines(60, touched=touched)))
