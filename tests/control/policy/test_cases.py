"""Golden cases: what is wrong in one is named, and every column of the log can be asked for."""

from pathlib import Path

import pytest

from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.cases import COLUMNS, Case, case_of, load_cases
from headgate_control.policy.engine import PolicyEngine
from headgate_control.policy.trial import decided, differences, setting
from headgate_control.request import Request, Resource, Subject
from headgate_processors.errors import ConfigError

ENGINE = PolicyEngine(bundle_of({"a.cedar": '@id("all") permit(principal, action, resource);'}))
HEAD = "cases:\n  - name: x\n    request: {action: tools/call, resource: {type: tool, id: t}}\n"
DENY = "    expect: {effect: deny}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("    expect: {effect: maybe}\n", r"cases\[0\]\.expect\.effect"),
        ("    expect: {effect: deny}\n    row: {colour: red}\n", "no column 'colour'"),
        ("    expect: {effect: deny}\n    instanse: {}\n", "did you mean 'instance'"),
        (f"{DENY}{HEAD.removeprefix('cases:')[1:]}{DENY}", "stands twice"),
    ],
)
def test_a_mistake_in_a_case_is_named(tmp_path: Path, text: str, expected: str) -> None:
    """With its file and key."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "a.yaml").write_text(HEAD + text)
    with pytest.raises(ConfigError, match=expected) as raised:
        load_cases(tmp_path)
    assert "a.yaml:" in str(raised.value)


def test_a_folder_without_cases_has_none(tmp_path: Path) -> None:
    """That is no mistake of its own."""
    assert {} == load_cases(tmp_path)


def test_every_column_of_the_log_can_be_expected() -> None:
    """And no other."""
    request = Request(
        subject=Subject(type="agent_instance", id="ai-1", properties={"team": "payments", "unheard_of": 5}),
        action="tools/call",
        resource=Resource(type="tool", id="t"),
    )
    logged = decided(setting(case_of(request), ENGINE))
    assert set(logged.row()) == COLUMNS


def test_what_differs_is_told_thing_by_thing() -> None:
    """The expected first."""
    made = Case.model_validate(
        {
            "name": "x",
            "request": {"action": "tools/call", "resource": {"type": "tool", "id": "t"}},
            "expect": {"effect": "deny", "policies": ["no"], "tiers": ["high"]},
            "row": {"action": "tools/call", "stop_epoch": 3},
        }
    )
    assert [
        "effect: expected 'deny', got 'allow (no code: all)'",
        "policies: expected ['no'], got ['all']",
        "tiers: expected ['high'], got []",
        "row.stop_epoch: expected 3, got 0",
    ] == [str(one) for one in differences(made, decided(setting(made, ENGINE)))]


def test_a_request_that_says_nonsense_of_its_instance_is_refused() -> None:
    """By name."""
    request = Request(
        subject=Subject(type="agent_instance", id="ai-1", properties={"team": 5}),
        action="tools/call",
        resource=Resource(type="tool", id="t"),
    )
    with pytest.raises(ConfigError, match=r"instance\.team"):
        case_of(request)
