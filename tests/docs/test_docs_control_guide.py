"""The guide to control state: its commands work, in its order, on a folder that control wrote."""

import re
from contextlib import closing
from pathlib import Path

import pytest

from headgate_console.control.place import Place
from headgate_console.testing.commands import runner
from headgate_control.audit.heads import anchor_logs
from headgate_control.audit.log import AuditLog
from headgate_control.stops.commands import stop
from headgate_control.store.opening import open_sqlite

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "keep-control-state.md"


def test_the_guide_to_control_state_works_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command that it gives, what one writes being there for the next."""
    monkeypatch.chdir(tmp_path)
    place = Place(data=tmp_path / "headgate-data")
    place.folder.mkdir(parents=True)
    with (
        closing(open_sqlite(place.database, writer="control")) as store,
        closing(AuditLog.open(place.logs, "decisions")) as log,
    ):
        stop(store, ("session", "thread-1"), mode="stop", author="ada", reason="loops")
        log.append({"kind": "decision", "decision_id": "dec-1", "session_key": "thread-1"})
        anchor_logs(store, [log], author="control")
    commands = re.findall(r"^(?:\$ )?headgate (.*)$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    codes = {}
    for command in commands:
        words, _, file = command.replace("/var/lib/headgate", "elsewhere").partition(" > ")
        result = runner(capsys)(*words.split())
        codes[command] = (result.code, result.err if result.code else "")
        if file:
            Path(file).write_text(result.out)
    assert dict.fromkeys(commands, (0, "")) == codes
    assert 12 == len(codes)
