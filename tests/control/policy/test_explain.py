"""A decision taken apart agrees with the decision."""

from typing import Any

import pytest

from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.cases import Case
from headgate_control.policy.engine import PolicyEngine
from headgate_control.policy.explain import Explanation, explain
from headgate_control.policy.trial import setting

POLICIES = """
@id("all") permit(principal, action, resource);
@id("no") @reason("never") forbid(principal, action, resource == Headgate::Tool::"delete");
@id("ask") @approval("high") forbid(principal, action, resource == Headgate::Tool::"merge")
  unless { context.approved_tiers.contains("high") };
@id("other") forbid(principal in Headgate::Team::"search", action, resource);
"""
STEP_OF = {"stopped": "stops", "paused": "stops", "stale": "feed", "approval": "policy"}


def explained(tool: str = "read", **case: Any) -> Explanation:
    """The explanation of a case about a tool."""
    request = {"action": "tools/call", "resource": {"type": "tool", "id": tool}}
    made = Case.model_validate({"name": "x", "request": request, "expect": {"effect": "allow"}, **case})
    tried = setting(made, PolicyEngine(bundle_of({"a.cedar": POLICIES})))
    return explain(tried.request, tried.snapshot, tried.whole_moment())


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"tool": "delete"},
        {"tool": "merge"},
        {"tool": "merge", "facts": {"approved_tiers": ["high"]}},
        {"stops": [{"scope": "platform"}]},
        {"stops": [{"scope": "team", "id": "x", "mode": "pause"}], "instance": {"team": "x"}},
        {"stale": True},
        {"instance": {"registered": False}},
        {"instance": {"expired": True}},
        {"instance": {"state": "revoked"}},
        {"instance": {"team": "search"}},
        {"manifest": {"tools": [{"tool": "other"}]}},
        {"manifest": {"tools": [{"tool": "read", "approval": "low"}]}},
        {"budgets": [{"scope": "platform", "calls": 1, "spent": {"calls": 1}}], "estimate": {"calls": 1}},
    ],
)
def test_the_first_step_that_objects_is_the_one_that_decided(case: dict[str, Any]) -> None:
    """And where none does, it is allowed."""
    found = explained(**case)
    objected = [step.step for step in found.steps if step.verdict in {"denied", "approval"}]
    code = found.decision.code
    if case.get("manifest", {}).get("tools", [{}])[0].get("approval"):
        assert ("manifest", "approval") == (objected[0], code)
    else:
        assert (STEP_OF.get(code, code) if code else None) == (objected[0] if objected else None)


def test_policies_that_could_match_are_listed_with_what_they_did() -> None:
    """Those of another team are not: they were never looked at."""
    found = explained("delete")
    assert [("all", "permit", False), ("no", "forbid", True)] == [
        (one.policy_id, one.effect, one.determined) for one in found.looked_at
    ]
    assert 4 == found.policies
