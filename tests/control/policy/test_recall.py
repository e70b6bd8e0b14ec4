"""A recorded decision asked again: what is the same, what is not, and what nobody can say."""

from dataclasses import replace
from typing import Any

import pytest

from headgate_control.decide.core import Moment, Snapshot, decide
from headgate_control.decide.decision import Logged
from headgate_control.manifests.grant import Grant
from headgate_control.manifests.load import parse_manifest
from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.engine import PolicyEngine
from headgate_control.policy.recall import Recalled, recall, request_of
from headgate_control.request import ActionName, Request, Resource, Subject
from headgate_control.stops.stop import Stop
from headgate_control.stops.stop_set import StopSet
from headgate_control.testing.identities import NOW, instance
from headgate_processors.errors import ConfigError

MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: fixer}
spec:
  models: [{provider: openai, model: "*"}]
  tools: [{tool: read_file}, {tool: "*", mcp_server: github}, {tool: write, arguments: {path: {path: [src]}}}]
  commands: ["pytest *"]
"""
GRANT = parse_manifest(MANIFEST, {}, source="manifest")
ALL = '@id("all") permit(principal, action, resource);'
NO_MERGE = '@id("no-merge") forbid(principal, action, resource == Headgate::Tool::"github/merge");'
TIRED = '@id("tired") forbid(principal, action, resource) when { context.session.errors > 9 };'
BIG = """@id("big") forbid(principal, action == Headgate::Action::"tools/call", resource)
when { context.input has amount && context.input.amount > 5 };"""


def snapshot(*policies: str, grant: Grant = GRANT, **more: Any) -> Snapshot:
    """A state with one instance."""
    found = replace(instance("ai-1"), manifest_digest=grant.digest)
    engine = PolicyEngine(bundle_of({"a.cedar": "\n".join(policies)}, {"amount": "Long"}))
    return Snapshot(instances={"ai-1": found}, grants={grant.digest: grant}, policy=engine, **more)


def row(action: ActionName, kind: str, named: str, then: Snapshot | None = None, **changed: Any) -> dict[str, Any]:
    """The row of a decision that was made then, as the view has it."""
    resource = Resource(type=kind, id=named)
    request = Request(
        subject=Subject(type="agent_instance", id="ai-1"),
        action=action,
        resource=resource.as_tool() if action == "tools/call" else resource,
        context={"session": "s1", "input": {"amount": 5}},
    )
    logged = Logged(
        decision_id="dec-1",
        time_unix_nano=NOW,
        request=request,
        decision=decide(request, then or snapshot(ALL), Moment(at_unix_nano=NOW)),
        enforcement_point="test",
        latency_ns=0,
    )
    found = logged.row()
    return {**found, "session_key": found.pop("session"), **changed}


def asked(found: Recalled) -> dict[str, list[str]]:
    """What is unknown and asked for, and by whom."""
    return {one.what: list(one.asked_by) for one in found.unknown if one.asked_by}


def test_what_nothing_has_changed_for_is_the_same_and_certain() -> None:
    """With the policies that determine it."""
    found = recall(row("tools/call", "tool", "github/merge"), snapshot(ALL), at_unix_nano=NOW)
    assert (True, True, ("all",)) == (found.same, found.certain, tuple(found.explanation.decision.policy_ids))
    assert ["feed", "budget"] == [one.step for one in found.explanation.steps if one.verdict == "not asked"]


def test_a_policy_that_came_since_decides_otherwise() -> None:
    """Of a tool of a server by its whole name."""
    found = recall(row("tools/call", "tool", "github/merge"), snapshot(ALL, NO_MERGE), at_unix_nano=NOW)
    assert (False, True, "deny", ("no-merge",)) == (
        found.same,
        found.certain,
        found.explanation.decision.effect,
        tuple(found.explanation.decision.policy_ids),
    )


def test_what_is_not_recorded_is_said_with_those_that_ask_for_it() -> None:
    """Arguments and what the session had done are in no record, so the answer may be another one."""
    found = recall(row("tools/call", "tool", "write"), snapshot(ALL, TIRED, BIG), at_unix_nano=NOW)
    assert (True, False) == (found.same, found.certain)
    assert {"context.input": ["big", "the manifest"], "context.session": ["tired"]} == asked(found)
    told = {"context.budget", "context.content_classes", "context.approved_tiers", "identities"}
    assert told <= {one.what for one in found.unknown}


@pytest.mark.parametrize(
    ("code", "told"), [("budget", "what its budgets had left"), ("rate", "how many calls"), ("stale", "how long ago")]
)
def test_what_was_denied_outside_of_policies_is_not_asked_again(code: str, told: str) -> None:
    """It is allowed now as far as is known, which is not said to be certain."""
    denied = row("model.call", "model", "openai/gpt-5", effect="deny", code=code)
    found = recall(denied, snapshot(ALL), at_unix_nano=NOW)
    assert (False, False, [f"the {code} step"]) == (found.same, found.certain, asked(found)[code])
    assert told in next(one.told for one in found.unknown if one.what == code)


def test_of_a_command_its_first_word_is_known() -> None:
    """The manifest asks for the rest; the digest in the log gives nothing of it away."""
    found = recall(row("proc.exec", "command", "pytest -q --token secret"), snapshot(ALL), at_unix_nano=NOW)
    assert ("pytest", ["the manifest"], False) == (
        request_of(row("proc.exec", "command", "pytest -q --token secret")).resource.id,
        asked(found)["resource.id"],
        found.certain,
    )


def test_a_stop_of_a_trace_holds_for_a_call_that_names_no_session() -> None:
    """By the trace that its record has."""
    held = Stop(
        stop_id="stop-1",
        key=("session", "0af7"),
        mode="stop",
        reason="it loops",
        author="ada",
        accepted_unix_nano=NOW,
        epoch=1,
    )
    traced = row("model.call", "model", "openai/gpt-5", session_key=None, trace_id="0af7")
    found = recall(traced, snapshot(ALL, stops=StopSet.of([held], epoch=1)), at_unix_nano=NOW)
    assert "stopped" == found.explanation.decision.code


def test_a_stop_that_holds_now_is_certain_whatever_is_unknown() -> None:
    """So is an instance that is over: neither asks for what is not recorded."""
    stop = Stop(
        stop_id="stop-1",
        key=("team", "payments"),
        mode="stop",
        reason="fire",
        author="ada",
        accepted_unix_nano=NOW,
        epoch=1,
    )
    held = snapshot(ALL, TIRED, BIG, stops=StopSet.of([stop], epoch=1))
    over = snapshot(ALL, TIRED)
    over = replace(over, instances={"ai-1": over.instances["ai-1"].with_state("revoked")})
    found = [recall(row("tools/call", "tool", "read_file"), now, at_unix_nano=NOW) for now in (held, over)]
    assert [(False, True, "stopped"), (False, True, "identity")] == [
        (one.same, one.certain, one.explanation.decision.code) for one in found
    ]


def test_an_action_of_another_version_is_an_error() -> None:
    """It says so."""
    with pytest.raises(ConfigError, match="about 'fly', an action that this version does not know"):
        request_of({**row("model.call", "model", "openai/gpt-5"), "action": "fly"})
