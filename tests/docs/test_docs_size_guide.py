import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from headgate_console.demo.fleet import running

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "guides" / "size-a-machine.md"
BIN = Path(sys.executable).parent
AGENTS_SEND_TO = "http://127.0.0.1:4317"


def commands() -> list[str]:
    """What the guide tells people to type, in order."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


@pytest.mark.e2e
@pytest.mark.slow
def test_what_the_guide_on_size_says_to_type_works(tmp_path: Path) -> None:
    """A load sent to Headgate, one put into a store, and the questions asked of them."""
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    with running(tmp_path / "headgate-data", tmp_path / "up.log") as listeners:
        # A small load, sent to wherever this Headgate listens, before the first question is asked of it.
        lines = sorted(commands(), key=lambda line: AGENTS_SEND_TO not in line)
        for line in lines:
            here = line.replace(AGENTS_SEND_TO, f"grpc://{listeners['otlp-grpc']}").replace(
                "--spans 20000", "--spans 200"
            )
            done = subprocess.run(
                shlex.split(here), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert 0 == done.returncode, f"{line}: {done.stderr}"
            assert "" != done.stdout
    assert 5 == len(lines)
