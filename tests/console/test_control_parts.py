"""What control is made of when it starts."""

from contextlib import closing
from pathlib import Path

from headgate_console.control.parts import DECISIONS, open_parts
from headgate_console.control.place import Place
from headgate_console.settings import Settings
from headgate_control.audit.log import AuditLog
from headgate_control.stops.commands import stop
from headgate_control.store.opening import open_sqlite


def test_a_store_that_is_older_than_its_decisions_goes_on_above_their_epoch(tmp_path: Path) -> None:
    """As after a database was put back by its own tools; said once, in the journal."""
    place = Place(data=tmp_path)
    with closing(open_sqlite(place.database, writer="control")) as store:
        stop(store, ("team", "a"), mode="stop", author="ada", reason="one")
    with closing(AuditLog.open(place.logs, DECISIONS)) as log:
        log.append({"kind": "decision", "stop_epoch": 7})
    epochs = []
    for _ in range(2):
        with open_parts(Settings(data=tmp_path)) as parts:
            epochs.append(parts.room.now.snapshot.stops.epoch)
            told = [event.reason for event in parts.room.store.events() if event.action == "stop.epoch"]
    assert ["decisions were made at epoch 7, and the store is at 1: it is an older copy"] == told
    assert epochs[0] == epochs[1] > 7


def test_a_store_that_is_ahead_is_left_alone(tmp_path: Path) -> None:
    """Every start but that one."""
    with open_parts(Settings(data=tmp_path)) as parts:
        stop(parts.room.store, ("team", "a"), mode="stop", author="ada", reason="one")
        parts.decisions.append({"kind": "decision", "stop_epoch": 1})
    with open_parts(Settings(data=tmp_path)) as parts:
        assert 1 == parts.room.now.snapshot.stops.epoch
