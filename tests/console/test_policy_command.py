"""`headgate policy`: what a bundle says before it decides anything."""

import json
from importlib import resources
from pathlib import Path

import pytest

from headgate_console.testing.commands import Run, runner

FORBID = (
    '@id("no-delete") @reason("nothing is deleted") forbid(principal, action, resource == Headgate::Tool::"delete");'
)
CASES = """
cases:
  - name: nothing is deleted
    request: {action: tools/call, resource: {type: tool, id: delete}}
    expect: {effect: deny, code: policy, policies: [no-delete], reason: nothing is deleted}
    row: {policy_ids: [no-delete], effect: deny}
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `headgate policy` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return runner(capsys, "policy")


def test_a_bundle_to_begin_with_is_written_checked_and_tested(run: Run) -> None:
    """As it comes: no warning, and every case passes; a second time nothing is overwritten."""
    assert ["policy/manifest-rules.cedar", "policy/tests/manifest-rules.yaml"] == run("init", "policy").out.splitlines()
    checked, tested, again = run("check", "policy"), run("test", "policy", "--json"), run("init", "policy")
    assert (0, "policy: 1 permit and 0 forbids, valid, sha256:", "") == (checked.code, checked.out[:46], checked.err)
    assert (0, {"passed"}) == (tested.code, {row["result"] for row in json.loads(tested.out)})
    assert (2, True) == (again.code, "is there already" in again.err)


def test_a_case_that_fails_says_what_was_expected(run: Run) -> None:
    """And what there was, and the exit code tells."""
    run("init", "policy")
    Path("policy/tests/delete.yaml").write_text(CASES)
    failed = run("test", "policy")
    assert 1 == failed.code
    assert "effect: expected 'deny', got 'allow (no code: the manifest grants it)'" in failed.err
    assert "row.policy_ids: expected ['no-delete'], got ['manifest-rules']" in failed.err
    Path("policy/delete.cedar").write_text(FORBID)
    assert 0 == run("test", "policy").code


def test_a_bundle_that_is_wrong_is_named_and_ends_with_two(run: Run) -> None:
    """By file, policy and mistake."""
    Path("policy").mkdir()
    Path("policy/a.cedar").write_text('@id("first") permit(principal, action, resource) when { resource.nope };')
    told = run("check", "policy")
    assert (2, True) == (told.code, "a.cedar: first: " in told.err)


def test_what_is_valid_but_not_meant_is_warned_of(run: Run) -> None:
    """On stderr, and with `--json` in the row too."""
    Path("policy").mkdir()
    Path("policy/a.cedar").write_text(FORBID)
    told = run("check", "policy", "--json")
    rows = json.loads(told.out)
    assert (0, 1, 0) == (told.code, rows[0]["forbids"], rows[0]["permits"])
    assert ["no policy permits anything"] == [one[:26] for one in rows[0]["warnings"]]
    assert "no policy permits anything" in told.err


def test_a_name_that_the_directory_does_not_have_is_warned_of(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a kind that it knows some of, wherever in a policy the name stands."""
    run("init", "policy")
    Path("policy/a.cedar").write_text(
        '@id("a") @reason("no") forbid(principal in Headgate::Team::"paymnets", action, resource) '
        'when { principal has repo && principal.repo == Headgate::Repo::"acme/calc" } '
        'unless { principal in Headgate::User::"eve" };'
    )
    assert "" == run("check", "policy").err
    Path("registry.yaml").write_text("teams: {payments: {}}\nrepos: {acme/calc: {}}")
    assert 0 == runner(capsys)("directory", "import", "registry.yaml").code
    told = run("check", "policy")
    assert (0, ["a: Headgate::Team::\"paymnets\" is not in the directory; did you mean 'payments'?"]) == (
        told.code,
        told.err.splitlines(),
    )


def test_a_folder_without_cases_is_no_success(run: Run) -> None:
    """Nothing was tested."""
    Path("policy").mkdir()
    Path("policy/a.cedar").write_text(FORBID)
    told = run("test", "policy")
    assert (1, True) == (told.code, "has no cases" in told.err)


def test_a_request_is_explained_step_by_step(run: Run) -> None:
    """With the instance that its subject's properties describe."""
    run("init", "policy")
    Path("policy/delete.cedar").write_text(FORBID)
    subject = {"type": "agent_instance", "id": "ai-1", "properties": {"team": "payments", "colour": "red"}}
    body = {"subject": subject, "action": {"name": "tools/call"}, "resource": {"type": "tool", "id": "delete"}}
    Path("request.json").write_text(json.dumps(body))
    told = run("explain", "policy", "--request", "request.json")
    assert (0, "deny: nothing is deleted") == (told.code, told.out.splitlines()[0])
    explained = json.loads(run("explain", "policy", "--request", "request.json", "--json").out)[0]
    assert ["stops", "feed", "identity", "manifest", "budget", "policy"] == [one["step"] for one in explained["steps"]]
    assert {"manifest-rules": False, "no-delete": True} == {
        one["policy_id"]: one["determined"] for one in explained["looked_at"]
    }


def test_a_request_is_explained_with_what_the_directory_knows(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the repository that its subject's properties name."""
    run("init", "policy")
    Path("policy/production.cedar").write_text(
        '@id("production") forbid(principal, action, resource) when { resource has environment && '
        'resource.environment == "production" };'
    )
    body = {
        "subject": {"type": "agent_instance", "id": "ai-1"},
        "action": {"name": "tools/call"},
        "resource": {"type": "tool", "id": "bank/transfer"},
    }
    Path("request.json").write_text(json.dumps(body))
    Path("registry.yaml").write_text("resources: {bank: {environment: production}}")
    asked = ("explain", "policy", "--request", "request.json", "--data", "store")
    before = run(*asked).out.splitlines()[0]
    assert 0 == runner(capsys)("directory", "import", "registry.yaml", "--data", "store").code
    assert ("allow: the manifest grants it", "deny: production") == (before, run(*asked).out.splitlines()[0])


def test_a_case_is_explained_by_its_name(run: Run) -> None:
    """A name that is none is answered with those that are."""
    run("init", "policy")
    told = run("explain", "policy", "--case", "a stop goes before everything")
    assert (0, "deny: the platform is stopped: a fire") == (told.code, told.out.splitlines()[0])
    wrong, none = run("explain", "policy", "--case", "x"), run("explain", "policy")
    assert (2, 2) == (wrong.code, none.code)
    assert "known are: what the manifest grants is permitted" in wrong.err


@pytest.mark.recordings
def test_a_draft_is_tried_on_what_agents_did(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is denied by the bundle to begin with; a forbid says whom it would have met."""
    recordings = resources.files("headgate_console.demo") / "recordings"
    files = [str(recordings / f"{name}.jsonl.gz") for name in ("claude-code-fix", "openai-agents-mcp-loop")]
    assert 0 == runner(capsys)("replay", *files, "--data", "store").code
    run("init", "policy")
    before = json.loads(run("simulate", "policy", "--data", "store", "--json").out)[0]
    assert (0, 2) == (before["denied"], before["sessions"])
    Path("policy/tests.cedar").write_text(
        '@id("no-tests") forbid(principal, action, resource == Headgate::Tool::"run_tests");'
    )
    after = json.loads(run("simulate", "policy", "--data", "store", "--json").out)[0]
    assert (6, 1, "no-tests") == (after["denied"], after["sessions_denied"], after["causes"][0]["by"])
    assert "6 denied" in run("simulate", "policy", "--data", "store").out
