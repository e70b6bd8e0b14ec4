"""The guide to a dialect, followed to the letter: each file is written, each command run, each output compared."""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from headgate_console.cli import main
from headgate_processors.dialects.predicate import compile_predicate
from headgate_processors.dialects.table import FIELDS, KINDS, TableSpec
from headgate_processors.errors import ConfigError
from headgate_processors.schema import MEANING

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guides" / "add-a-dialect.md"
CONTRIBUTE = "## 5. Contribute it"
COPIED = ("processors", "analytics", "control", "gateways", "console", "pyproject.toml")


class Step(NamedTuple):
    """A block of the guide: a file to write, commands to run, or what the last command must have printed."""

    kind: str
    name: str
    text: str


def _steps(text: str) -> Iterator[Step]:
    for name, kind, body in re.findall(r"(?:`([^`\n]+)`:\n\n)?^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield Step("file" if name else kind, name, body)


def _parts() -> tuple[str, str]:
    walk, contribute = GUIDE.read_text(encoding="utf-8").split(CONTRIBUTE)
    return walk, contribute


def _run(line: str, folder: Path) -> str:
    """What a command printed; Headgate's own run in this process, which is quicker."""
    if line.startswith("headgate "):
        printed = io.StringIO()
        quietly = (contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed))
        with contextlib.chdir(folder), quietly[0], quietly[1], pytest.raises(SystemExit) as ended:
            main(shlex.split(line)[1:])
        assert 0 == (ended.value.code or 0), f"{line}\n{printed.getvalue()}"
        return printed.getvalue()
    rooms = [str(folder / room) for room in COPIED if (folder / room).is_dir()]
    environment = {**os.environ, "PYTHONPATH": ":".join(rooms)}
    done = subprocess.run(
        ["bash", "-euc", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def _words(text: str) -> str:
    return " ".join(text.split())


def _follow(text: str, folder: Path) -> None:
    printed = ""
    for step in _steps(text):
        if step.kind == "file":
            path = folder / step.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.text, encoding="utf-8")
        elif step.kind == "console":
            for line in step.text.splitlines():
                printed = _run(line.removeprefix("$ "), folder)
        else:
            wanted = [line for line in step.text.splitlines() if _words(line) not in _words(printed)]
            assert [] == wanted, printed


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the guide was followed up to the contribution."""
    folder = tmp_path_factory.mktemp("reader")
    _follow(_parts()[0], folder)
    return folder


@pytest.mark.slow
def test_the_guide_works_as_written(followed: Path) -> None:
    """Unknown before, understood after: the doctor of the second store knows every record."""
    told = _words(_run("headgate doctor --data after", followed))
    assert "orchid: 3 spans, 1 log event from orchid" in told
    assert "unknown agents" not in told
    assert "reported no tokens" not in told


@pytest.mark.slow
def test_the_contribution_works_as_written(followed: Path, tmp_path: Path) -> None:
    """In a copy of the project the packaged table and the recording pass the project's own test."""
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, clone / name, ignore=shutil.ignore_patterns("__pycache__", "recordings"))
        else:
            shutil.copy(source, clone / name)
    (clone / "tests" / "recordings").mkdir(parents=True)
    for name in ("conftest.py", "recordings/test_recordings.py"):
        shutil.copy(ROOT / "tests" / name, clone / "tests" / name)
    shutil.copytree(followed / "dialects", clone / "dialects")
    shutil.copy(followed / "orchid.jsonl", clone)
    (clone / ".venv").symlink_to(Path(sys.prefix), target_is_directory=True)
    _follow(_parts()[1], clone)


def test_nothing_of_the_guide_is_left_out() -> None:
    """Every block is a named file, commands, or an output; YAML and JSON stand in files only."""
    kinds = {step.kind for part in _parts() for step in _steps(part)}
    assert {"file", "console", "text"} == kinds


def _documented() -> str:
    return GUIDE.read_text(encoding="utf-8").partition("## Everything a table may say")[2]


def test_every_key_of_a_table_is_described() -> None:
    """Whoever adds a key to the tables adds it to the guide."""
    assert set() == {key for key in TableSpec.model_fields if f"`{key}`" not in _documented()}


def test_every_kind_and_field_is_described() -> None:
    """The kinds by name; the fields by name or as columns of the views."""
    assert set() == {kind for kind in KINDS if f"`{kind}`" not in _documented()}
    settling = FIELDS - {column.name for column in MEANING}
    assert set() == {name for name in settling if f"`{name}`" not in _documented()}


def test_every_predicate_is_described() -> None:
    """The words that the error of a wrong one names."""
    with pytest.raises(ConfigError) as error:
        compile_predicate({"nonsense": 1})
    known = str(error.value).partition("known are ")[2].split(", ")
    assert [] == [word for word in known if f"`{word}`" not in _documented()]
