"""Compaction: fewer files, the same answers, whoever reads and writes meanwhile."""

import threading
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from headgate_processors.store import CompactConfig, CompactionHeldError, StoreReader, compact
from headgate_processors.store.disk import LocalDisk
from headgate_processors.store.lock import Lock
from headgate_processors.store.manifest import LiveFile, read_manifest, update_manifest
from headgate_processors.store.tiers import runs
from headgate_processors.testing.disks import FaultyDisk
from headgate_processors.testing.rows import NOON_NS, batch, child, span
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

SECOND_NS = 10**9
VIEWS = ("spans", "span_events", "content")


def rows(*spans):
    """Rows to append: these spans, each with an event and a piece of content."""
    return {
        "spans": batch("spans", spans),
        "span_events": batch("span_events", map(child, spans)),
        "content": batch("content", map(child, spans)),
    }


def fill(store, count: int) -> None:
    """Seal one span after the other."""
    for number in range(count):
        store.append(rows(span(number, trace=number)))
        store.seal()


def counts(folder) -> list[int]:
    """How many rows each view shows."""
    with StoreReader(folder).connect() as connection:
        return [connection.sql(f"SELECT count(*) FROM {view}").fetchall()[0][0] for view in VIEWS]


def test_small_files_become_one(tmp_path, open_store, ids) -> None:
    """Many seals are one file per dataset afterwards, with the same rows, sorted."""
    fill(open_store(), 6)
    before = [ids(view) for view in VIEWS]

    report = compact(tmp_path)

    assert (18, 3) == (report.files_before, report.files_after)
    assert (18, 0) == (report.rewritten_rows, report.dropped_rows)
    assert before == [ids(view) for view in VIEWS]
    (file,) = read_manifest(tmp_path).of("spans")
    traces = pq.read_table(tmp_path / file.path, partitioning=None).column("trace_id").to_pylist()
    assert sorted(traces) == traces
    assert file.settled


def test_files_that_are_too_much_for_the_memory_together_are_not_merged(tmp_path, open_store, ids) -> None:
    """On the disk the same text over and over is next to nothing, in memory it is not."""
    store = open_store()
    for number in range(4):
        text = "again and again " * 10_000
        store.append({"spans": batch("spans", [span(number, trace=number) | {"status_message": text}])})
        store.seal()
    before = ids()

    compact(tmp_path, config=CompactConfig(merge_bytes_max=400_000))

    assert [2, 2] == [file.rows for file in read_manifest(tmp_path).of("spans")]
    assert before == ids()


def test_a_second_compaction_has_nothing_to_do(tmp_path, open_store) -> None:
    """A compacted store is left alone."""
    fill(open_store(), 3)
    compact(tmp_path)
    version = read_manifest(tmp_path).version

    report = compact(tmp_path)

    assert (3, 3, 0) == (report.files_before, report.files_after, report.rewritten_rows)
    assert version == read_manifest(tmp_path).version


def test_an_empty_store_is_compacted_too(tmp_path, open_store) -> None:
    """Nothing in, nothing out."""
    open_store()

    assert 0 == compact(tmp_path).files_after


def test_enough_rows_are_split_by_bucket(tmp_path, open_store, ids) -> None:
    """Files of every bucket become files of one bucket each, and those of one bucket are merged."""
    store = open_store()
    config = CompactConfig(bucket_rows_min=1)
    fill(store, 20)
    compact(tmp_path, config=config)
    first = read_manifest(tmp_path).of("spans")
    for number in range(100, 140):
        store.append(rows(span(number, trace=number)))
    store.seal()
    compact(tmp_path, config=config)

    second = read_manifest(tmp_path).of("spans")
    assert None not in {file.bucket for file in first}
    assert len({file.bucket for file in second if file.bucket is not None}) == len(
        [file for file in second if file.bucket is not None]
    )
    assert 60 == sum(file.rows for file in second) == len(ids())


def test_versions_that_lost_are_dropped_for_good(tmp_path, open_store, ids) -> None:
    """Repeats past the window and unended versions go, and with them their children."""
    store = open_store(dedupe_rows_max=2)
    store.append(rows(span(1), span(2, ended=False)))
    store.append(rows(*(span(number) for number in range(10, 20))))
    store.seal()
    store.append(rows(span(1, received_ns=NOON_NS + SECOND_NS), span(2, received_ns=NOON_NS + SECOND_NS)))
    store.seal()
    before = [ids(view) for view in VIEWS]

    report = compact(tmp_path)

    assert before == [ids(view) for view in VIEWS]
    assert 6 == report.dropped_rows
    assert [12, 12, 12] == [sum(file.rows for file in read_manifest(tmp_path).of(view)) for view in VIEWS]
    assert all(file.settled for file in read_manifest(tmp_path).files)


def test_a_repeat_that_was_taken_for_settled_is_found_when_files_meet(tmp_path, open_store, ids) -> None:
    """A claim that was wrong, because a sender's clock was, is put right by the merge."""
    store = open_store(dedupe_rows_max=2)
    store.append(rows(span(1)))
    store.append(rows(*(span(number) for number in range(10, 20))))
    store.seal()
    store.append(rows(span(1, received_ns=NOON_NS + SECOND_NS)))
    store.seal()
    update_manifest(
        tmp_path,
        lambda now: replace(now, files=tuple(replace(file, settled=True) for file in now.files)),
        disk=LocalDisk(),
    )
    assert [12, 12, 12] == counts(tmp_path)

    compact(tmp_path)

    assert [11, 11, 11] == counts(tmp_path)
    assert len(set(ids())) == len(ids())


def test_replaced_files_stay_for_the_grace(tmp_path, open_store) -> None:
    """A connection made before a compaction goes on; after the grace the old files are gone."""
    fill(open_store(), 3)
    with StoreReader(tmp_path).connect() as connection:
        compact(tmp_path)
        assert [(3,)] == connection.sql("SELECT count(*) FROM spans").fetchall()
    assert 12 == len(list(tmp_path.glob("*/*/*/*.parquet")))

    report = compact(tmp_path, config=CompactConfig(grace_s=0))

    assert 9 == report.deleted_files
    assert 3 == len(list(tmp_path.glob("*/*/*/*.parquet")))
    assert () == read_manifest(tmp_path).dead


def test_one_compactor_at_a_time(tmp_path, open_store) -> None:
    """A second one learns who has the lease; when its holder is gone, the lease is free."""
    fill(open_store(), 2)
    lease = Lock.take(tmp_path / "compact.lock", wait_s=0)
    with pytest.raises(CompactionHeldError, match="is being compacted by process"):
        compact(tmp_path)
    lease.release()

    assert 3 == compact(tmp_path).files_after


def test_a_crash_in_the_middle_changes_nothing(tmp_path, open_store, ids) -> None:
    """Wherever the disk dies, the store shows the same rows, and the next compaction succeeds."""
    store = open_store(dedupe_rows_max=2)
    fill(store, 3)
    store.append(rows(span(0, trace=0, received_ns=NOON_NS + SECOND_NS)))
    store.close()
    for lives in range(100):
        disk = FaultyDisk(lives=lives, renames=lives % 2 == 1)
        try:
            compact(tmp_path, disk=disk, config=CompactConfig(grace_s=0, orphan_age_s=0))
        except OSError:
            assert [3, 3, 3] == counts(tmp_path)
            assert 3 == len(set(ids()))
            continue
        break

    assert lives > 5
    assert [3, 3, 3] == counts(tmp_path)
    compact(tmp_path, config=CompactConfig(grace_s=0, orphan_age_s=0))
    live = {file.path for file in read_manifest(tmp_path).files}
    assert live == {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*/*/*")}
    assert [] == list(tmp_path.glob("*.tmp"))


def test_leftovers_of_nobody_are_removed_when_they_are_old(tmp_path, open_store) -> None:
    """A file that no manifest names goes only after its age, for its writer may be about to name it."""
    fill(open_store(), 1)
    orphan = next(tmp_path.glob("spans/*/*")) / "gone-0000000001.parquet"
    orphan.write_bytes(b"half")
    assert 0 == compact(tmp_path).deleted_files

    assert 1 == compact(tmp_path, config=CompactConfig(orphan_age_s=0)).deleted_files
    assert not orphan.exists()


def test_what_a_killed_compaction_spilled_is_removed(tmp_path, open_store) -> None:
    """Its temporary folder goes like any leftover, and the compactions after it come to their end."""
    fill(open_store(), 2)
    spilled = tmp_path / "compact-killed.tmp"
    spilled.mkdir()
    (spilled / "duckdb_temp_storage").write_bytes(b"half")

    report = compact(tmp_path, config=CompactConfig(orphan_age_s=0))

    assert not spilled.exists()
    assert 1 == report.deleted_files


def test_segments_of_a_writer_that_is_gone_are_adopted(tmp_path, open_store, ids) -> None:
    """A container that never comes back under its name leaves nothing unsealed."""
    gone = open_store(writer="gone")
    gone.append(rows(span(1)))
    alive = open_store(writer="alive")
    alive.append(rows(span(2)))
    gone._seals.end()
    gone._committer.close()
    gone._lock.release()
    gone._closed = True

    assert 0 == compact(tmp_path).adopted_segments
    assert 1 == compact(tmp_path, config=CompactConfig(grace_s=0)).adopted_segments
    assert ["alive-0000000001.seg"] == [path.name for path in (tmp_path / "segments").iterdir()]
    assert 2 == len(ids())


@pytest.mark.slow
def test_readers_and_writers_go_on_meanwhile(tmp_path, open_store) -> None:
    """While stores seal and a compactor merges and deletes, no query counts a row twice or misses one."""
    store = open_store(seal_interval_s=0.01)
    written, stop = 0, threading.Event()
    failures: list[BaseException] = []

    def compact_often() -> None:
        try:
            while not stop.is_set():
                compact(tmp_path, config=CompactConfig(grace_s=5, full=False))
        except BaseException as error:  # noqa: BLE001 -- shown by the test
            failures.append(error)

    thread = threading.Thread(target=compact_often, daemon=True)
    thread.start()
    try:
        for number in range(40):
            store.append(rows(span(number, trace=number % 5)))
            written += 1
            if number % 4 == 0:
                assert [written] * 3 == counts(tmp_path)
    finally:
        stop.set()
        thread.join(PATIENCE_S)

    assert [] == failures
    assert [written] * 3 == counts(tmp_path)


def test_a_running_store_compacts_by_itself(tmp_path, open_store, ids) -> None:
    """The writer's own compactor merges what it sealed; closing does not wait for ever."""
    store = open_store(compact_interval_s=0.01)
    fill(store, 5)
    wait_until(lambda: "compactions" in store.counters and len(read_manifest(tmp_path).of("spans")) <= 4)
    store.close()

    assert 5 == len(ids())
    assert "compact_failures" not in store.counters


def test_a_stopped_compaction_leaves_the_rest_for_later(tmp_path, open_store, ids) -> None:
    """Told to end, it ends between two steps."""
    fill(open_store(), 4)

    report = compact(tmp_path, should_end=lambda: True)

    assert (12, 12) == (report.files_before, report.files_after)
    assert 4 == len(ids())


def test_a_file_says_since_when_its_rows_are_live(tmp_path, open_store) -> None:
    """A job that saw all rows up to a version knows that a merged file of that version holds nothing else."""
    store = open_store()
    fill(store, 2)
    seen = read_manifest(tmp_path).version
    compact(tmp_path)
    assert {True} == {file.live_version <= seen for file in read_manifest(tmp_path).files}

    fill(store, 4)
    compact(tmp_path)
    assert {True} == {file.live_version > seen for file in read_manifest(tmp_path).files}


def test_a_running_store_keeps_the_rows_of_all_buckets_together(tmp_path, open_store, ids) -> None:
    """Split by bucket, they would be merged again with those of every other minute."""
    fill(open_store(), 20)

    compact(tmp_path, config=CompactConfig(full=False, bucket_rows_min=1))

    assert [(20, None)] == [(file.rows, file.bucket) for file in read_manifest(tmp_path).of("spans")]
    assert 20 == len(ids())


def test_a_store_in_which_nothing_changes_is_not_compacted_again(tmp_path, open_store) -> None:
    """The one after a change that finds nothing to do is the last until the next change."""
    store = open_store(grace_s=3600.0)
    fill(store, 4)
    counted = []
    for _ in range(4):
        store._compact_round()
        counted.append(store.counters["compactions"])
    store.append(rows(span(9, trace=9)))
    store.seal()
    store._compact_round()

    assert [1, 2, 2, 2] == counted
    assert 3 == store.counters["compactions"]


@pytest.mark.parametrize("seals", [2, 5, 30])
@pytest.mark.parametrize("rows_each", [500, 8_000, 20_000, 45_000])
def test_a_row_is_written_again_a_few_times_however_long_a_store_runs(seals: int, rows_each: int) -> None:
    """So many seals a minute, for hours: what is merged each minute, in all, and how many files that leaves."""
    files: list[LiveFile] = []
    came = rewritten = 0
    for minute in range(100):
        files += [live(rows_each * 145, f"{minute:03d}-{number:02d}", rows=rows_each) for number in range(seals)]
        came += seals * rows_each
        for run in runs(files, files_min=4, bytes_max=64 << 20, rows_max=100_000, full=False):
            merged = sum(file.rows for file in run)
            rewritten += merged
            files = [file for file in files if file not in run]
            files.append(live(merged * 145, f"merged {run[0].path}", rows=merged))

    assert rewritten <= 4 * came
    assert len(files) <= 20 + 2 * came / 90_000


def live(size: int, name: str, *, rows: int | None = None) -> LiveFile:
    """A file of this size."""
    return LiveFile(
        dataset="spans",
        path=name,
        derived=False,
        day="2025-11-25",
        bucket=None,
        rows=rows or size,
        bytes=size,
        min_received_unix_nano=0,
        max_received_unix_nano=0,
        settled=True,
        schema_id="x",
    )


@pytest.mark.parametrize(
    ("sizes", "full", "expected"),
    [
        ([1, 1, 1, 1], False, [[1, 1, 1, 1]]),
        ([1, 1, 1], False, []),
        ([1, 1, 1, 1, 50 << 20], False, [[1, 1, 1, 1]]),
        ([1, 1, 1, 1, 50 << 20], True, [[1, 1, 1, 1, 50 << 20]]),
        ([40 << 20] * 4, False, []),
        ([20 << 20] * 4, True, [[20 << 20] * 3]),
        ([30 << 20] * 4, False, [[30 << 20] * 2]),
        ([70 << 20, 1, 1, 1, 1], True, [[1, 1, 1, 1]]),
    ],
)
def test_files_of_similar_size_are_merged(sizes, full, expected) -> None:
    """A large file is not rewritten for a few small ones, unless everything shall be."""
    files = [live(size, f"{number}.parquet") for number, size in enumerate(sizes)]

    found = runs(files, files_min=4, bytes_max=64 << 20, rows_max=10**9, full=full)

    assert expected == [[file.bytes for file in run] for run in found]
