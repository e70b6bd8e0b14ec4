"""Verification finds whatever was edited, dropped or swapped, in the journal, in the records and in the logs."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate_control.audit.chain import Chain
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


def rows(control: Path) -> list[tuple[object, ...]]:
    """The journal as it stands, with the type of each value."""
    columns = ", ".join(f"typeof({one}), CAST({one} AS BLOB)" for one in COLUMNS)
    with closing(sqlite3.connect(control / "control.sqlite")) as connection:
        return connection.execute(f"SELECT {columns} FROM journal ORDER BY rowid").fetchall()


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


ODD = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=9),
    st.binary(max_size=9),
    st.sampled_from([b"control", b"\xff", "7", 7, b"7", b"{}", "{}", b"[]", 1e300]),
)
COLUMNS = ["position", "writer", "number", "previous", "digest", "body"]


@ANY
@given(number=st.integers(1, 6), column=st.sampled_from(COLUMNS), value=ODD, as_text=st.booleans())
def test_any_edit_of_any_column_of_any_event_is_found_and_named(
    control: Path, number: int, column: str, value: object, *, as_text: bool
) -> None:
    """Of whatever SQL type, also text that is none; nothing ends the look at the others."""
    anchors, given_value = kept(control), "CAST(? AS TEXT)" if as_text and isinstance(value, bytes) else "?"
    statement = f"UPDATE OR IGNORE journal SET {column} = {given_value} WHERE number = ?"
    if column == "position" and not isinstance(value, int):
        return
    before = rows(control)
    with tampered(control, statement, value, number):
        is_changed, found = before != rows(control), problems(control, anchors)
    named = {one[1] for one in found if one[0] == "journal"}
    assert (is_changed, True) == (found != [], not is_changed or bool(named & {number, number + 1, value, None}))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("body = replace(body, 'turn', 'tarn')", "it was changed: its body is TEXT, and control writes BLOB"),
        ("body = CAST(body AS TEXT)", "it was changed: its body is TEXT, and control writes BLOB"),
        ("body = 7", "it was changed: its body is INTEGER, and control writes BLOB"),
        ("body = x'ff'", "it was changed: its digest is another"),
        ("writer = CAST(writer AS BLOB)", "it was changed: its writer is BLOB, and control writes TEXT"),
    ],
)
def test_an_event_of_another_type_is_named_and_hides_no_other(control: Path, change: str, expected: str) -> None:
    """What is wrong with the logs is told all the same."""
    (control / "log" / "budgets-000000000001.jsonl").unlink()
    with tampered(control, f"UPDATE journal SET {change} WHERE number = 3"):
        found = problems(control)
    gone = "the chain has 0 records, and 1 were anchored: its end is missing"
    assert {("journal", 3, expected), ("budgets.jsonl", 1, gone)} <= set(found)


def test_an_event_that_was_written_by_somebody_else_is_named(control: Path) -> None:
    """Even where its digest fits."""
    with closing(read_sqlite(control / "control.sqlite")) as store:
        link = Chain("control", number=6, head=store.anchors()[0].digest).add({"kind": "stop"})
    values = (link.writer, link.number, link.previous, link.digest, link.body)
    with tampered(control, "INSERT INTO journal VALUES (7, ?, ?, ?, ?, ?)", *values):
        assert [("journal", 7, "it was changed: no event, as control writes them")] == problems(control)


def test_records_of_another_type_are_named(control: Path) -> None:
    """Each of them, beside those that are edited."""
    with tampered(control, "UPDATE records SET body = CASE id WHEN 's1' THEN 7 ELSE CAST('{}' AS TEXT) END"):
        found = {problem for place, _, problem in problems(control) if place == "records"}
    assert {
        "stop s1: it was changed: its body is INTEGER, and control writes BLOB",
        "stop s1: it cannot be read, so it is not what the journal says",
        "stop s0: it was changed: its body is TEXT, and control writes BLOB",
        "stop s0: it is not what the journal says",
    } <= found


def test_tables_of_an_unknown_version_are_named(control: Path) -> None:
    """Whoever changed it, or a newer Headgate."""
    with tampered(control, "UPDATE alembic_version SET version_num = 'foreign'"):
        assert ["alembic_version"] == [place for place, _, _ in problems(control)]


def test_a_control_state_that_was_emptied_is_found_by_its_logs(control: Path) -> None:
    """Without a head that was kept elsewhere: control journals something before it decides."""
    with tampered(control, "DELETE FROM journal"), tampered(control, "DELETE FROM records"):
        said = "it is empty, and the logs have 9 records: it was emptied, or is another one's"
        assert [("journal", None, said)] == problems(control)


def test_a_log_that_was_renamed_is_found(control: Path) -> None:
    """Its records are of another writer than its name says, and begin elsewhere."""
    log = control / "log" / "budgets-000000000001.jsonl"
    renamed = log.rename(log.with_name("spending-000000000003.jsonl"))
    named = [one.problem for one in looked_at(control).all_findings if one.writer == "spending"]
    assert [
        "it is of writer 'budgets' in the chain of 'spending'",
        f"{renamed.name}: it begins with record 1 of budgets: it was renamed",
    ] == named


@pytest.mark.parametrize("number", range(1, 9))
def test_a_record_of_a_log_that_cannot_be_read_hides_no_other(control: Path, number: int) -> None:
    """The first one too: what stands after it is looked at, and its end is not said to be missing."""
    paths = sorted((control / "log").glob("gateway-*.jsonl"))
    lines = [(path, line) for path in paths for line in path.read_bytes().splitlines(keepends=True)]
    for path in paths:
        own = [line for one, line in lines if one == path]
        path.write_bytes(b"".join(b"?\n" if line == lines[number - 1][1] else line for line in own))
    found = looked_at(control)
    gateway = next(chain for chain in found.chains if chain.writer == "gateway")
    assert (8, [(lines[number - 1][0].name, number)]) == (
        gateway.number,
        [(one.place, one.number) for one in found.all_findings],
    )


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
        assert ("journal", 3, "its position is not after the last one's") in problems(control)


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
