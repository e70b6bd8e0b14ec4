"""`headgate policy explain --decision`: a decision of the store, asked again by control's state as it is."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headgate_console.control.place import Place
from headgate_console.testing.commands import Run, runner
from headgate_control.decide.core import Moment, decide
from headgate_control.decide.decision import Logged
from headgate_control.identity.launch import Launch, launch
from headgate_control.manifests.load import parse_manifest
from headgate_control.policy.engine import PolicyEngine
from headgate_control.policy.starter.files import starter_bundle
from headgate_control.request import Request, Resource, Subject
from headgate_control.state import ControlState
from headgate_control.store.opening import open_sqlite
from headgate_gateways.model.told import decision_attributes
from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.port import Sender
from headgate_processors.testing.otlp import logs_request, to_json

NOW = 1_790_000_000_000_000_000
CONTROL = Sender(role="control", subject="spiffe://headgate.internal/control/one")
MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: fixer, team: payments}
spec: {tools: [{tool: "*", mcp_server: github}]}
"""
NO_MERGE = """
@id("no-merge") @reason("nothing is merged")
forbid(principal, action, resource == Headgate::Tool::"github/merge");
"""


@pytest.fixture
def decided(workbench: Any) -> str:
    """The id of a decision that let an agent merge, in a store beside the control state that it was made by."""
    place = Place(data=workbench.folder)
    place.folder.mkdir(parents=True)
    with closing(open_sqlite(place.database, writer="control")) as store:
        state = ControlState(store, PolicyEngine(starter_bundle()))
        grant = parse_manifest(MANIFEST, {}, source="manifest")
        instance = launch(store, state.now.snapshot, Launch(grant=grant, launched_by="ada")).instance
        snapshot = state.refresh().snapshot
    request = Request(
        subject=Subject(type="agent_instance", id=instance.instance_id),
        action="tools/call",
        resource=Resource(type="tool", id="merge", properties={"server": "github"}),
        context={"session": "s1", "input": {"number": 5}},
    )
    logged = Logged(
        decision_id="dec-01KB0EXAMPLE",
        time_unix_nano=NOW,
        request=request,
        decision=decide(request, snapshot, Moment(at_unix_nano=instance.created_unix_nano)),
        enforcement_point="control",
        latency_ns=9,
    )
    record = {
        "time_unix_nano": NOW,
        "event_name": "headgate.decision",
        "attributes": dict(decision_attributes(logged, instance)),
    }
    told = logs_request([record], resource={"service.name": "headgate-control"}, scope="headgate.control")
    workbench.ingest([(Signal.LOGS, json.loads(to_json(told)))], sender=CONTROL)
    return logged.decision_id


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], workbench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `headgate policy` on that folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADGATE_DATA", str(workbench.folder))
    return runner(capsys, "policy")


def test_a_recorded_decision_is_asked_again(run: Run, decided: str) -> None:
    """By the beginning of its id, under the policies that decide here: nothing has changed, nothing is asked for."""
    told = run("explain", "--decision", decided[:8], "--json")
    assert 0 == told.code, told.err
    found = json.loads(told.out)[0]
    assert (decided, True, True, "allow", "allow") == (
        found["decision_id"],
        found["same"],
        found["certain"],
        found["then"]["effect"],
        found["now"]["effect"],
    )
    assert found["then"]["policy_digest"] == found["now"]["policy_digest"]
    assert ["the arguments of the call"] == [one["told"] for one in found["unknown"] if one["what"] == "context.input"]
    assert [
        {"policy_id": "manifest-rules", "effect": "permit", "determined": True, "reason": "the manifest grants it"}
    ] == (found["looked_at"])


def test_a_draft_says_which_recorded_decisions_it_would_change(run: Run, decided: str) -> None:
    """With what was decided then, what would be now, and what nobody knows any more."""
    run("init", "policy")
    Path("policy/merge.cedar").write_text(NO_MERGE)
    told = run("explain", "policy", "--decision", decided)
    lines = told.out.splitlines()
    assert 0 == told.code, told.err
    assert lines[0].startswith(f"{decided}: tools/call of github/merge by ai-")
    assert [
        "then  allow: the manifest grants it",
        "now   deny: nothing is merged",
        "Today, under other policies: another decision.",
    ] == lines[1:4]
    assert "context.input" in told.out


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("--decision", "dec-nobody"), 1, "none is called 'dec-nobody'"),
        (("--decision", "dec-0", "--case", "x"), 2, "give one of"),
        (("--decision", "dec-0", "--approved", "high"), 2, "a recorded decision has its own manifest"),
        (("--case", "x"), 2, "of which folder?"),
    ],
)
def test_what_cannot_be_explained_says_why(
    run: Run, decided: str, arguments: tuple[str, ...], code: int, expected: str
) -> None:
    """And nothing is guessed."""
    told = run("explain", *arguments)
    assert (code, True, decided) == (told.code, expected in told.err, decided)
