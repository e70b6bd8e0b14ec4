"""The store: rows in, durable when `append` returns, Parquet a moment later."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa

from headgate_processors.schema import DATASETS
from headgate_processors.store.commit import Committer, Segment, merge_batches
from headgate_processors.store.config import StoreConfig
from headgate_processors.store.dedupe import Windows
from headgate_processors.store.disk import Disk, LocalDisk
from headgate_processors.store.folder import StoreFolder, check_writer, default_writer, make_folder
from headgate_processors.store.lock import Lock
from headgate_processors.store.recover import Recovered, next_sequence, recover, refill
from headgate_processors.store.seal import Rows, seal_rows

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLoad:
    """What waits in a store at this moment."""

    queued_requests: int
    queued_bytes: int
    unsealed_bytes: int
    unsealed_age_s: float
    seal_error: str | None


class Store:
    """One writer of one data folder. Open it with `Store.open`; every method may be called by any thread."""

    def __init__(
        self,
        *,
        folder: StoreFolder,
        lock: Lock,
        writer: str,
        committer: Committer,
        recovered: Recovered,
        disk: Disk,
        config: StoreConfig,
    ) -> None:
        self.writer, self.recovered = writer, recovered
        self._folder, self._lock, self._committer, self._disk, self._config = folder, lock, committer, disk, config
        self._sealing = threading.Lock()
        self._stop = threading.Event()
        self._seal_soon = threading.Event()
        self._seal_error: str | None = None
        self._oldest_s: float | None = None
        self._closed = False
        self._sealer = threading.Thread(target=self._seal_loop, name="headgate-seal", daemon=True)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        writer: str | None = None,
        config: StoreConfig = StoreConfig(),
        clock: Callable[[], int] = time.time_ns,
        disk: Disk | None = None,
    ) -> Self:
        """Take the writer's lock and recover what the last process left.

        Raises:
            StoreError: another process holds the lock, or the store is newer or damaged.
        """
        port = disk or LocalDisk()
        place = make_folder(folder, buckets=config.buckets, disk=port)
        name = check_writer(writer or default_writer())
        lock = Lock.take(place.lock(name), wait_s=config.lock_wait_s)
        try:
            recovered = recover(name, folder=place, disk=port, config=config)
            windows = Windows(rows_max=config.dedupe_rows_max, skew_ns=int(config.resend_skew_s * 1e9))
            refill(windows, folder=place, rows_max=config.dedupe_rows_max)
            soon = threading.Event()
            committer = Committer(
                folder=place,
                writer=name,
                first_sequence=next_sequence(name, place),
                windows=windows,
                disk=port,
                config=config,
                on_full=soon.set,
            )
        except BaseException:
            lock.release()
            raise
        store = cls(
            folder=place, lock=lock, writer=name, committer=committer, recovered=recovered, disk=port, config=config
        )
        store._seal_soon = soon
        committer.start()
        store._sealer.start()
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, batches: Mapping[str, pa.RecordBatch]) -> None:
        """Store rows of any datasets of `schema.DATASETS`, all or none; returns when they are durable.

        Raises:
            OverloadError: a bound was reached, or the disk is full.
            TransientError: the disk failed, the store is closing, or it took too long.
            ValueError: a batch does not follow the schema of its dataset.
        """
        for dataset, batch in batches.items():
            if dataset not in DATASETS or not batch.schema.equals(DATASETS[dataset].schema):
                raise ValueError(f"rows for {dataset!r} do not follow its schema in headgate_processors.schema")
        self._committer.submit(batches)

    def seal(self) -> None:
        """Bring every row appended so far into Parquet.

        Raises:
            OSError: the disk refused; the rows stay in their segment, and queries see them there.
        """
        with self._sealing:
            for segment in self._committer.roll():
                self._seal_segment(segment)

    def close(self) -> None:
        """Commit what is queued, seal everything, release the lock; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        self._seal_soon.set()
        self._sealer.join()
        self._committer.close()
        try:
            self.seal()
        finally:
            self._lock.release()

    @property
    def counters(self) -> Mapping[str, int]:
        """Counts since the start: `appended.DATASET`, `duplicates.DATASET`, `commits`, `commit_failures`, `overloads`, `sealed_segments`, `seal_failures`."""
        return dict(self._committer.counts)

    def _seal_segment(self, segment: Segment) -> None:
        if segment.commits:
            datasets = {dataset for commit in segment.commits for dataset in commit.batches}
            rows = {
                dataset: Rows(
                    batches=[commit.batches[dataset] for commit in segment.commits if dataset in commit.batches],
                    settled=not any(dataset in commit.unsettled for commit in segment.commits),
                )
                for dataset in sorted(datasets)
            }
            seal_rows(
                rows,
                writer=self.writer,
                sequence=segment.sequence,
                folder=self._folder,
                disk=self._disk,
                config=self._config,
            )
        else:
            segment.file.path.unlink(missing_ok=True)
        self._committer.sealed(segment)
        self._committer.counts["sealed_segments"] += 1

    def _seal_loop(self) -> None:
        while not self._stop.is_set():
            self._seal_soon.wait(self._config.seal_interval_s)
            self._seal_soon.clear()
            try:
                self.seal()
                self._seal_error = None
            except Exception as problem:
                _LOG.exception("sealing failed; the rows stay in their segment")
                self._committer.counts["seal_failures"] += 1
                self._seal_error = str(problem)
