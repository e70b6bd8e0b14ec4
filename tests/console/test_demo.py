"""The demo's recordings: whole, harmless, and moved to this hour."""

import gzip
import json
import re
import time
from importlib import resources
from pathlib import Path

import pytest

from headgate_console.demo.recordings import write_recent
from headgate_processors.enrich.identity import FileRegistry

DEMO = resources.files("headgate_console.demo")
FILES = sorted(file.name for file in (DEMO / "recordings").iterdir() if file.name.endswith(".gz"))
PRIVATE = re.compile(r"/home/(?!agent\b)\w|/root/|/Users/|\bsk-[A-Za-z0-9]{8}|Bearer |[\w.]+@[\w.]+\.[a-z]{2,}")


@pytest.mark.parametrize("name", FILES)
def test_a_recording_holds_nothing_private(name: str) -> None:
    """No home folders, keys, tokens or addresses of whoever recorded it."""
    text = gzip.decompress((DEMO / "recordings" / name).read_bytes()).decode()
    assert [] == PRIVATE.findall(text)


def test_every_recording_is_described() -> None:
    """The page beside the files names each of them."""
    page = (DEMO / "recordings" / "README.md").read_text(encoding="utf-8")
    assert [] == [name for name in FILES if f"`{name.removesuffix('.jsonl.gz')}`" not in page]


def test_recordings_are_moved_to_this_hour(tmp_path: Path) -> None:
    """They end minutes apart, the killed one last, none in the future; lengths and order stay."""
    now = time.time_ns()
    written = write_recent(tmp_path, now_unix_nano=now)
    ends = [max(map(int, re.findall(r'UnixNano": "(\d+)"', path.read_text(encoding="utf-8")))) for path in written]
    assert len(FILES) == len(written)
    assert "claude-code-killed" == written[0].stem
    assert sorted(ends, reverse=True) == ends
    assert now > ends[0] > now - 60 * 10**9
    assert ends[-1] > now - 3600 * 10**9


def test_moving_changes_nothing_but_times(tmp_path: Path) -> None:
    """Everything else of a request is as it was recorded."""
    write_recent(tmp_path, now_unix_nano=time.time_ns())
    name = "pydantic-ai-handoff"
    recorded = gzip.decompress((DEMO / "recordings" / f"{name}.jsonl.gz").read_bytes()).decode().splitlines()
    moved = (tmp_path / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    times = re.compile(r'(UnixNano": )"\d+"')
    normal = [times.sub(r"\1", json.dumps(json.loads(line))) for line in recorded]
    assert normal == [times.sub(r"\1", line) for line in moved]


def test_the_registry_of_the_demo_is_valid() -> None:
    """It can be loaded, and knows the agents that claim an instance."""
    with resources.as_file(DEMO / "registry.yaml") as path:
        registry = FileRegistry.load(path)
    claims = {"agent.instance.id": "agt-codex-fix", "service.name": "codex_exec"}
    assert ("claimed", "bob") == (
        (found := registry.resolve(claims, agent_name=None)).identity_source,
        found.launched_by,
    )
