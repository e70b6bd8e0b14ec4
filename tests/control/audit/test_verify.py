"""Verification finds whatever was edited, dropped or swapped, in the journal, in the records and in the logs."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate_control.audit.heads import Head, anchor_logs, heads, heads_text, journalled, read_heads
from headgate_control.audit.log import AuditLog
from headgate_control.audit.verify import Verified, verify
from headgate_control.store.opening import open_sqlite, read_sqlite
from headgate_processors.errors import ConfigError, StoreError

ANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)


def looked_at(control: Path, anchors: list[Head] | None = None) -> Verified:
    """What a verification says."""
    with closing(read_sqlite(control / "control.sqlite")) as store:
        return verify(store, control / "log", anchors or [])


def problems(control: Path, anchors: list[Head] | None = None) -> list[tuple[str, int | None, str]]:
    """What is wrong, and where."""
    return [(one.place, one.number, one.problem) for one in looked_at(control, anchors).all_findings]


def kept(control: Path) -> list[Head]:
    """The heads of this moment."""
    with closing(read_sqlite(control / "control.sqlite")) as store:
        return heads(store, control / "log")


@contextmanager
def tampered(control: Path, statement: str, *values: object) -> Iterator[None]:
    """Change the database behind everybody's back, for as long as this lasts."""
    file = control / "control.sqlite"
    before = file.read_bytes()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(statement, values)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    try:
        yield
    finally:
        file.write_bytes(before)


def test_what_nobody_touched_is_in_order(control: Path) -> None:
    """Every chain is counted and compared with every head that is known of it."""
    found = looked_at(control, kept(control))
    assert [] == found.all_findings
    assert [("journal", "control", 6, 1), ("log", "budgets", 1, 1), ("log", "gateway", 8, 1)] == [
        (one.kept, one.writer, one.number, one.anchors) for one in found.chains
    ]


@ANY
@given(st.data())
def test_any_byte_of_any_log_that_is_changed_is_found(control: Path, data: st.DataObject) -> None:
    """The last one too, for the journal knows the head."""
    path = data.draw(st.sampled_from(sorted((control / "log").glob("*.jsonl"))))
    before = path.read_bytes()
    changed = bytearray(before)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    try:
        assert [] != problems(control)
    finally:
        path.write_bytes(before)


@ANY
@given(st.data())
def test_any_byte_of_any_event_that_is_changed_is_found(control: Path, data: st.DataObject) -> None:
    """Given a head, that of the last event too."""
    number, column = data.draw(st.integers(1, 6)), data.draw(st.sampled_from(["writer", "previous", "digest", "body"]))
    anchors = kept(control)
    with closing(sqlite3.connect(control / "control.sqlite")) as connection:
        row = connection.execute(f"SELECT {column} FROM journal WHERE number = ?", [number]).fetchone()
    value = bytearray(row[0].encode() if isinstance(row[0], str) else row[0])
    value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 127))
    text = bytes(value) if column == "body" else bytes(value).decode("latin-1")
    statement = f"UPDATE journal SET {column} = ? WHERE number = ?"
    with tampered(control, statement, text, number):
        assert [] != problems(control, anchors)


@pytest.mark.parametrize("number", range(1, 7))
def test_an_event_that_is_dropped_is_found(control: Path, number: int) -> None:
    """The last one by the head that was kept elsewhere."""
    anchors = kept(control)
    with tampered(control, "DELETE FROM journal WHERE number = ?", number):
        assert [] != problems(control, anchors)


def test_events_that_change_places_are_found(control: Path) -> None:
    """Whether their numbers are swapped or their positions."""
    swapped = "UPDATE journal SET {0} = {0} + 1000 * (CASE {0} WHEN 2 THEN 1 ELSE 0 END) WHERE number = 2"
    with tampered(control, swapped.format("number")):
        assert ("journal", 3, "it stands where record 2 should") in problems(control)
    with tampered(control, swapped.format("position")):
        assert [("journal", 3, "its position is not after the last one's")] == problems(control)[:1]


def test_records_that_are_not_what_the_journal_says_are_found(control: Path) -> None:
    """Edited, removed, added, or counted otherwise; the chain itself is whole."""
    with tampered(control, "UPDATE records SET body = ? WHERE id = 's1'", b'{"turn":9}'):
        assert [("records", None, "stop s1: it is not what the journal says")] == problems(control)
    with tampered(control, "DELETE FROM records WHERE id = 's1'"):
        assert [("records", None, "stop s1: the journal has it, and the records have not")] == problems(control)
    with tampered(control, "INSERT INTO records VALUES ('instance', 'ai-1', 1, ?)", b"{}"):
        assert [("records", None, "instance ai-1: it is in no event of the journal")] == problems(control)
    with tampered(control, "UPDATE records SET revision = 7 WHERE id = 's1'"):
        assert [("records", None, "stop s1: it is at revision 7, and the journal has 2 changes of it")] == problems(
            control
        )


def test_the_end_of_a_log_that_is_cut_off_is_found(control: Path) -> None:
    """By the journal; the finding names the file."""
    path = max((control / "log").glob("gateway-*.jsonl"))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert [(path.name, 8, "the chain has 7 records, and 8 were anchored: its end is missing")] == problems(control)


def test_a_log_that_is_gone_is_found(control: Path) -> None:
    """With every file of it."""
    (control / "log" / "budgets-000000000001.jsonl").unlink()
    assert [("budgets.jsonl", 1, "the chain has 0 records, and 1 were anchored: its end is missing")] == problems(
        control
    )


def test_a_journal_that_is_gone_is_found_by_a_head_that_was_kept(control: Path) -> None:
    """It was there, and now nobody has written anything."""
    anchors = kept(control)
    with tampered(control, "DELETE FROM journal"):
        assert ("journal", 6, "the chain has 0 records, and 6 were anchored: its end is missing") in problems(
            control, anchors
        )


def test_it_can_be_verified_while_it_is_written(control: Path) -> None:
    """What is written meanwhile is no fault."""
    with (
        closing(open_sqlite(control / "control.sqlite", writer="control")) as store,
        closing(AuditLog.open(control / "log", "gateway")) as log,
    ):
        log.append({"kind": "decision"})
        assert [] == problems(control)
        assert ["gateway"] == [head.writer for head in anchor_logs(store, [log], author="control")]
        assert [] == anchor_logs(store, [log], author="control")
        assert [] == problems(control)
        assert [1, 8, 9] == sorted(head.number for head in journalled(store))


def test_heads_are_a_file_and_back(control: Path, tmp_path: Path) -> None:
    """What `headgate audit anchor` prints."""
    file = tmp_path / "heads.json"
    file.write_bytes(heads_text(kept(control), at_unix_nano=1))
    assert kept(control) == read_heads(file)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version":2,"heads":[]}', '{"version":1,"heads":[{}]}'])
def test_a_file_that_has_no_heads_is_refused(tmp_path: Path, content: str) -> None:
    """With what was expected."""
    file = tmp_path / "heads.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match="expected what `headgate audit anchor` prints"):
        read_heads(file)


def test_control_state_that_is_not_there_is_not_made_by_reading(tmp_path: Path) -> None:
    """Whoever asks is told what makes it."""
    with pytest.raises(StoreError, match="no control state at"):
        read_sqlite(tmp_path / "control.sqlite")
    assert [] == list(tmp_path.iterdir())
