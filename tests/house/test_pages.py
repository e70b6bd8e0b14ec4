"""What the README and the guides tell people to type works as it stands there."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
import yaml

from headgate_processors.testing.otlp import to_json, traces_request

ROOT = Path(__file__).resolve().parent.parent.parent
RECORDINGS = resources.files("headgate_console.demo") / "recordings"
BIN = Path(sys.executable).parent
PAGES = ("README.md", "docs/guides/connect-an-agent.md", "docs/guides/identify-agents.md")
ELSEWHERE = ("make", "pip install .", "headgate up", "headgate replay recordings --endpoint")


def _console_lines(page: str) -> Iterator[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from (line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ "))


def _commands() -> list[tuple[str, str]]:
    found = [(page, line) for page in PAGES for line in _console_lines(page)]
    return [(page, line) for page, line in found if not line.startswith(ELSEWHERE)]


def _run(line: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    return subprocess.run(shlex.split(line), cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a store of two agents and a folder of recordings."""
    place = tmp_path_factory.mktemp("reader")
    (place / "recordings").mkdir()
    for name in ("claude-code-fix.jsonl.gz", "pydantic-ai-handoff.jsonl.gz"):
        (place / "recordings" / name).write_bytes((RECORDINGS / name).read_bytes())
    filled = _run("headgate replay recordings --data headgate-data", place)
    assert filled.returncode == 0, filled.stderr
    return place


@pytest.mark.parametrize(("page", "line"), _commands())
def test_a_command_of_a_page_works(folder: Path, page: str, line: str) -> None:
    """It ends with exit code 0 and says something."""
    done = _run(line, folder)
    assert 0 == done.returncode, done.stderr
    assert "" != done.stdout + done.stderr


def test_commands_that_are_tried_elsewhere_are_real_ones() -> None:
    """What this module leaves to other tests is a target of the Makefile or a command with these options."""
    left = {line for page in PAGES for line in _console_lines(page) if line.startswith(ELSEWHERE)}
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {line.removeprefix("make ") for line in left if line.startswith("make")} <= targets
    assert {"pip install .", "headgate up"} <= left


def test_the_output_that_the_readme_shows_is_of_this_version(folder: Path) -> None:
    """Headings of tables and the names of listeners are the ones that are printed."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    printed = _run("headgate sessions", folder).stdout + _run("headgate cost", folder).stdout
    for heading in ("SESSION   STATE", "TEAM      SESSIONS  CALLS  INPUT  CACHED  OUTPUT     COST  PRICED"):
        assert heading in text
        assert heading.split()[:2] == next(line.split()[:2] for line in printed.splitlines() if heading[:7] in line)
    assert re.findall(r"^ready (\S+) ", text, re.MULTILINE) == ["console", "otlp-grpc", "otlp-http"]


def _dialect_of_the_guide() -> str:
    text = (ROOT / "docs/guides/add-a-dialect.md").read_text(encoding="utf-8")
    return next(block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if block.startswith("dialect:"))


def _quill() -> bytes:
    """What Quill sends, as the guide tells it."""
    trace = {"trace_id": "7c" * 16}
    spans = [
        {
            "name": "quill.run",
            "span_id": "01" * 8,
            "attributes": {"quill.session": "run-7c1e", "quill.agent": "scribe"},
        },
        {
            "name": "quill.ask",
            "span_id": "02" * 8,
            "parent_span_id": "01" * 8,
            "attributes": {
                "quill.model": "gpt-5-mini",
                "quill.vendor": "openai",
                "quill.tokens.in": 1200,
                "quill.tokens.out": 85,
                "quill.tokens.cached": 512,
            },
        },
        {
            "name": "quill.use",
            "span_id": "03" * 8,
            "parent_span_id": "01" * 8,
            "attributes": {
                "quill.tool": "read_file",
                "quill.tool.id": "call_1",
                "quill.tool.input": json.dumps({"path": "calc.py"}),
            },
        },
    ]
    request = traces_request(
        [{**span, **trace} for span in spans], resource={"service.name": "quill"}, scope="quill.tracing"
    )
    return to_json(request)


def _rows(query: str, data: str, folder: Path) -> list[dict[str, object]]:
    done = _run(f"headgate sql {shlex.quote(query)} --json --data {data}", folder)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, object]] = json.loads(done.stdout)
    return rows


def test_the_guide_to_a_dialect_works_as_written(tmp_path: Path) -> None:
    """Unknown before, understood after: one session, one priced call, one tool call in words, as the guide says."""
    (tmp_path / "quill.jsonl").write_bytes(_quill() + b"\n")
    assert _run("headgate replay quill.jsonl --data before", tmp_path).returncode == 0
    doctor = _run("headgate doctor --data before", tmp_path).stdout
    assert "3 records that no dialect reads" in doctor
    assert "quill.ask" in doctor
    assert [{"n": 0}] == _rows("SELECT count(*) AS n FROM model_calls", "before", tmp_path)

    (tmp_path / "dialects").mkdir()
    (tmp_path / "dialects" / "quill.yaml").write_text(_dialect_of_the_guide(), encoding="utf-8")
    (tmp_path / "headgate.yaml").write_text(yaml.safe_dump({"dialects": {"folder": "dialects"}}), encoding="utf-8")
    assert _run("headgate replay quill.jsonl --data quill-data", tmp_path).returncode == 0
    (session,) = _rows("SELECT agent_name, source_key FROM sessions", "quill-data", tmp_path)
    (call,) = _rows("SELECT model, input_tokens, cache_read_tokens, cost_usd FROM model_calls", "quill-data", tmp_path)
    (tool,) = _rows("SELECT title FROM timeline WHERE ref_view = 'tool_calls'", "quill-data", tmp_path)
    assert {"agent_name": "scribe", "source_key": "run-7c1e"} == session
    assert ("gpt-5-mini", 1200, 512) == (call["model"], call["input_tokens"], call["cache_read_tokens"])
    assert call["cost_usd"] is not None
    assert {"title": "read `calc.py`"} == tool
    assert "unknown agents" not in _run("headgate doctor --data quill-data", tmp_path).stdout
