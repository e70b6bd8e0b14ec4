"""What the README and the guides tell people to type works as it stands there."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
RECORDINGS = resources.files("headgate_console.demo") / "recordings"
BIN = Path(sys.executable).parent
PAGES = (
    "README.md",
    "docs/guides/connect-an-agent.md",
    "docs/guides/identify-agents.md",
    "docs/guides/collector.md",
    "docs/guides/credentials.md",
    "docs/guides/operate-the-store.md",
)
REPLAYED = "headgate replay tests/recordings --endpoint"
ELSEWHERE = ("make", "pip install .", "headgate up", "headgate collector run", REPLAYED)


def _console_lines(page: str) -> Iterator[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from (line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ "))


def _commands(page: str) -> list[str]:
    return [line for line in _console_lines(page) if not line.startswith(ELSEWHERE)]


def _run(line: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    return subprocess.run(shlex.split(line), cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a store of two agents and a folder of recordings."""
    place = tmp_path_factory.mktemp("reader")
    recordings = place / "tests" / "recordings"
    recordings.mkdir(parents=True)
    for name in ("claude-code-fix.jsonl.gz", "pydantic-ai-handoff.jsonl.gz"):
        (recordings / name).write_bytes((RECORDINGS / name).read_bytes())
    filled = _run("headgate replay tests/recordings --data headgate-data", place)
    assert filled.returncode == 0, filled.stderr
    return place


@pytest.mark.parametrize(
    "page", [page if page == "README.md" else pytest.param(page, marks=pytest.mark.slow) for page in PAGES]
)
def test_the_commands_of_a_page_work(folder: Path, tmp_path: Path, page: str) -> None:
    """Typed one after the other, each ends with exit code 0 and says something."""
    place = shutil.copytree(folder, tmp_path / "reader")
    for line in _commands(page):
        done = _run(line, place)
        assert (line, 0) == (line, done.returncode), done.stdout + done.stderr
        assert "" != done.stdout + done.stderr, line


def test_commands_that_are_tried_elsewhere_are_real_ones() -> None:
    """What this module leaves to other tests is a target of the Makefile or a command with these options."""
    left = {line for page in PAGES for line in _console_lines(page) if line.startswith(ELSEWHERE)}
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {line.removeprefix("make ") for line in left if line.startswith("make")} <= targets
    assert {"pip install .", "headgate up"} <= left


def test_the_output_that_the_readme_shows_is_of_this_version(folder: Path) -> None:
    """Headings of tables and the names of listeners are the ones that are printed."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    headings = {
        "headgate sessions": "SESSION   STATE",
        "headgate cost": "TEAM      SESSIONS  CALLS  INPUT  CACHED  OUTPUT     COST  PRICED",
    }
    for command, heading in headings.items():
        assert heading in text
        assert heading.split()[:2] == _run(command, folder).stdout.splitlines()[0].split()[:2]
    listeners = ["console", "otlp-grpc", "otlp-http", "otlp-platform", "control", "model-gateway"]
    assert re.findall(r"^ready (\S+) ", text, re.MULTILINE) == listeners
