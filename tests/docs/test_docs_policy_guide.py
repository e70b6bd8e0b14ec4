"""The guide to policies: its files are valid, and its commands say what it says."""

import re
import shlex
from importlib import resources
from pathlib import Path

import pytest

from headgate_console.testing.commands import runner

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guides" / "write-a-policy.md"

pytestmark = pytest.mark.recordings


def test_the_guide_works_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In its order: each file is written where it is shown, each command typed where it stands."""
    monkeypatch.chdir(tmp_path)
    headgate = runner(capsys)
    recording = resources.files("headgate_console.demo") / "recordings" / "claude-code-fix.jsonl.gz"
    assert 0 == headgate("replay", str(recording), "--data", "headgate-data").code
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    told = []
    for kind, content in blocks:
        if kind == "console":
            told += [headgate(*shlex.split(line)[2:]) for line in content.splitlines()]
        else:
            name = "request.json" if kind == "json" else content.splitlines()[0].split()[1]
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content, encoding="utf-8")
    assert [0] * 11 == [one.code for one in told], told
    assert "" == told[4].err
    assert "require_approval: an approval is needed: high" in told[6].out
    assert "0 denied" in told[8].out
