"""Segments to Parquet: where rows go, and that no crash loses or doubles one."""

import contextlib
import hashlib

import pyarrow.parquet as pq
import pytest

from headgate_processors.errors import TransientError
from headgate_processors.schema import DATASETS
from headgate_processors.store.folder import open_folder
from headgate_processors.store.manifest import read_manifest
from headgate_processors.testing.disks import FaultyDisk
from headgate_processors.testing.rows import NOON_NS, batch, child, log, point, span
from headgate_processors.testing.waiting import wait_until

DAY_NS = 86_400 * 10**9


def spans(*numbers: int):
    """Rows to append: one span for each number, each with an event."""
    rows = [span(number, trace=number) for number in numbers]
    return {"spans": batch("spans", rows), "span_events": batch("span_events", map(child, rows))}


def record_ids(*numbers: int) -> list[str]:
    """The record ids of these spans, sorted."""
    return sorted(str(span(number, trace=number)["record_id"]) for number in numbers)


def test_rows_lie_under_the_day_they_were_received(tmp_path, open_store) -> None:
    """Two days in one segment are two files, whatever the times of the spans."""
    store = open_store()
    rows = [span(1, start_time_unix_nano=0), span(2, received_ns=NOON_NS + DAY_NS)]
    store.append({"spans": batch("spans", rows)})
    store.seal()

    expected = [f"spans/day=2025-11-{day}/bucket=all/w-0000000001.parquet" for day in (25, 26)]
    assert expected == sorted(file.path for file in read_manifest(tmp_path).files)
    assert ["2025-11-25", "2025-11-26"] == sorted(str(file.day) for file in read_manifest(tmp_path).files)


def test_enough_rows_are_split_by_bucket(tmp_path, open_store) -> None:
    """Once buckets are worth a file each, a trace lies in the bucket that its hash names."""
    store = open_store(bucket_rows_min=2)
    store.append(spans(*range(100)))
    store.seal()

    folder = open_folder(tmp_path)
    files = read_manifest(tmp_path).of("spans")
    assert 100 == sum(file.rows for file in files)
    assert len(files) > 8
    for file in files:
        for trace_id in pq.read_table(tmp_path / file.path, partitioning=None).column("trace_id").to_pylist():
            digest = hashlib.sha256(trace_id.encode()).hexdigest()
            assert file.bucket == folder.bucket(trace_id) == int(digest[:8], 16) % 16
        assert f"bucket={file.bucket:02d}/" in file.path


@pytest.mark.parametrize(
    ("dataset", "rows", "keys"),
    [
        ("log_events", [log(1), log(2, trace_id="t", session_key="s")], {"session-1", "t"}),
        ("metric_points", [point(1), point(2, service_name=None)], {"service-1", None}),
        ("content", [child(span(1)), child(log(1) | {"trace_id": None, "span_id": None})], {f"{1:032x}", "log-1"}),
    ],
)
def test_rows_without_a_trace_have_a_bucket_too(tmp_path, open_store, dataset, rows, keys) -> None:
    """Logs go by trace, else session; points by service; content by trace, else record."""
    store = open_store(buckets=4096, bucket_rows_min=0)
    store.append({dataset: batch(dataset, rows)})
    store.seal()

    folder = open_folder(tmp_path)
    assert {folder.bucket(key) for key in keys} == {file.bucket for file in read_manifest(tmp_path).of(dataset)}


def test_a_file_is_sorted_compressed_and_read_only(tmp_path, open_store) -> None:
    """Rows of one trace lie together in order of time; nobody writes into a sealed file."""
    store = open_store()
    rows = [span(n, trace=n % 3, start_time_unix_nano=1000 - n) for n in range(30)]
    store.append({"spans": batch("spans", rows[:15])})
    store.append({"spans": batch("spans", rows[15:])})
    store.seal()

    (file,) = read_manifest(tmp_path).files
    path = tmp_path / file.path
    table = pq.read_table(path, partitioning=None)
    order = list(zip(table["trace_id"].to_pylist(), table["start_time_unix_nano"].to_pylist(), strict=True))
    assert sorted(order) == order
    assert "ZSTD" == pq.read_metadata(path).row_group(0).column(0).compression
    assert path.stat().st_size == file.bytes
    assert 0 == path.stat().st_mode & 0o222
    assert DATASETS["spans"].schema.names == table.column_names


def test_sealing_removes_the_segment_and_frees_its_memory(tmp_path, open_store, ids) -> None:
    """After a seal no segment is left, and a second seal has nothing to do."""
    store = open_store()
    store.append(spans(1))
    assert store.load.unsealed_bytes > 0
    store.seal()
    store.seal()

    assert [] == list((tmp_path / "segments").iterdir())
    assert 0 == store.load.unsealed_bytes
    assert 1 == store.counters["sealed_segments"]
    assert record_ids(1) == ids()


def test_a_store_seals_by_itself(tmp_path, open_store) -> None:
    """By time, and at once when a segment is large enough."""
    by_time = open_store(writer="time", seal_interval_s=0.01)
    by_size = open_store(writer="size", seal_bytes=1)
    by_time.append(spans(1))
    by_size.append(spans(2))
    wait_until(lambda: not by_time.load.unsealed_bytes and not by_size.load.unsealed_bytes)

    assert {"time": 1, "size": 1} == dict(read_manifest(tmp_path).sealed)


def test_a_seal_that_fails_is_done_later(tmp_path, open_store, ids) -> None:
    """While the disk refuses Parquet, the rows stay in their segment and in every answer."""
    disk = FaultyDisk()
    store = open_store(disk=disk, seal_interval_s=0.01)
    disk.failing = {"publish"}
    store.append(spans(1))
    wait_until(lambda: "seal_failures" in store.counters)
    assert "Input/output error" in str(store.load.seal_error)
    assert record_ids(1) == ids()

    disk.failing = ()
    wait_until(lambda: not store.load.unsealed_bytes)
    assert None is store.load.seal_error
    assert record_ids(1) == ids() == ids("span_events")
    assert [] == list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("renames", [False, True], ids=["before the name", "after the name"])
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_crash_at_any_operation_loses_and_doubles_nothing(tmp_path, open_store, ids, renames, step) -> None:
    """Wherever the disk ends its life between two seals, a new process finds each acknowledged row once."""
    for lives in range(renames, 60, step):
        folder = tmp_path / f"{renames}-{lives}"
        disk = FaultyDisk(lives=lives + 6, renames=renames)
        acknowledged = _live_until_the_disk_dies(folder, disk, open_store)
        with open_store(folder):
            pass
        found = ids("spans", folder)
        assert set(acknowledged) <= set(found)
        assert sorted(set(found)) == found
        assert found == ids("span_events", folder)
        assert [] == [*folder.rglob("*.tmp"), *folder.rglob("*.seg")]
        if len(acknowledged) == 4 and len(disk.calls) <= lives + 6:
            return
    pytest.fail("the disk never lived long enough")


def _live_until_the_disk_dies(folder, disk, open_store) -> list[str]:
    acknowledged: list[str] = []
    store = open_store(folder, disk=disk)
    try:
        for number in range(4):
            store.append(spans(number))
            acknowledged += record_ids(number)
            if number % 2:
                store.seal()
        store.close()
    except (OSError, TransientError):
        with contextlib.suppress(OSError):
            store.close()
    return acknowledged
