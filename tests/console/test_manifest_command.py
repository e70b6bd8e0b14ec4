"""`headgate manifest`: what is valid, what is granted, and what changes."""

import json
from importlib import resources
from pathlib import Path

import pytest
import yaml
from inline_snapshot import snapshot
from jsonschema import Draft202012Validator

from headgate_console.testing.commands import Run, runner

HEAD = "apiVersion: headgate.dev/v1\nkind: AgentManifest\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A manifest under a profile, and one that asks for more."""
    profiles = tmp_path / "policy" / "profiles"
    profiles.mkdir(parents=True)
    (profiles / "everyone.yaml").write_text(
        """
apiVersion: headgate.dev/v1
kind: AgentProfile
metadata: {name: everyone, level: platform}
spec:
  models: [{provider: openai, model: "*"}]
  tools: [{tool: "*"}]
  budgets: [{scope: platform, window: day, usd: 500}]
"""
    )
    (tmp_path / "fixer.yaml").write_text(
        f"""{HEAD}metadata: {{name: fixer, inherits: everyone}}
spec:
  models: [{{provider: openai, model: "gpt-5-*"}}]
  tools: [{{tool: read_file}}, {{tool: merge, approval: high}}]
  budgets: [{{usd: 1.5, calls: 20}}]
"""
    )
    (tmp_path / "wide.yaml").write_text(
        f"""{HEAD}metadata: {{name: fixer, inherits: everyone}}
spec:
  models: [{{provider: "*", model: "gpt-5-*"}}]
  tools: [{{tool: read_file}}]
"""
    )
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `headgate manifest` in the folder, under its settings."""
    monkeypatch.chdir(folder)
    (folder / "headgate.yaml").write_text("policy: {dir: policy}\n")
    return runner(capsys, "manifest")


def test_a_valid_manifest_has_a_digest(run: Run) -> None:
    """Of itself and of all that it inherits."""
    told = run("validate", "fixer.yaml", "policy/profiles/everyone.yaml", "--json")
    rows = json.loads(told.out)
    assert (0, [["everyone", "fixer"], ["everyone"]], [[], []]) == (
        told.code,
        [row["levels"] for row in rows],
        [row["without_effect"] for row in rows],
    )
    assert rows[0]["digest"] in run("validate", "fixer.yaml").out


def test_what_asks_for_more_than_stands_above_is_told(run: Run) -> None:
    """It would have no effect, and the command fails."""
    told = run("validate", "wide.yaml")
    assert 1 == told.code
    assert "fixer: models: '*/gpt-5-*' is wider than what stands above grants" in told.err
    assert "1 without effect: a lower level can only narrow" in " ".join(told.err.split())
    assert 1 == run("validate", "wide.yaml", "wide.yaml").err.count("is wider than what stands above")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("validate", "nowhere.yaml"), "cannot read nowhere.yaml"),
        (("validate", "fixer.yaml", "--profiles", "nowhere"), "--profiles nowhere is no folder"),
        (("explain", "headgate.yaml"), "headgate.yaml:1: policy: unknown key 'policy'"),
        (("validate", "fixer.yaml", "--profiles", "policy"), "inherits 'everyone', which is no profile"),
    ],
)
def test_a_mistake_is_bad_usage_and_says_what(run: Run, arguments: tuple[str, ...], expected: str) -> None:
    """Exit code 2."""
    told = run(*arguments)
    assert 2 == told.code
    assert expected in " ".join(told.err.split())


def test_what_is_granted_is_a_table(run: Run) -> None:
    """With the level that says so, and what is missing beside it."""
    told = run("explain", "fixer.yaml")
    assert told.out == snapshot("""\
WHAT     GRANTED                                 BY
models   openai/gpt-5-*                          fixer
tools    read_file                               fixer
tools    merge, approval high                    fixer
budgets  $500.00 for the platform, day, hard     everyone
budgets  $1.50 for the instance, total, hard     fixer
budgets  20 calls for the instance, total, hard  fixer
""")
    assert "Nothing of: tools of MCP servers, mcp_servers, agents, data_sources" in " ".join(told.err.split())


def test_what_changes_is_a_table(run: Run, folder: Path) -> None:
    """What the new one alone grants widens; a narrower entry in its place does not, nor what is refused above."""
    text = (folder / "wide.yaml").read_text()
    (folder / "other.yaml").write_text(text.replace("gpt-5-*", "gpt-*"))
    told = run("diff", "fixer.yaml", "other.yaml")
    assert told.out == snapshot("""\
WHAT        ENTRY                                   EFFECT
models   +  openai/gpt-*                            widens
models   -  openai/gpt-5-*                          same
tools    -  merge, approval high                    narrows
budgets  -  $1.50 for the instance, total, hard     widens
budgets  -  20 calls for the instance, total, hard  widens
""")
    assert "Both grant the same." in run("diff", "fixer.yaml", "fixer.yaml").out


def test_the_schema_knows_what_is_valid(run: Run, folder: Path) -> None:
    """The same that the command takes, and not what it refuses."""
    validator = Draft202012Validator(json.loads(run("schema").out))
    good = yaml.safe_load((folder / "fixer.yaml").read_text())
    assert [] == list(validator.iter_errors(good))
    assert [] != list(validator.iter_errors({**good, "kind": "Manifest"}))


@pytest.mark.recordings
def test_a_suggested_manifest_denies_nothing_of_what_it_is_made_of(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each workflow of what real agents did: it is valid, and history passes under all of them."""
    monkeypatch.chdir(tmp_path)
    headgate = runner(capsys)
    recordings = resources.files("headgate_console.demo") / "recordings"
    assert 0 == headgate("replay", str(recordings), "--data", "store").code
    found = headgate("sql", "SELECT DISTINCT workflow FROM sessions ORDER BY 1", "--data", "store", "--format", "json")
    workflows = [row["workflow"] for row in json.loads(found.out)]
    for workflow in workflows:
        told = headgate("manifest", "suggest", "--workflow", workflow, "--data", "store")
        assert (0, "") == (told.code, told.err)
        Path(f"{workflow}.yaml").write_text(told.out, encoding="utf-8")
        assert 0 == headgate("manifest", "validate", f"{workflow}.yaml").code
    headgate("policy", "init", "policy")
    options = [word for workflow in workflows for word in ("--manifest", f"{workflow}.yaml")]
    report = json.loads(headgate("policy", "simulate", "policy", *options, "--data", "store", "--json").out)[0]
    assert (0, 0, 0) == (report["denied"], report["approvals"], report["instances_without_manifest"])
    assert 60 < report["calls"]


def test_nothing_is_suggested_of_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workflow that nobody has run is more likely misspelt."""
    monkeypatch.chdir(tmp_path)
    headgate = runner(capsys)
    recordings = resources.files("headgate_console.demo") / "recordings"
    headgate("replay", str(recordings / "claude-code-fix.jsonl.gz"), "--data", "store")
    told = headgate("manifest", "suggest", "--workflow", "fix-test", "--data", "store")
    assert (1, "", True) == (told.code, told.out, "no calls of workflow 'fix-test' are recorded" in told.err)
