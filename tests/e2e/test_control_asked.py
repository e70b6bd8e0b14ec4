"""A running control asked about budgets: what the gateway denies, AuthZEN, a check and the hook deny too."""

import json
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
HOOK = {"hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": {"command": "pytest -q"}}


def asked(site: Any, made: dict[str, Any]) -> list[tuple[bool, str | None]]:
    """What the model gateway, AuthZEN and the hook say of one agent: whether, and by which code."""
    question = {
        "subject": {"type": "agent_instance", "id": made["instance_id"]},
        "action": {"name": "model.call"},
        "resource": {"type": "model", "id": "openai/gpt-5"},
    }
    key = made["gateway_key"]
    called, told = site.call(key), site.ask("POST", "/access/v1/evaluation", key, question).json()
    hook = site.ask("POST", "/hooks/claude-code", key, HOOK).json()["hookSpecificOutput"]
    ran = "budget" if "budget of" in hook["permissionDecisionReason"] else None
    return [
        (called.status_code == 200, called.json().get("error", {}).get("code")),
        (told["decision"], told["context"].get("code")),
        (hook["permissionDecision"] == "allow", ran),
    ]


def test_a_spent_budget_denies_on_every_wire(
    control_site: Any, told: Callable[..., Any], agent: Callable[..., Any]
) -> None:
    """As the gateway denies it, by its code, and nothing else has changed."""
    made = agent("spent")
    before = asked(control_site, made)
    told("budget", "set", "team", "spent", "--usd", "0")
    assert ([(True, None)] * 3, [(False, "budget")] * 3) == (before, asked(control_site, made))


def test_a_soft_budget_warns_in_a_header_a_row_and_once_in_the_log(
    control_site: Any, told: Callable[..., Any], agent: Callable[..., Any]
) -> None:
    """What passes it is let through."""
    made = agent("warned")
    told("budget", "set", "team", "warned", "--calls", "0", "--mode", "soft")
    answers = [control_site.call(made["gateway_key"]) for _ in range(2)]
    warning = "soft budget of team warned (total): 1 calls wanted, 0 calls left of 0 calls"
    assert [(200, warning)] * 2 == [(one.status_code, one.headers["x-headgate-warning"]) for one in answers]
    ids = tuple(one.headers["x-headgate-decision-id"] for one in answers)
    rows = control_site.seen(f"SELECT warnings FROM decisions WHERE decision_id = '{ids[1]}'")
    assert ([{"warnings": [warning]}], 1) == (rows, control_site.said().count(f"{warning}: passed"))
    listed = told("decisions", "--instance", made["instance_id"])
    assert [[warning]] * len(listed) == [one["warnings"] for one in listed]


def test_the_metadata_name_the_listener(control_site: Any) -> None:
    """Whatever host was asked."""
    found = control_site.ask("GET", "/.well-known/authzen-configuration", None)
    assert control_site.url("control", "") == json.loads(found.text)["policy_decision_point"]
