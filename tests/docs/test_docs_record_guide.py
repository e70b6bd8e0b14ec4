"""The guide to recordings, followed to the letter: each file is written, each command run, each output compared."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from headgate_processors.testing.model_server import scenario_names
from headgate_processors.testing.model_server.scenario import Fault, Scenario, packaged_intents
from headgate_processors.testing.recorder.agents import AgentFile

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "guides" / "record-an-agent.md").read_text(encoding="utf-8")
STEP = re.compile(r"(?:`([^`\n]+)`(?:[^`\n]*|:)\n\n)?^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run(line: str, folder: Path) -> str:
    """What a command printed."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euc", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_guide_works_as_written(tmp_path: Path) -> None:
    """In a folder that looks like a clone, whose installed agents are the project's."""
    (ROOT / "build" / "agents").mkdir(parents=True, exist_ok=True)
    for name in ("tests", "build"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix), target_is_directory=True)
    printed = ""
    for name, kind, text in STEP.findall(GUIDE.partition("\n## The model alone")[0]):
        if name.startswith("mine/"):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif kind == "console":
            printed = "".join(run(line.removeprefix("$ "), tmp_path) for line in text.splitlines())
        else:
            assert "text" == kind
            assert text in printed


def words_of(heading: str) -> set[str]:
    """The words in code of the first column of the table that begins so."""
    table = GUIDE.partition(f"| {heading} |")[2].partition("\n\n")[0]
    return {word for line in table.splitlines() for word in re.findall(r"`(\w+)`", line.partition(" | ")[0])}


def test_the_guide_names_every_key() -> None:
    """Keys of agents and of scenarios; the intents may be given too, and few need to."""
    assert set(AgentFile.model_fields) == words_of("key of an agent")
    assert set(Scenario.model_fields) - {"intents"} == words_of("key")


def test_the_guide_shows_faults_that_are_valid() -> None:
    """Each row of the table parses."""
    rows = re.findall(r"^\| `(\{(?:requests|from_request).*?\})` \|", GUIDE, re.MULTILINE)
    assert 7 == len([Fault.model_validate(yaml.safe_load(row)) for row in rows])


def test_the_guide_names_what_there_is() -> None:
    """Its scenario and its intents are packaged ones."""
    told = set(re.findall(r"`(\w+)`", GUIDE.partition("A call is an intent (")[2].partition(")")[0]))
    assert told <= set(packaged_intents().intents)
    assert "multi_step" in scenario_names()
