"""Derived tables: whole sessions, the highest revision counts, removed ones are hidden."""

import pyarrow as pa
import pytest

from headgate_processors.store import CompactConfig, DerivedWriter, StoreConfig, StoreReader, compact
from headgate_processors.store.manifest import read_manifest
from headgate_processors.testing.disks import FaultyDisk
from headgate_processors.testing.rows import batch, span

Shown = dict[str, tuple[int, int]]


def tables(revision: int, *sessions: str, calls: int = 2) -> dict[str, pa.Table]:
    """One row in `sessions` and `calls` rows in `timeline` for each session."""
    repeated = [session for session in sessions for _ in range(calls)]
    return {
        "sessions": pa.table(
            {
                "session_id": pa.array(sessions, pa.string()),
                "revision": pa.array([revision] * len(sessions), pa.int64()),
            }
        ),
        "timeline": pa.table(
            {
                "session_id": pa.array(repeated, pa.string()),
                "revision": pa.array([revision] * len(repeated), pa.int64()),
                "seq": pa.array(list(range(calls)) * len(sessions), pa.int64()),
                "unix_nano": pa.array([10**18] * len(repeated), pa.int64()),
            }
        ),
    }


def shown(folder) -> Shown:
    """By session: its revision and number of rows in `timeline`; `sessions` must agree."""
    with StoreReader(folder).connect() as connection:
        rows = connection.sql(
            "SELECT session_id, max(revision), count(*), count(DISTINCT revision) FROM timeline GROUP BY 1"
        ).fetchall()
        sessions = dict(connection.sql("SELECT session_id, revision FROM sessions").fetchall())
    assert {1} >= {revisions for *_, revisions in rows}
    assert {session: revision for session, revision, *_ in rows} == sessions
    return {session: (revision, count) for session, revision, count, _ in rows}


@pytest.fixture(params=["as written", "compacted between", "merged in part"])
def between(request, tmp_path):
    """What happens after every write."""

    def act() -> None:
        if request.param == "compacted between":
            compact(tmp_path)
        if request.param == "merged in part":
            compact(tmp_path, config=CompactConfig(full=False))

    return act


def test_the_highest_revision_of_a_session_is_shown(tmp_path, between) -> None:
    """A restated session shows its last rows only; others stay."""
    writer = DerivedWriter(tmp_path)
    writer.write(tables(1, "a", "b"))
    between()
    writer.write(tables(2, "b", "c", calls=3))
    between()

    assert {"a": (1, 2), "b": (2, 3), "c": (2, 3)} == shown(tmp_path)


def test_a_lower_revision_that_comes_late_is_not_shown(tmp_path, between) -> None:
    """Order of arrival does not matter."""
    writer = DerivedWriter(tmp_path)
    writer.write(tables(5, "a"))
    between()
    writer.write(tables(3, "a", "b", calls=1))
    between()

    assert {"a": (5, 2), "b": (3, 1)} == shown(tmp_path)


def test_the_same_revision_again_replaces_the_first(tmp_path, between) -> None:
    """A job that did its work twice doubles nothing."""
    writer = DerivedWriter(tmp_path)
    writer.write(tables(1, "a"))
    between()
    writer.write(tables(1, "a", calls=4))
    between()

    assert {"a": (1, 4)} == shown(tmp_path)


def test_a_removed_session_is_hidden_until_it_is_written_again(tmp_path, between) -> None:
    """Removal hides what was written before, whatever its revision; a later write shows the session again."""
    writer = DerivedWriter(tmp_path)
    writer.write(tables(7, "a", "b"))
    between()
    writer.write({}, removed_session_ids=["a", "never"])
    between()
    assert {"b": (7, 2)} == shown(tmp_path)

    writer.write(tables(8, "a"), removed_session_ids=["b"])
    between()
    assert {"a": (8, 2)} == shown(tmp_path)


def test_a_session_removed_and_written_in_one_step_is_shown(tmp_path, between) -> None:
    """The rows of the same write count."""
    writer = DerivedWriter(tmp_path)
    writer.write(tables(1, "a"))
    between()
    writer.write(tables(2, "a", calls=1), removed_session_ids=["a"])
    between()

    assert {"a": (2, 1)} == shown(tmp_path)


def test_all_tables_become_live_in_one_step(tmp_path) -> None:
    """A disk that fails in the middle of a write shows nothing of it, or all."""
    DerivedWriter(tmp_path).write(tables(1, "a"))
    version = read_manifest(tmp_path).version
    for lives in range(20):
        try:
            DerivedWriter(tmp_path, disk=FaultyDisk(lives=lives)).write(tables(2, "a", calls=5))
        except OSError:
            is_live = read_manifest(tmp_path).version > version
            assert {"a": (2, 5) if is_live else (1, 2)} == shown(tmp_path)
            continue
        break

    assert lives > 1
    assert {"a": (2, 5)} == shown(tmp_path)


def test_sequences_grow_even_when_the_clock_does_not(tmp_path) -> None:
    """A clock that stands still or goes back lets the later write win all the same."""
    for number in range(3):
        DerivedWriter(tmp_path, clock=lambda number=number: 100 - number).write(tables(1, "a", calls=number + 1))

    assert {"a": (1, 3)} == shown(tmp_path)


def test_compaction_drops_what_is_not_shown(tmp_path) -> None:
    """Superseded revisions, removed sessions and tombstones are gone afterwards."""
    writer = DerivedWriter(tmp_path)
    for revision in range(1, 6):
        writer.write(tables(revision, "a", "b"))
    writer.write({}, removed_session_ids=["b"])

    report = compact(tmp_path)

    assert 27 == report.dropped_rows
    files = read_manifest(tmp_path).files
    assert {"sessions": 1, "timeline": 2} == {file.dataset: file.rows for file in files}
    assert all(file.settled for file in files)
    assert {"a": (5, 2)} == shown(tmp_path)


def test_many_sessions_are_split_by_bucket(tmp_path) -> None:
    """Large writes go to one file for each bucket; restating a few leaves the views right."""
    writer = DerivedWriter(tmp_path, config=StoreConfig(buckets=4, bucket_rows_min=10))
    names = [f"session {number}" for number in range(200)]
    writer.write(tables(1, *names))
    compact(tmp_path, config=CompactConfig(bucket_rows_min=10))
    writer.write(tables(2, *names[:3], calls=1))

    assert {0, 1, 2, 3} == {file.bucket for file in read_manifest(tmp_path).of("timeline", derived=True)} - {None}
    expected = {name: (2, 1) if number < 3 else (1, 2) for number, name in enumerate(names)}
    assert expected == shown(tmp_path)

    compact(tmp_path, config=CompactConfig(full=False, bucket_rows_min=10))
    assert expected == shown(tmp_path)
    compact(tmp_path, config=CompactConfig(bucket_rows_min=10))
    assert expected == shown(tmp_path)


def test_a_table_without_its_keys_is_refused(tmp_path) -> None:
    """Without session and revision nothing could ever replace its rows."""
    with pytest.raises(ValueError, match="needs the columns session_id and revision"):
        DerivedWriter(tmp_path).write({"sessions": pa.table({"session_id": ["a"]})})


def test_rows_keep_their_order_within_a_session(tmp_path, between) -> None:
    """A file holds the rows of a session together, in the order in which they were given."""
    writer = DerivedWriter(tmp_path)
    writer.write(tables(1, "b", "a", calls=4))
    between()

    found = StoreReader(tmp_path).query("SELECT session_id, seq FROM timeline").to_pylist()

    assert [(name, seq) for name in "ab" for seq in range(4)] == [(row["session_id"], row["seq"]) for row in found]


def test_a_reader_of_some_views_looks_at_no_file_of_others(tmp_path, open_store) -> None:
    """Raw rows and tables that are not asked for may be gone; which revision counts is still told."""
    store = open_store()
    store.append({"spans": batch("spans", [span(1)])})
    store.seal()
    writer = DerivedWriter(tmp_path)
    writer.write(tables(1, "a", "b"))
    compact(tmp_path)
    writer.write(tables(2, "a", calls=3), removed_session_ids=["b"])
    others = [file for file in read_manifest(tmp_path).files if file.dataset in {"spans", "timeline"}]
    for file in others:
        (tmp_path / file.path).unlink()

    with StoreReader(tmp_path, only=("sessions",)).connect() as connection:
        views = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        rows = connection.execute("SELECT session_id, revision FROM sessions").fetchall()

    assert ([("sessions",)], [("a", 2)]) == (views, rows)


def test_a_reader_of_some_raw_views_sees_what_is_not_sealed(tmp_path, open_store) -> None:
    """Naming a raw view takes nothing from its rows."""
    store = open_store()
    store.append({"spans": batch("spans", [span(1)])})
    store.seal()
    store.append({"spans": batch("spans", [span(2)])})

    assert 2 == StoreReader(tmp_path, only=("spans",)).query("FROM spans").num_rows
