"""What is valid in a bundle and probably not meant is said."""

import pytest

from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.check import warnings

ALL = '@id("all") permit(principal, action, resource);'
TOOLS = '@id("t") permit(principal, action == Headgate::Action::"tools/call", resource);'
LIFTED = 'unless { context.approved_tiers.contains("high") };'


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        (ALL, []),
        ("", ["no policy permits anything"]),
        (ALL + '@id("x") forbid(principal, action, resource == Headgate::Tool::"t");', ["x: a forbid without @reason"]),
        (
            ALL + '@id("x") @reason("r") forbid(principal, action, resource);',
            ["all: a forbid without a condition denies all that it permits"],
        ),
        (ALL + '@id("x") @reason("r") forbid(principal is Headgate::AgentInstance, action, resource);', []),
        (ALL + '@id("x") permit(principal, action, resource) when { false };', ["x: its condition is never true"]),
        (ALL + '@id("x") permit(principal, action, resource) unless { true };', ["x: its condition is never true"]),
        (
            TOOLS + '@id("x") @reason("r") forbid(principal, action in [Headgate::Action::"tools/call"], resource);',
            ["t: a forbid without a condition"],
        ),
        (
            ALL + TOOLS.replace("permit", '@reason("r") forbid'),
            [],
        ),
        (
            ALL + '@id("x") @reason("r") @approval("high") forbid(principal, action, resource) when'
            " { context.session.untrusted };",
            ["x: nothing lifts it once it is approved"],
        ),
        (
            ALL + '@id("x") @reason("r") @approval("boss") forbid(principal, action, resource) ' + LIFTED,
            ["x: @approval('boss') is none of low, medium, high"],
        ),
        (ALL + '@id("x") @reason("r") @approval("high") forbid(principal, action, resource) ' + LIFTED, []),
    ],
)
def test_what_is_probably_not_meant_is_warned_of(policies: str, expected: list[str]) -> None:
    """And nothing else is."""
    told = list(warnings(bundle_of({"a.cedar": policies})))
    assert len(expected) == len(told)
    assert expected == [sentence[: len(start)] for sentence, start in zip(told, expected, strict=True)]


def test_an_argument_that_no_policy_reads_is_named() -> None:
    """It was meant for one that is misspelt, or gone."""
    policy = '@id("p") permit(principal, action, resource) when { context.input has amount };'
    told = list(warnings(bundle_of({"a.cedar": policy}, {"amount": "Long", "amuont": "Long"})))
    assert ["arguments.yaml declares 'amuont', which no policy reads"] == told
