"""Compaction in a process of its own: the same result, and nothing lost when the process or its starter ends."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from headgate_processors.errors import StoreError
from headgate_processors.store import CompactConfig, CompactionHeldError, StoreConfig
from headgate_processors.store.apart import compact_apart, read_task, written_task
from headgate_processors.store.lock import Lock
from headgate_processors.store.manifest import read_manifest
from headgate_processors.store.retention import Retention
from headgate_processors.store.watermark import Reserve
from headgate_processors.testing.rows import batch, span
from headgate_processors.testing.waiting import PATIENCE_S, wait_until


def fill(store, count: int) -> None:
    """Seal one span after the other."""
    for number in range(count):
        store.append({"spans": batch("spans", [span(number, trace=number)])})
        store.seal()


def test_it_does_what_compaction_does(tmp_path, open_store, ids) -> None:
    """Files become one, and the report comes back."""
    fill(open_store(), 5)
    before = ids()

    report = compact_apart(tmp_path, config=CompactConfig())

    assert (5, 1, 5) == (report.files_before, report.files_after, report.rewritten_rows)
    assert before == ids()


def test_a_process_with_thousands_of_open_files_can_start_it(tmp_path, open_store, ids) -> None:
    """Each connection of a receiver is a file, and some ways to wait for one know a thousand only."""
    fill(open_store(), 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(min(1100, hard - 200))]
    try:
        assert 1 == compact_apart(tmp_path, config=CompactConfig()).files_after
    finally:
        for one in held:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert 2 == len(ids())


def test_the_other_process_is_told_every_limit() -> None:
    """What is written down is read again as it was."""
    config = CompactConfig(
        full=False, threads=1, retention=Retention(spans_days=3), disk_free_min=Reserve(bytes=5, share=None)
    )

    assert (Path("/a b"), config) == read_task(written_task(Path("/a b"), config))


def test_who_compacts_already_is_named(tmp_path, open_store) -> None:
    """As in one process, the lease belongs to one."""
    fill(open_store(), 2)
    lease = Lock.take(tmp_path / "compact.lock", wait_s=0)

    with pytest.raises(CompactionHeldError, match="is being compacted by process"):
        compact_apart(tmp_path, config=CompactConfig())
    lease.release()


def test_a_failure_is_told_in_its_own_words(tmp_path) -> None:
    """What is wrong with the store is known where it was started."""
    with pytest.raises(StoreError, match="store"):
        compact_apart(tmp_path / "nowhere", config=CompactConfig())


def test_told_to_end_it_ends_and_answers(tmp_path, open_store, ids) -> None:
    """What was finished stands, whether that is all or nothing."""
    fill(open_store(), 5)

    report = compact_apart(tmp_path, config=CompactConfig(), should_end=lambda: True)

    assert 5 == report.files_before
    assert 5 == len(ids())


def test_it_does_not_outlive_who_started_it(tmp_path, open_store, ids) -> None:
    """Its input closes when its starter is killed; then it ends, and the store is as it was or compacted."""
    fill(open_store(), 5)
    task = written_task(tmp_path, CompactConfig())
    module = "headgate_processors.store.compactor"
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", module, task], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert child.stdin is not None
    child.stdin.close()

    assert child.wait(PATIENCE_S) in {0, 1}
    assert 5 == len(ids())


def test_a_running_store_compacts_apart(tmp_path, open_store, ids) -> None:
    """It counts the run, shows the same rows, and closes while one may be under way."""
    store = open_store(compact_interval_s=0.01, compact_apart=True)
    fill(store, 5)
    wait_until(lambda: "compactions" in store.counters and len(read_manifest(tmp_path).of("spans")) <= 4)
    store.close()

    assert 5 == len(ids())
    assert "compact_failures" not in store.counters


def test_only_who_asks_for_it_has_another_process() -> None:
    """A store that is opened for a moment compacts where it is."""
    assert not StoreConfig().compact_apart
