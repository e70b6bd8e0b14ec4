"""One process per writer name; several names per folder."""

import os
import subprocess
import sys
import threading

import pytest

from headgate_processors.errors import StoreError
from headgate_processors.store import Store, StoreConfig
from headgate_processors.store.disk import LocalDisk
from headgate_processors.store.lock import Lock, is_held
from headgate_processors.store.manifest import read_manifest, start_manifest, update_manifest
from headgate_processors.testing.rows import batch, span
from headgate_processors.testing.waiting import PATIENCE_S

HOLD = """
import sys
from pathlib import Path
from headgate_processors.store import Store
with Store.open(Path(sys.argv[1]), writer="w"):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_held_store_names_its_holder(tmp_path, open_store) -> None:
    """The second process learns who holds the store, since when, by which command, and what to do."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert "open\n" == child.stdout.readline()
        with pytest.raises(StoreError) as refused:
            open_store()
        child.communicate("")

    message = str(refused.value)
    for part in (f"process {child.pid} on ", " since 20", "(-c", "writer 'w'", "headgate sql", "--data"):
        assert part in message
    assert "w" == open_store().writer


def test_a_lock_ends_with_its_process(tmp_path, open_store) -> None:
    """After `kill -9` the next start succeeds."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert "open\n" == child.stdout.readline()
        child.kill()

    assert "w" == open_store().writer


def test_writers_with_other_names_share_a_folder(open_store, ids) -> None:
    """Each has its own segments and files, and queries see the rows of both."""
    one, two = open_store(writer="one"), open_store(writer="two")
    one.append({"spans": batch("spans", [span(1)])})
    two.append({"spans": batch("spans", [span(2)])})
    one.seal()

    expected = [str(span(number)["record_id"]) for number in (1, 2)]
    assert expected == ids()
    two.close()
    assert expected == ids()


def test_the_default_writer_is_the_same_every_time(tmp_path) -> None:
    """A restart finds what the last process of this host left."""
    config = StoreConfig(compact_interval_s=0)
    with Store.open(tmp_path, config=config) as first:
        name = first.writer
    with Store.open(tmp_path, config=config) as second:
        assert name == second.writer


def test_a_failed_open_leaves_the_lock_free(tmp_path, open_store) -> None:
    """When recovery fails, the next attempt is not told that the store is held."""
    open_store().close()
    for name in ("manifest.json", "manifest.previous.json"):
        (tmp_path / name).write_text("no")
    with pytest.raises(StoreError, match="damaged"):
        open_store()

    assert not is_held(tmp_path / "writers" / "w.lock")


def test_a_lock_is_released_once(tmp_path) -> None:
    """Releasing twice does not free somebody else's file."""
    lock = Lock.take(tmp_path / "l", wait_s=0)
    assert is_held(tmp_path / "l")
    lock.release()
    fd = os.open(tmp_path / "l", os.O_RDONLY)
    lock.release()
    os.close(fd)
    assert not is_held(tmp_path / "l")


def test_many_processes_change_the_manifest_one_after_the_other(tmp_path) -> None:
    """No change of the manifest is lost, whoever makes it at the same time."""
    start_manifest(tmp_path, disk=LocalDisk())

    def change_often(writer: str) -> None:
        for sequence in range(20):
            update_manifest(
                tmp_path,
                lambda now, sequence=sequence: now.with_sealed(writer, sequence),
                disk=LocalDisk(),
            )

    threads = [threading.Thread(target=change_often, args=(f"w{number}",), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)

    found = read_manifest(tmp_path)
    assert {f"w{number}": 19 for number in range(4)} == dict(found.sealed)
    assert 81 == found.version
