"""The store: rows in, durable when `append` returns, Parquet a moment later."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa

from headgate_processors.memory import give_back
from headgate_processors.schema import DATASETS
from headgate_processors.store.apart import compact_apart
from headgate_processors.store.commit import Appended, Committer, Segment
from headgate_processors.store.compaction import CompactionHeldError, CompactReport, compact
from headgate_processors.store.config import CompactConfig, StoreConfig
from headgate_processors.store.dedupe import Windows
from headgate_processors.store.disk import Disk, LocalDisk
from headgate_processors.store.folder import StoreFolder, check_writer, default_writer, make_folder
from headgate_processors.store.forgotten import NAME as FORGOTTEN
from headgate_processors.store.layout import sequence_of
from headgate_processors.store.lock import Lock
from headgate_processors.store.loop import Loop
from headgate_processors.store.manifest import NAME as MANIFEST
from headgate_processors.store.peers import Peers
from headgate_processors.store.quarantine import scrub
from headgate_processors.store.recover import Recovered, next_sequence, recover, refill
from headgate_processors.store.seal import Rows, seal_rows
from headgate_processors.store.sweep import sweep

_LOG = logging.getLogger(__name__)
_GIVE_BACK_S = 10.0
_COMPACT_ANYHOW_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLoad:
    """What waits in a store at this moment.

    `seal_error` says why sealing fails, while it does, and `disk_lack` why requests are refused, while the disk
    is nearly full; `disk_free_bytes` is -1 when the disk does not answer.
    """

    queued_requests: int
    queued_bytes: int
    unsealed_bytes: int
    unsealed_age_s: float
    seal_error: str | None
    disk_free_bytes: int
    disk_lack: str | None


class Store:
    """One writer of one data folder. Open it with `Store.open`; every method may be called by any thread."""

    def __init__(
        self,
        *,
        folder: StoreFolder,
        writer: str,
        lock: Lock,
        recovered: Recovered,
        windows: Windows,
        peers: Peers,
        config: StoreConfig,
        clock: Callable[[], int],
        disk: Disk,
    ) -> None:
        self.writer, self.recovered = writer, recovered
        self._folder, self._lock, self._config, self._clock, self._disk = folder, lock, config, clock, disk
        self._sealing = threading.Lock()
        self._closing = threading.Lock()
        self._schemas = {name: dataset.schema for name, dataset in DATASETS.items()}
        self._closed = False
        self._seal_error: str | None = None
        self._swept_s = self._scrubbed_s = self._given_back_s = self._compacted_s = time.monotonic()
        self._settled_state: object = None
        self._seals = Loop(
            name="headgate-seal", interval_s=config.seal_interval_s, action=self._seal_round, on_error=self._seal_failed
        )
        self._compactions = Loop(
            name="headgate-compact",
            interval_s=config.compact_interval_s,
            action=self._compact_round,
            on_error=lambda _: self._count("compact_failures"),
        )
        self._committer = Committer(
            folder=folder,
            writer=writer,
            first_sequence=next_sequence(writer, folder),
            windows=windows,
            peers=peers,
            disk=disk,
            config=config,
            clock=clock,
            on_full=self._seals.soon,
        )

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        writer: str | None = None,
        config: StoreConfig | None = None,
        clock: Callable[[], int] = time.time_ns,
        disk: Disk | None = None,
    ) -> Self:
        """Take the writer's lock, recover what the last process left, start committing.

        Args:
            folder: made when it is missing.
            writer: a name that no other process uses at the same time; the host's name when it is left out.
            config: limits and intervals.
            clock: nanoseconds since the epoch.
            disk: where a test puts its failures.

        Raises:
            StoreError: another process holds the lock, or the store is newer or damaged.
        """
        port, limits = disk or LocalDisk(), config or StoreConfig()
        place = make_folder(folder, buckets=limits.buckets, disk=port)
        name = check_writer(writer or default_writer())
        lock = Lock.take(place.lock(name), wait_s=limits.lock_wait_s)
        try:
            recovered = recover(name, folder=place, disk=port, config=limits)
            _scrub(place.root, disk=port, clock=clock)
            peers = Peers(place, name, interval_s=limits.peers_interval_s)
            windows = Windows(rows_max=limits.dedupe_rows_max, skew_ns=int(limits.resend_skew_s * 1e9))
            refill(windows, folder=place, rows_max=limits.dedupe_rows_max)
            store = cls(
                folder=place,
                writer=name,
                lock=lock,
                recovered=recovered,
                windows=windows,
                peers=peers,
                config=limits,
                clock=clock,
                disk=port,
            )
        except BaseException:
            lock.release()
            raise
        store._start()
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, batches: Mapping[str, pa.RecordBatch]) -> Appended:
        """Store rows of any datasets of `schema.DATASETS`, all or none; returns when they are durable.

        What it returns counts the records of this call alone, whatever was committed together with them.

        Raises:
            OverloadError: a bound was reached, or the disk is full.
            TooLargeError: the rows would not fit into an empty queue.
            TransientError: the disk failed, the store is closing, or it took too long.
            ValueError: a batch does not follow the schema of its dataset.
        """
        for dataset, batch in batches.items():
            if dataset not in self._schemas or not batch.schema.equals(self._schemas[dataset]):
                raise ValueError(f"rows for {dataset!r} do not follow its schema in headgate_processors.schema")
        return self._committer.submit(batches)

    def seal(self) -> None:
        """Bring every row appended so far into Parquet.

        Raises:
            OSError: the disk refused; the rows stay in their segment, and queries see them there.
        """
        with self._sealing:
            for segment in self._committer.roll():
                self._seal_segment(segment)
            self._seal_error = None

    def close(self) -> None:
        """Commit what is queued, seal everything, release the lock; safe to call twice.

        Raises:
            OSError: the disk refused to seal; the rows stay in segments, and the next `open` seals them.
        """
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._compactions.end()
            self._seals.end()
            self._committer.close()
            try:
                self.seal()
            finally:
                self._lock.release()

    @property
    def counters(self) -> Mapping[str, int]:
        """Counts since the start, absent while 0.

        `appended.DATASET`, `duplicates.DATASET` and `forgotten.DATASET` in rows, `commits`, `commit_failures`,
        `overloads`, of these `disk_refusals`, `damaged_files` that were set aside, `sealed_segments`,
        `seal_failures`, `compactions`, `compact_failures`.
        """
        return dict(self._committer.counts)

    @property
    def load(self) -> StoreLoad:
        """What waits: for metrics, and for readiness."""
        requests, queued_bytes, unsealed_bytes, age_s = self._committer.load
        free_bytes, lack = self._committer.room
        return StoreLoad(
            queued_requests=requests,
            queued_bytes=queued_bytes,
            unsealed_bytes=unsealed_bytes,
            unsealed_age_s=age_s,
            seal_error=self._seal_error,
            disk_free_bytes=free_bytes,
            disk_lack=lack,
        )

    def _start(self) -> None:
        self._committer.start()
        self._seals.start()
        if self._config.compact_interval_s > 0:
            self._compactions.start()

    def _seal_segment(self, segment: Segment) -> None:
        seal_rows(
            _rows_of(segment),
            writer=self.writer,
            sequence=segment.sequence,
            folder=self._folder,
            disk=self._disk,
            config=self._config,
        )
        self._count("sealed_segments")
        self._committer.sealed(segment)

    def _seal_round(self) -> None:
        self.seal()
        if time.monotonic() - self._scrubbed_s >= self._config.scrub_interval_s:
            self._scrubbed_s = time.monotonic()
            self._committer.counts["damaged_files"] += _scrub(self._folder.root, disk=self._disk, clock=self._clock)
        if time.monotonic() - self._given_back_s >= _GIVE_BACK_S:
            self._given_back_s = time.monotonic()
            give_back()
        grace_s = self._config.grace_s
        if time.monotonic() - self._swept_s >= grace_s:
            self._swept_s = time.monotonic()
            sweep(self._folder.root, grace_s=grace_s, now_unix_nano=self._clock(), disk=self._disk)

    def _seal_failed(self, error: Exception) -> None:
        self._seal_error = str(error)
        self._count("seal_failures")

    def _compact_round(self) -> None:
        state = self._state()
        if self._is_idle(state):
            return
        self._compacted_s = time.monotonic()
        try:
            report = self._compact()
        except CompactionHeldError:
            return
        self._settled_state = None if report.has_done_anything else state
        self._count("compactions")
        self._committer.counts["damaged_files"] += report.set_aside_files

    def _is_idle(self, state: object) -> bool:
        """Whether the last compaction found nothing to do, nothing came since, and it was not long ago."""
        if state != self._settled_state or time.monotonic() - self._compacted_s >= _COMPACT_ANYHOW_S:
            return False
        named = (sequence_of(path) for path in self._folder.segments.glob("*.seg"))
        return all(one is not None and one[0] == self.writer for one in named)

    def _state(self) -> object:
        """What is different after any change of the live files, or of what is to be forgotten."""
        paths = (self._folder.root / name for name in (MANIFEST, FORGOTTEN))
        return [(found.st_ino, found.st_mtime_ns) for path in paths if path.exists() and (found := path.stat())]

    def _compact(self) -> CompactReport:
        config = CompactConfig(
            full=False,
            files_min=4,
            merge_rows_max=100_000,
            merge_bytes_max=256 << 20,
            row_group_rows=32_768,
            memory_limit="512MB",
            threads=1,
            grace_s=self._config.grace_s,
            bucket_rows_min=self._config.bucket_rows_min,
            disk_free_min=self._config.disk_free_min,
            retention=self._config.retention,
        )

        def should_end() -> bool:
            return self._compactions.is_ending

        if self._config.compact_apart:
            return compact_apart(self._folder.root, config=config, should_end=should_end)
        return compact(self._folder.root, config=config, clock=self._clock, disk=self._disk, should_end=should_end)

    def _count(self, name: str) -> None:
        self._committer.counts[name] += 1


def _scrub(root: Path, *, disk: Disk, clock: Callable[[], int]) -> int:
    """Set aside damaged files, if the disk lets it; how many."""
    try:
        return len(scrub(root, disk=disk, clock=clock))
    except OSError as error:
        _LOG.error("damaged files could not be set aside: %s", error)
        return 0


def _rows_of(segment: Segment) -> dict[str, Rows]:
    datasets = sorted({dataset for commit in segment.commits for dataset in commit.batches})
    return {
        dataset: Rows(
            batches=[commit.batches[dataset] for commit in segment.commits if dataset in commit.batches],
            settled=not any(dataset in commit.unsettled for commit in segment.commits),
        )
        for dataset in datasets
    }
