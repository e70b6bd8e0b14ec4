"""The guide to governing an agent: its commands work, in its order, on a `headgate up` that was just started."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate_console.testing.up import listeners
from headgate_processors.testing.waiting import PATIENCE_S

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "govern-an-agent.md"
HEADGATE = [sys.executable, "-m", "headgate_console"]
ANYWHERE = "127.0.0.1:0"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A working folder whose `headgate-data` a running Headgate has."""
    ports = [word for name in ("grpc", "http", "console", "platform") for word in (f"--{name}", ANYWHERE)]
    variables = {"HEADGATE_CONTROL__LISTEN": ANYWHERE, "HEADGATE_GATEWAYS__MODEL__LISTEN": ANYWHERE}
    with (tmp_path / "up.err").open("w") as errors:
        process = subprocess.Popen(
            [*HEADGATE, "up", *ports],
            cwd=tmp_path,
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        listeners(process, {"control", "model-gateway"}, said=tmp_path / "up.err")
        yield tmp_path
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


@pytest.mark.slow
@pytest.mark.e2e
def test_the_guide_to_governing_an_agent_works_as_it_stands(folder: Path) -> None:
    """Every command that it gives ends with exit code 0, the file that it shows being there."""
    text = GUIDE.read_text(encoding="utf-8")
    manifest = re.search(r"`fixer.yaml`:\n\n```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert manifest is not None
    (folder / "fixer.yaml").write_text(manifest[1], encoding="utf-8")
    commands = re.findall(r"^\$ headgate (.*)$", text, re.MULTILINE)
    codes = {}
    for command in commands:
        done = subprocess.run(
            [*HEADGATE, *shlex.split(command)], cwd=folder, capture_output=True, text=True, check=False
        )
        codes[command] = (done.returncode, done.stderr if done.returncode else "")
    assert dict.fromkeys(commands, (0, "")) == codes
    assert 10 == len(codes)
