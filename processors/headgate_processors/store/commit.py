"""Group commit: one thread writes what many callers bring, syncs once, then wakes them all."""

import errno
import logging
import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pyarrow as pa

from headgate_processors.errors import HeadgateError, OverloadError, StoreError, TooLargeError, TransientError
from headgate_processors.store.config import StoreConfig
from headgate_processors.store.dedupe import Screened, Windows
from headgate_processors.store.disk import Disk, remove
from headgate_processors.store.folder import StoreFolder
from headgate_processors.store.forgotten import Forgetting
from headgate_processors.store.peers import Peers
from headgate_processors.store.repeats import RECORDS
from headgate_processors.store.segment import Commit, SegmentWriter
from headgate_processors.store.watermark import Watermark

_LOG = logging.getLogger(__name__)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_RETRY_FULL_S = 5.0


@dataclass(slots=True, kw_only=True, eq=False)
class Segment:
    """A segment with its rows in memory, from which it is sealed."""

    sequence: int
    file: SegmentWriter
    commits: list[Commit] = field(default_factory=list)
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """What became of the records of one request (spans, log events, points; not their children).

    `duplicates` were known already, or stood twice in what was committed together. Records that are to be
    forgotten are in neither.
    """

    stored: int = 0
    duplicates: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class _Request:
    batches: Mapping[str, pa.RecordBatch]
    bytes: int
    done: threading.Event = field(default_factory=threading.Event)
    appended: Appended = Appended()
    error: HeadgateError | None = None


class Committer:
    """Owns the open segment. `submit` may be called by any number of threads."""

    def __init__(
        self,
        *,
        folder: StoreFolder,
        writer: str,
        first_sequence: int,
        windows: Windows,
        peers: Peers,
        disk: Disk,
        config: StoreConfig,
        clock: Callable[[], int],
        on_full: Callable[[], None],
    ) -> None:
        self._folder, self._writer, self._next = folder, writer, first_sequence
        self._windows, self._disk, self._config, self._on_full = windows, disk, config, on_full
        self._clock, self._peers = clock, peers
        self._forgetting = Forgetting(folder.root)
        self._watermark = Watermark(root=folder.root, disk=disk, reserve=config.disk_free_min)
        self.counts: Counter[str] = Counter()
        self._segment: Segment | None = None
        self._pending: deque[Segment] = deque()
        self._segments = threading.Lock()
        self._queue: deque[_Request] = deque()
        self._queued_bytes = 0
        self._unsealed_bytes = 0
        self._opened_s: dict[int, float] = {}
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="headgate-commit", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, batches: Mapping[str, pa.RecordBatch]) -> Appended:
        """Return when the rows are durable, with what became of them.

        Raises:
            OverloadError: a bound was reached, or the disk is full.
            TooLargeError: the rows would not fit into an empty queue.
            TransientError: the disk failed, the store is closing, or it took too long.
        """
        batches = self._without_forgotten(batches)
        request = _Request(batches=batches, bytes=sum(batch.get_total_buffer_size() for batch in batches.values()))
        self._see_room(request)
        with self._wake:
            self._admit(request)
            self._queue.append(request)
            self._queued_bytes += request.bytes
            self._wake.notify_all()
        if not request.done.wait(self._config.commit_timeout_s):
            raise TransientError(
                f"the store did not commit within {self._config.commit_timeout_s:g} s: "
                f"the disk under {self._folder.root} is slow or stuck; send again"
            )
        if request.error is not None:
            raise request.error
        return request.appended

    def roll(self) -> Sequence[Segment]:
        """End the open segment, and return all that wait for sealing, oldest first."""
        with self._segments:
            self._roll()
            return tuple(self._pending)

    def sealed(self, segment: Segment) -> None:
        """State that a segment is in Parquet: its memory is free again."""
        with self._segments:
            self._pending.remove(segment)
        with self._wake:
            self._unsealed_bytes -= segment.bytes
            self._opened_s.pop(segment.sequence, None)

    def close(self) -> None:
        """Commit what is queued, then end the thread; safe to call twice."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def load(self) -> tuple[int, int, int, float]:
        """Requests queued, bytes queued, bytes not sealed, seconds since the oldest of them was committed."""
        with self._wake:
            age_s = time.monotonic() - min(self._opened_s.values()) if self._opened_s else 0.0
            return len(self._queue), self._queued_bytes, self._unsealed_bytes, age_s

    def _without_forgotten(self, batches: Mapping[str, pa.RecordBatch]) -> Mapping[str, pa.RecordBatch]:
        try:
            kept, forgotten = self._forgetting.current.screen(batches)
        except StoreError as problem:
            raise TransientError(str(problem)) from problem
        for dataset, rows in forgotten.items():
            self.counts[f"forgotten.{dataset}"] += rows
        return kept

    @property
    def room(self) -> tuple[int, str | None]:
        """Free bytes on the disk, -1 when it does not answer, and what keeps requests from being taken, if any."""
        try:
            free_bytes = self._disk.room(self._folder.root).free_bytes
            return free_bytes, self._watermark.lacks(self._unsealed_bytes + self._queued_bytes)
        except OSError as problem:
            return -1, str(problem)

    def _see_room(self, request: _Request) -> None:
        """Refuse while the disk is nearly full: the segment, and later its Parquet files, must find room."""
        try:
            lack = self._watermark.lacks(self._unsealed_bytes + self._queued_bytes + 2 * request.bytes)
        except OSError as problem:
            raise self._failed(problem) from problem
        if lack is not None:
            self.counts["disk_refusals"] += 1
            self._refuse(lack, retry_after_s=_RETRY_FULL_S)

    def _admit(self, request: _Request) -> None:
        config = self._config
        if self._closing:
            raise TransientError("the store is closing: send again to the next start")
        if request.bytes > min(config.queue_bytes_max, config.unsealed_bytes_max):
            raise TooLargeError(
                f"{request.bytes} bytes of rows in one request, more than the store takes at once: "
                "send smaller requests"
            )
        if len(self._queue) >= config.queue_requests_max or self._queued_bytes + request.bytes > config.queue_bytes_max:
            self._refuse(f"the commit queue is full ({len(self._queue)} requests, {self._queued_bytes} bytes)")
        if self._unsealed_bytes + self._queued_bytes + request.bytes > config.unsealed_bytes_max:
            self._refuse(f"{self._unsealed_bytes} bytes wait to be sealed, at most {config.unsealed_bytes_max} may")

    def _refuse(self, why: str, *, retry_after_s: float | None = None) -> None:
        self.counts["overloads"] += 1
        raise OverloadError(f"{why}: send again later", retry_after_s=retry_after_s or self._config.retry_after_s)

    def _run(self) -> None:
        while group := self._take():
            error: HeadgateError | None = None
            try:
                _share(group, self._commit(_merge(group)))
            except OSError as problem:
                error = self._failed(problem)
            except Exception as problem:  # noqa: BLE001 -- edge of a worker: the callers are told, the thread goes on
                _LOG.exception("a commit failed")
                self.counts["commit_failures"] += 1
                error = TransientError(f"the store could not commit ({type(problem).__name__}: {problem}): send again")
            for request in group:
                request.error = error
                request.done.set()

    def _take(self) -> list[_Request]:
        with self._wake:
            while not self._queue and not self._closing:
                self._wake.wait()
            group: list[_Request] = []
            size = 0
            while self._queue and (not group or size + self._queue[0].bytes <= self._config.group_bytes_max):
                request = self._queue.popleft()
                size += request.bytes
                group.append(request)
            self._queued_bytes -= size
            return group

    def _commit(self, batches: Mapping[str, pa.RecordBatch]) -> Screened:
        with self._segments:
            self._look_around()
            screened = self._windows.screen(batches)
            if screened.batches:
                commit = Commit(batches=screened.batches, unsettled=screened.unsettled)
                self._write(commit)
                self._windows.accept(screened)
                for dataset, batch in commit.batches.items():
                    self.counts[f"appended.{dataset}"] += batch.num_rows
            for dataset, rows in screened.dropped_rows.items():
                self.counts[f"duplicates.{dataset}"] += rows
            self.counts["commits"] += 1
            return screened

    def _look_around(self) -> None:
        active = self._peers.were_active()
        if active is not None:
            self._windows.alone = not active
        if active:
            self._windows.forget_before(self._clock())

    def _write(self, commit: Commit) -> None:
        segment = self._segment or self._open()
        self._segment = segment
        try:
            size = segment.file.append(commit)
        except BaseException:
            # The frame may be there after a crash, although its sender was told to send it again.
            self._windows.forget_before(self._clock())
            self._roll()
            raise
        segment.commits.append(commit)
        segment.bytes += size
        with self._wake:
            self._unsealed_bytes += size
            self._opened_s.setdefault(segment.sequence, time.monotonic())
        if segment.bytes >= self._config.seal_bytes:
            self._roll()
            self._on_full()

    def _open(self) -> Segment:
        sequence = self._next
        self._next += 1
        return Segment(
            sequence=sequence,
            file=SegmentWriter(self._folder.segment(self._writer, sequence), self._disk),
        )

    def _roll(self) -> None:
        segment, self._segment = self._segment, None
        if segment is None:
            return
        segment.file.close()
        if segment.commits:
            self._pending.append(segment)
        else:
            with suppress(OSError):
                remove(segment.file.path)

    def _failed(self, problem: OSError) -> HeadgateError:
        _LOG.error("a commit failed: %s", problem)
        self.counts["commit_failures"] += 1
        if problem.errno in _FULL:
            return OverloadError(
                f"the disk under {self._folder.root} is full: free space; nothing of this request was kept",
                retry_after_s=_RETRY_FULL_S,
            )
        return TransientError(
            f"the disk under {self._folder.root} failed ({problem}): nothing of this request was kept, send again"
        )


def _merge(group: Sequence[_Request]) -> Mapping[str, pa.RecordBatch]:
    """The rows of all requests, one batch per dataset."""
    lists: dict[str, list[pa.RecordBatch]] = {}
    for request in group:
        for dataset, batch in request.batches.items():
            if batch.num_rows:
                lists.setdefault(dataset, []).append(batch)
    return {dataset: merge_batches(batches) for dataset, batches in lists.items()}


def _share(group: Sequence[_Request], screened: Screened) -> None:
    """Tell each request how many of its own records were stored, and how many were known."""
    starts = dict.fromkeys(RECORDS, 0)
    for request in group:
        rows = duplicates = 0
        for dataset in RECORDS:
            if dataset in request.batches:
                start = starts[dataset]
                starts[dataset] = end = start + request.batches[dataset].num_rows
                dropped = screened.dropped_numbers.get(dataset, ())
                duplicates += bisect_left(dropped, end) - bisect_left(dropped, start)
                rows += end - start
        request.appended = Appended(stored=rows - duplicates, duplicates=duplicates)


def merge_batches(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of the rows of all; dictionaries are made one."""
    if len(batches) == 1:
        return batches[0]
    return pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()[0]
