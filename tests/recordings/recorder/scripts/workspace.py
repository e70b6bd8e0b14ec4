"""What every recorded agent has: three plain tools, its tasks, and no word of telemetry."""

import json
import os
import subprocess
import sys
from pathlib import Path

INSTRUCTIONS = "You are a careful coding agent. Use the tools."
REVIEWER_INSTRUCTIONS = "You review code."
MODEL = os.environ.get("RECORDER_MODEL", "gpt-5-mini")
TASKS = json.loads(os.environ["RECORDER_TASKS"])
DELEGATES = "reviewed" in TASKS[0]
TURNS_MAX = 12


def read_file(path: str) -> str:
    """Read a text file of the workspace."""
    return Path(path).read_text(encoding="utf-8")


def edit_file(path: str, old: str, new: str) -> str:
    """Replace the text old by new in a file."""
    file = Path(path)
    text = file.read_text(encoding="utf-8")
    if old not in text:
        message = f"text not found in {path}"
        raise ValueError(message)
    file.write_text(text.replace(old, new), encoding="utf-8")
    return f"edited {path}"


def run_tests(target: str) -> str:
    """Run the tests."""
    done = subprocess.run([sys.executable, target], capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"exit code {done.returncode}: {done.stderr.strip().splitlines()[-1]}"
        raise RuntimeError(message)
    return f"exit code 0: {done.stdout.strip()}"


TOOLS = (read_file, edit_file, run_tests)
