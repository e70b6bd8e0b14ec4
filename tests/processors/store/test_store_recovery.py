"""What a start finds after the last process ended badly."""

import subprocess
import sys

import pytest

from headgate_processors.errors import TransientError
from headgate_processors.store.manifest import read_manifest
from headgate_processors.store.recover import Recovered
from headgate_processors.testing.disks import FaultyDisk
from headgate_processors.testing.rows import batch, child, span

APPEND = """
import sys
from pathlib import Path
from headgate_processors.store import Store, StoreConfig
from headgate_processors.testing.rows import batch, child, span
config = StoreConfig(seal_interval_s=0.02, compact_interval_s=0.1, grace_s=0.2)
with Store.open(Path(sys.argv[1]), writer="w", config=config) as store:
    number = int(sys.argv[2])
    while True:
        rows = [span(number * 10 + one, trace=number) for one in range(3)]
        store.append({"spans": batch("spans", rows), "span_events": batch("span_events", map(child, rows))})
        print(*(row["record_id"] for row in rows), flush=True)
        number += 1
"""


def spans(*numbers: int):
    """Rows to append: one span for each number."""
    return {"spans": batch("spans", [span(number) for number in numbers])}


def record_ids(*numbers: int) -> list[str]:
    """The record ids of these spans, sorted."""
    return [str(span(number)["record_id"]) for number in sorted(numbers)]


def abandon(store) -> None:
    """Let a store go as `kill -9` would: its lock is free, its segment stays."""
    store._seals.end()
    store._committer.close()
    store._lock.release()
    store._closed = True


@pytest.mark.slow
def test_kill_9_under_load_loses_and_doubles_nothing(tmp_path, open_store, ids) -> None:
    """Three times a process is killed between appends, seals and compactions; what it acknowledged is there once."""
    acknowledged: list[str] = []
    for life in range(3):
        command = [sys.executable, "-c", APPEND, str(tmp_path), str(life * 100_000 + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                for _ in range(40):
                    acknowledged += process.stdout.readline().split()
            finally:
                process.kill()
            acknowledged += process.stdout.read().split("\n")[0].split()

    open_store().close()
    found = ids()
    assert set(acknowledged) <= set(found)
    assert len(set(found)) == len(found)
    assert found == ids("span_events")


def test_what_was_not_sealed_is_recovered_and_told(tmp_path, open_store, ids) -> None:
    """The next start seals the segment, and says how many rows and bytes it was about."""
    store = open_store()
    store.append(spans(1, 2))
    store.append(spans(3))
    abandon(store)
    (segment,) = (tmp_path / "segments").iterdir()
    content = segment.read_bytes()
    segment.write_bytes(content[:-5])

    store = open_store()

    lost = len(content) - 5 - store_frame_end(content)
    assert Recovered(segments=1, rows=2, cut_bytes=lost, leftovers=0) == store.recovered
    assert f"recovered 2 rows from 1 unsealed segment, cut {lost} bytes of a commit that was not finished" == str(
        store.recovered
    )
    assert record_ids(1, 2) == ids()
    assert [] == list((tmp_path / "segments").iterdir())


def store_frame_end(content: bytes) -> int:
    """Where the first frame of a segment of two ends."""
    return content.index(b"HGFR", content.index(b"HGFR") + 4)


def test_a_clean_start_has_nothing_to_tell(open_store) -> None:
    """After a proper end there is nothing to recover."""
    open_store().close()

    assert "nothing to recover" == str(open_store().recovered)


def test_a_segment_already_sealed_is_not_read_again(tmp_path, open_store, ids) -> None:
    """A crash between the manifest and the removal of the segment doubles nothing."""
    store = open_store()
    store.append(spans(1))
    (segment,) = (tmp_path / "segments").iterdir()
    content = segment.read_bytes()
    store.close()
    segment.write_bytes(content)
    assert record_ids(1) == ids()

    assert Recovered() == open_store().recovered
    assert record_ids(1) == ids()
    assert not segment.exists()


def test_unfinished_files_are_removed(tmp_path, open_store, ids) -> None:
    """Parquet of this writer that never became live goes; that of another writer, which may be at work, stays."""
    store = open_store()
    store.append(spans(1))
    store.close()
    place = next(tmp_path.glob("spans/*/*"))
    for name in ("w-0000000009.parquet", "w-0000000009.parquet.tmp", "v-0000000001.parquet", "w-w-0000000001.parquet"):
        (place / name).write_bytes(b"half")

    store = open_store()

    assert Recovered(leftovers=2) == store.recovered
    assert "removed 2 unfinished files" in str(store.recovered)
    assert {"v-0000000001.parquet", "w-0000000001.parquet", "w-w-0000000001.parquet"} == {
        path.name for path in place.iterdir()
    }
    assert record_ids(1) == ids()


def test_an_empty_segment_is_removed(tmp_path, open_store) -> None:
    """A process that died before its first commit leaves an empty file behind."""
    open_store().close()
    (tmp_path / "segments" / "w-0000000004.seg").write_bytes(b"")

    store = open_store()
    store.append(spans(1))
    store.seal()

    assert 1 == store.recovered.segments
    assert {"w": 1} == dict(read_manifest(tmp_path).sealed)


def test_a_recovered_repeat_is_known_to_the_window(open_store, ids) -> None:
    """What the last process stored is remembered by the next, sealed or not."""
    store = open_store()
    store.append(spans(1))
    store.seal()
    store.append(spans(2))
    abandon(store)

    store = open_store()
    store.append(spans(1, 2, 3))

    assert {"appended.spans": 1, "duplicates.spans": 2} == {
        name: count for name, count in store.counters.items() if name.endswith("spans")
    }
    assert record_ids(1, 2, 3) == ids()


def test_a_commit_that_failed_and_stayed_is_one_row_with_its_resend(tmp_path, open_store, ids) -> None:
    """A frame that could be neither synced nor cut back comes up again after a crash; its record does not twice."""
    disk = FaultyDisk()
    store = open_store(disk=disk)
    store.append(spans(0))
    disk.failing = {"sync", "truncate"}
    with pytest.raises(TransientError):
        store.append(spans(1))
    disk.failing = ()
    store.append(spans(1))
    abandon(store)

    open_store()

    assert 3 == sum(file.rows for file in read_manifest(tmp_path).files)
    assert record_ids(0, 1) == ids()


def test_children_and_their_records_are_recovered_together(open_store, ids) -> None:
    """A commit holds all its datasets after recovery."""
    one = span(1)
    store = open_store()
    store.append({"spans": batch("spans", [one]), "content": batch("content", [child(one, 0), child(one, 1)])})
    abandon(store)
    open_store()

    assert (1, 2) == (len(ids()), len(ids("content")))
