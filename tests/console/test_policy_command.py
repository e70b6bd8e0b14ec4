"""`headgate policy`: what a bundle says before it decides anything."""

import json
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


def test_a_folder_without_cases_is_no_success(run: Run) -> None:
    """Nothing was tested."""
    Path("policy").mkdir()
    Path("policy/a.cedar").write_text(FORBID)
    told = run("test", "policy")
    assert (1, True) == (told.code, "has no cases" in told.err)
