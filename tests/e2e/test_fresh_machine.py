"""What a newcomer has: a clone or a wheel, Python, and nothing else."""

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "demo-data", "headgate-data")
SHOWN = (
    "SESSION   STATE",
    "Have calc.py reviewed by a subagent.",
    "read `calc.py`",
    "payments",
    "no model calls",
    "Try",
)

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def _run(command: list[str], folder: Path) -> str:
    ours = ("HEADGATE_", "VIRTUAL_ENV", "PYTHONPATH", "COV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The project as somebody else has it: no environment, no caches."""
    return Path(shutil.copytree(ROOT, tmp_path / "headgate", ignore=LEFT_OUT))


def test_make_demo_works_on_a_fresh_clone(clone: Path) -> None:
    """It makes its environment, shows the fleet, a session, the ledger and the bill, and leaves only its folder.

    It can be run again, and what it says to try next can be typed as it stands.
    """
    before = {path.name for path in clone.iterdir()}
    shown = _run(["make", "demo"], clone)
    assert [] == [text for text in SHOWN if text not in shown]
    assert {".venv", "demo-data"} == {path.name for path in clone.iterdir()} - before
    again = _run(["make", "demo"], clone)
    assert "12 sessions" in again
    suggested = re.findall(r"^  (\.venv/bin/headgate .+--data .+)$", again, re.MULTILINE)
    assert 4 == len(suggested)
    for command in suggested:
        _run(["bash", "-c", command], clone)


def test_the_wheel_works_without_the_source_and_the_test_tools(tmp_path: Path) -> None:
    """Installed alone into an empty environment it runs the whole demo from its own files."""
    _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)], tmp_path)
    venv.create(tmp_path / "env", with_pip=True)
    python = str(tmp_path / "env" / "bin" / "python")
    _run([python, "-m", "pip", "install", "--quiet", str(next(tmp_path.glob("*.whl")))], tmp_path)
    shown = _run([python, "-P", "-m", "headgate_console.demo", "--data", str(tmp_path / "demo-data")], tmp_path)
    assert [] == [text for text in SHOWN if text not in shown]


def test_make_without_a_python_says_what_is_needed(clone: Path) -> None:
    """The message names the version and how to point at one."""
    done = subprocess.run(["make", "demo", "PYTHON="], cwd=clone, capture_output=True, text=True, check=False)
    assert 0 != done.returncode
    assert "Headgate needs Python 3.11 or newer" in done.stderr
