"""A disk that fills: refused before it is full, nothing acknowledged lost when it is, and on when there is room."""

import contextlib
import errno
import os
import subprocess
import sys

import pytest

from headgate_processors.errors import OverloadError, TransientError
from headgate_processors.store.disk import Room
from headgate_processors.store.watermark import Reserve
from headgate_processors.testing.disks import OPERATIONS, FaultyDisk
from headgate_processors.testing.rows import batch, span

MIB = 1 << 20

FILL = """
import os, sys, time
from pathlib import Path
from headgate_processors.errors import OverloadError, TransientError
from headgate_processors.store import Store, StoreConfig, StoreReader, compact, CompactConfig
from headgate_processors.testing.rows import batch, child, span

root = Path("/mnt/store")
config = StoreConfig(seal_interval_s=0.1, compact_interval_s=0.0, seal_bytes=1 << 20)
acknowledged, refusals = [], []

def rows(number):
    spans = [span(number * 10 + one, trace=number) for one in range(4)]
    content = [child(one, text=os.urandom(10_000).hex()) for one in spans]
    return {"spans": batch("spans", spans), "content": batch("content", content)}, [one["record_id"] for one in spans]

def append(store, number):
    batches, ids = rows(number)
    try:
        store.append(batches)
        acknowledged.extend(ids)
        return True
    except TransientError as error:
        refusals.append(error)
        return False

with Store.open(root, writer="w", config=config) as store:
    number = 0
    while append(store, number):
        number += 1
    assert isinstance(refusals[0], OverloadError) and "nearly full" in str(refusals[0]), refusals
    assert number > 20, number
    free = os.statvfs(root)
    assert free.f_bavail * free.f_frsize >= 0.02 * free.f_blocks * free.f_frsize
    store.seal()
    compact(root, config=CompactConfig(grace_s=0))

    ballast = Path("/mnt/ballast")
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass
    for more in range(number, number + 20):
        assert not append(store, more)
    for work in (store.seal, lambda: compact(root, config=CompactConfig(grace_s=0))):
        try:
            work()
        except OSError:
            pass
    ballast.unlink()
    until = time.monotonic() + 60
    while not append(store, 1_000_000):
        assert time.monotonic() < until
        time.sleep(0.05)
    store.seal()

shown = [record_id for (record_id,) in StoreReader(root).connect().sql("SELECT record_id FROM spans").fetchall()]
content = StoreReader(root).connect().sql("SELECT count(*) FROM content").fetchall()
assert sorted(shown) == sorted(set(acknowledged)), (len(shown), len(acknowledged))
assert content == [(len(acknowledged),)], content
print("whole", len(shown))
"""


def spans(*numbers: int):
    """Rows to append: one span for each number."""
    return {"spans": batch("spans", [span(number) for number in numbers])}


def test_requests_are_refused_before_the_disk_is_full(open_store, ids) -> None:
    """Below the reserve a request is told to come back later, and is taken as soon as there is room."""
    disk = FaultyDisk()
    store = open_store(disk=disk, disk_free_min=Reserve(bytes=MIB, share=None))
    store.append(spans(1))
    disk.free_bytes = MIB

    with pytest.raises(OverloadError, match=r"nearly full: 1\.0 MiB free.*store\.disk_free_min") as refused:
        store.append(spans(2))
    lacking = store.load
    store.seal()
    disk.free_bytes = 2 * MIB
    store.append(spans(3))

    assert 5.0 == refused.value.retry_after_s
    assert (MIB, True) == (lacking.disk_free_bytes, lacking.disk_lack is not None)
    assert None is store.load.disk_lack
    assert 1 == store.counters["disk_refusals"] == store.counters["overloads"]
    assert [str(span(number)["record_id"]) for number in (1, 3)] == ids()


def test_what_waits_to_be_sealed_needs_room_too(open_store) -> None:
    """Rows in segments will be written once more, as Parquet: that room is spoken for."""
    disk = FaultyDisk()
    store = open_store(disk=disk, disk_free_min=Reserve(bytes=0, share=None))
    store.append(spans(*range(100)))
    disk.free_bytes = store.load.unsealed_bytes + 100

    with pytest.raises(OverloadError, match="nearly full"):
        store.append(spans(200))


@pytest.mark.parametrize(
    ("reserve", "expected"),
    [
        (Reserve(), 50 * MIB),
        (Reserve(share=None), 1024 * MIB),
        (Reserve(bytes=20 * MIB), 20 * MIB),
        (Reserve(bytes=None, share=0.5), 500 * MIB),
        (Reserve(bytes=None, share=None), 0),
    ],
)
def test_the_reserve_is_the_smaller_of_bytes_and_share(reserve, expected) -> None:
    """A small disk keeps its share free, a large one no more than the bytes."""
    assert expected == reserve.of(Room(free_bytes=0, total_bytes=1000 * MIB))


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_a_failing_operation_loses_nothing_and_ends_nothing(open_store, ids, operation, error) -> None:
    """Whatever the disk refuses, for however long: what was acknowledged is shown once, and the store goes on."""
    disk = FaultyDisk(error=error)
    store = open_store(disk=disk, peers_interval_s=3600.0)
    acknowledged: set[str] = set()
    refusals: list[TransientError] = []
    for number in range(6):
        disk.failing = {operation} if number in {1, 2, 4} else ()
        try:
            store.append(spans(number))
            acknowledged.add(str(span(number)["record_id"]))
        except TransientError as refused:
            refusals.append(refused)
        with contextlib.suppress(OSError):
            store.seal()

    assert all((error != errno.EIO) == isinstance(refused, OverloadError) for refused in refusals)
    assert acknowledged <= set(ids())
    assert len(set(ids())) == len(ids())
    store.close()
    assert acknowledged <= set(ids())


@pytest.mark.slow
def test_a_real_disk_that_fills_and_empties_again(tmp_path) -> None:
    """On a file system of 48 MiB: refused in time, sealed all the same, alive when full, on when there is room."""
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("needs root for a mount namespace of its own")
    mount = f'mkdir -p {tmp_path}/m && mount -t tmpfs -o size=48m none /mnt && exec {sys.executable} -c "$FILL"'
    environment = {**os.environ, "FILL": FILL}
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount], env=environment, capture_output=True, text=True, timeout=300, check=False
    )

    assert done.stdout.startswith("whole"), done.stderr[-3000:]
