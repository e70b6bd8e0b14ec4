"""The guide to manifests: its files are valid, and its commands say what it says."""

import re
from pathlib import Path

import pytest

from headgate_console.testing.commands import runner

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guides" / "write-a-manifest.md"


def test_the_guide_works_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every file that it shows, then every command that it gives."""
    text = GUIDE.read_text(encoding="utf-8")
    files = re.findall(r"^```yaml\n# (\S+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for name, content in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^\$ headgate (.*)$", text, re.MULTILINE)
    told = [(command, runner(capsys)(*command.split())) for command in commands]
    assert (3, [0, 0, 0]) == (len(files), [one.code for _, one in told]), told
    assert "fixer is valid, sha256:" in told[0][1].out
