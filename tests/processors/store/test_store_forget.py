"""Forgetting: hidden at once in every view, gone from the disk after the next compaction, and kept from coming back."""

import duckdb
import pyarrow as pa
import pytest

from headgate_processors.errors import StoreError
from headgate_processors.store import CompactConfig, DerivedWriter, StoreReader, compact, views
from headgate_processors.store.disk import LocalDisk
from headgate_processors.store.forgotten import (
    Tombstone,
    forget,
    read_forgotten,
    session_ids_of,
    user_hash,
)
from headgate_processors.testing.rows import NOON_NS, batch, child, log, point, span

VIEWS = ("spans", "span_events", "content", "log_events", "metric_points", "sessions")
WORDS = {number: f"secret word of {number}" for number in range(1, 5)}


def trace(number: int) -> str:
    """The trace of a span."""
    return str(span(number, trace=number)["trace_id"])


def everything(number: int, **who: object):
    """A span with an event and content, a log event and a point, of one user, session and trace."""
    one = span(number, trace=number, **who)
    where = {"trace_id": one["trace_id"]}
    return {
        "spans": batch("spans", [one]),
        "span_events": batch("span_events", [child(one)]),
        "content": batch("content", [child(one, text=WORDS[number])]),
        "log_events": batch("log_events", [log(number, **where, **who)]),
        "metric_points": batch("metric_points", [point(number, user_id=who.get("user_id"))]),
    }


def fill(folder, store) -> None:
    """Four of everything: two sealed, one in a derived table, one in a segment."""
    for number in (1, 2, 3):
        store.append(everything(number, user_id=f"user {number}"))
        store.seal()
    store.append(everything(4, user_id="user 2"))
    table = pa.table({"session_id": ["s1", "s2", "s4"], "revision": pa.array([1, 1, 1], pa.int64())})
    DerivedWriter(folder).write({"sessions": table})


def shown(folder) -> dict[str, int]:
    """Rows of each view, as Headgate shows them."""
    with StoreReader(folder).connect() as connection:
        return {view: connection.sql(f"SELECT count(*) FROM {view}").fetchall()[0][0] for view in VIEWS}


def printed(folder) -> dict[str, int]:
    """Rows of each raw view, as the printed statements show them to any DuckDB."""
    with duckdb.connect() as connection:
        connection.execute(views.sql(folder))
        return {view: connection.sql(f"SELECT count(*) FROM {view}").fetchall()[0][0] for view in VIEWS[:-1]}


def words(folder) -> set[str]:
    """Which content can be found in any file of the folder."""
    held = set()
    for path in folder.rglob("*"):
        if path.suffix == ".parquet":
            table = pa.parquet.read_table(path, partitioning=None)
            held |= {word for word in WORDS.values() if "text" in table.column_names and word in str(table["text"])}
        elif path.is_file():
            held |= {word for word in WORDS.values() if word.encode() in path.read_bytes()}
    return held


OF_USER_2 = Tombstone(
    kind="user",
    since_unix_nano=NOON_NS + 10**15,
    session_ids=("s2", "s4"),
    trace_ids=(trace(2), trace(4)),
    user_hash=user_hash("user 2"),
)


def test_rows_are_hidden_at_once_in_every_view(tmp_path, open_store) -> None:
    """Sealed or not, raw or derived, with children and content, in our connection and in any DuckDB's."""
    store = open_store()
    fill(tmp_path, store)
    assert dict.fromkeys(VIEWS[:-1], 4) | {"sessions": 3} == shown(tmp_path)

    forget(tmp_path, OF_USER_2, disk=LocalDisk())

    assert dict.fromkeys(VIEWS[:-1], 2) | {"sessions": 1} == shown(tmp_path)
    assert dict.fromkeys(VIEWS[:-1], 2) == {**printed(tmp_path)}
    store.seal()
    assert dict.fromkeys(VIEWS[:-1], 2) == printed(tmp_path)


def test_bytes_are_gone_after_compaction_and_grace(tmp_path, open_store) -> None:
    """No file holds what was forgotten, while the store runs on."""
    store = open_store()
    fill(tmp_path, store)
    forget(tmp_path, OF_USER_2, disk=LocalDisk())
    store.seal()

    compact(tmp_path, config=CompactConfig(full=False, grace_s=0))

    assert {WORDS[1], WORDS[3]} == words(tmp_path)
    assert dict.fromkeys(VIEWS[:-1], 2) | {"sessions": 1} == shown(tmp_path)
    (tombstone,) = read_forgotten(tmp_path)
    assert 0 < tombstone.applied_version
    assert "user 2" not in (tmp_path / "forgotten.json").read_text()


def test_what_was_forgotten_does_not_come_back(tmp_path, open_store) -> None:
    """A resend or a replay of the same records stores nothing; what the user does later is stored."""
    store = open_store()
    fill(tmp_path, store)
    forget(tmp_path, OF_USER_2, disk=LocalDisk())
    store.seal()
    compact(tmp_path, config=CompactConfig(grace_s=0))
    before = shown(tmp_path)

    again = store.append(everything(2, user_id="user 2"))
    no_trace = store.append({"log_events": batch("log_events", [log(9, user_id="user 2", time_unix_nano=NOON_NS)])})
    later_ns = OF_USER_2.since_unix_nano + 1
    later = store.append({"log_events": batch("log_events", [log(10, user_id="user 2", time_unix_nano=later_ns)])})

    assert (0, 0, 1) == (again.stored, no_trace.stored, later.stored)
    assert {**before, "log_events": before["log_events"] + 1} == shown(tmp_path)
    assert 1 == store.counters["forgotten.spans"] == store.counters["forgotten.content"]


def test_a_writer_that_does_not_know_yet_is_corrected(tmp_path, open_store) -> None:
    """Rows that got in beside the tombstone are hidden, and the next compaction drops them."""
    store = open_store()
    forget(tmp_path, OF_USER_2, disk=LocalDisk())
    compact(tmp_path, config=CompactConfig(grace_s=0))
    store._committer._without_forgotten = lambda batches: batches
    store.append(everything(2, user_id="user 2"))
    store.seal()

    assert 0 == printed(tmp_path)["content"]
    assert 0 == StoreReader(tmp_path).query("SELECT count(*) FROM content").column(0)[0].as_py()
    compact(tmp_path, config=CompactConfig(grace_s=0))
    assert set() == words(tmp_path)


def test_a_session_is_found_by_its_key(tmp_path, open_store) -> None:
    """Rows without a trace belong to a session by their key: those of one session go, another's stay."""
    store = open_store()
    for number, key in enumerate(("mine", "yours")):
        store.append(
            {"log_events": batch("log_events", [log(number, session_key=key, trace_id=None, service_name="agent")])}
        )
    store.seal()
    tenant = StoreReader(tmp_path).query("SELECT tenant FROM log_events").column(0)[0].as_py()

    mine = session_ids_of(tenant, "agent", "mine")[1]
    forget(tmp_path, Tombstone(kind="session", since_unix_nano=0, session_ids=(mine,)), disk=LocalDisk())

    assert ["yours"] == StoreReader(tmp_path).query("SELECT session_key FROM log_events").column(0).to_pylist()
    assert (
        0
        == store.append(
            {"log_events": batch("log_events", [log(7, session_key="mine", trace_id=None, service_name="agent")])}
        ).stored
    )


def test_a_session_derived_again_stays_hidden(tmp_path, open_store) -> None:
    """Whoever derives it anew, from rows that compaction has not removed yet: nobody sees it, and its rows go."""
    fill(tmp_path, open_store())
    forget(tmp_path, OF_USER_2, disk=LocalDisk())
    compact(tmp_path, config=CompactConfig(grace_s=0))
    table = pa.table({"session_id": ["s2"], "revision": pa.array([9], pa.int64())})
    DerivedWriter(tmp_path).write({"sessions": table})

    assert 1 == shown(tmp_path)["sessions"]
    compact(tmp_path, config=CompactConfig(full=False, grace_s=0))
    held = [pa.parquet.read_table(path)["session_id"].to_pylist() for path in tmp_path.glob("derived/sessions/*/*")]
    assert [["s1"]] == held


def test_damaged_tombstones_show_nothing_rather_than_too_much(tmp_path, open_store) -> None:
    """The copy beside them is read; without it, queries are refused and senders asked to come back."""
    fill(tmp_path, open_store())
    forget(tmp_path, OF_USER_2, disk=LocalDisk())
    (tmp_path / "forgotten.json").write_text("{")
    assert 2 == shown(tmp_path)["spans"]

    (tmp_path / "forgotten.copy.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        StoreReader(tmp_path).connect()
