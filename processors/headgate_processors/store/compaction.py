"""Compaction: few large sorted files out of many small ones, and nothing in them that a view would hide.

Three passes. *Settle*: raw files that may hold another version of a record, and files that hold one that lost, are
rewritten without what lost. *Restate*: the same for derived tables and the revisions of sessions. *Merge*: settled
files of similar size become one. Readers and writers go on; each pass is one replacement of the manifest, and the
old files stay for the grace.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import duckdb
import pyarrow.compute as pc

from headgate_processors.errors import StoreError
from headgate_processors.memory import give_back
from headgate_processors.store.config import CompactConfig, ReaderConfig
from headgate_processors.store.derivedrows import DerivedRows
from headgate_processors.store.disk import Disk, LocalDisk, remove
from headgate_processors.store.folder import StoreFolder, open_folder
from headgate_processors.store.forgotten import mark_applied, read_forgotten
from headgate_processors.store.lock import Lock, holder_of
from headgate_processors.store.manifest import LiveFile, Manifest, read_manifest, update_manifest
from headgate_processors.store.merge import DamagedFileError, Merger, held_bytes, read_rows
from headgate_processors.store.parquet import joined
from headgate_processors.store.quarantine import scrub, set_aside_damaged
from headgate_processors.store.rawrows import PRIVATE, RawRows
from headgate_processors.store.recover import adopt
from headgate_processors.store.repeats import RECORDS
from headgate_processors.store.revisions import REMOVED
from headgate_processors.store.sandbox import open_connection
from headgate_processors.store.snapshot import Snapshot
from headgate_processors.store.sweep import remove_orphans, sweep
from headgate_processors.store.tiers import chunks, runs, within
from headgate_processors.store.watermark import Watermark

_LOG = logging.getLogger(__name__)
_ROUNDS_MAX = 3


@dataclass(slots=True, kw_only=True)
class CompactReport:
    """What one compaction did. `dropped_rows` are versions and revisions that no view showed.

    `expired_rows` are raw rows of days that are kept no longer, `postponed_files` those for whose merging the disk
    has no room, `set_aside_files` damaged ones.
    """

    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    rewritten_rows: int = 0
    dropped_rows: int = 0
    deleted_files: int = 0
    adopted_segments: int = 0
    set_aside_files: int = 0
    postponed_files: int = 0
    expired_rows: int = 0
    duration_s: float = 0.0

    @property
    def has_done_anything(self) -> bool:
        """Whether anything is other than before, or is left to do."""
        done = self.rewritten_rows + self.dropped_rows + self.deleted_files + self.adopted_segments
        return bool(done + self.set_aside_files + self.postponed_files + self.expired_rows)


class CompactionHeldError(StoreError):
    """Another process compacts the store."""


def compact(
    folder: Path,
    *,
    config: CompactConfig | None = None,
    clock: Callable[[], int] = time.time_ns,
    disk: Disk | None = None,
    should_end: Callable[[], bool] = lambda: False,
) -> CompactReport:
    """Compact one store; one process at a time, whose lease ends with it.

    `should_end` is asked between two steps: what is finished stands, the rest is left for the next time.

    Raises:
        CompactionHeldError: another process compacts it.
        StoreError: there is no store, or it is newer or damaged.
        OSError: the disk refused; what was finished before stands.
    """
    place = open_folder(folder)
    lease = Lock.try_take(folder / "compact.lock")
    if lease is None:
        holder = holder_of(folder / "compact.lock") or "another process"
        raise CompactionHeldError(f"{folder} is being compacted by {holder}: wait until it has ended")
    try:
        job = _Compaction(
            folder=place, config=config or CompactConfig(), clock=clock, disk=disk or LocalDisk(), should_end=should_end
        )
        try:
            return job.run()
        except (DamagedFileError, duckdb.Error):
            found = set_aside_damaged(folder, disk=job.disk, clock=clock)
            if not found:
                raise
        report = job.run()
        report.set_aside_files += len(found)
        return report
    finally:
        lease.release()


@dataclass(slots=True, kw_only=True)
class _Compaction:
    folder: StoreFolder
    config: CompactConfig
    clock: Callable[[], int]
    disk: Disk
    should_end: Callable[[], bool]
    report: CompactReport = field(default_factory=CompactReport)

    def run(self) -> CompactReport:
        started_s = time.monotonic()
        self.report = report = CompactReport()
        report.set_aside_files += len(scrub(self.folder.root, disk=self.disk, clock=self.clock))
        report.adopted_segments = adopt(self.folder, disk=self.disk, age_s=self.config.grace_s)
        before = read_manifest(self.folder.root).files
        report.files_before, report.bytes_before = len(before), sum(file.bytes for file in before)
        self._sweep()
        self._expire()
        version, forgotten = read_manifest(self.folder.root).version, read_forgotten(self.folder.root)
        if self._settle() and forgotten:
            mark_applied(self.folder.root, forgotten, version, disk=self.disk)
        self._restate()
        for _ in range(_ROUNDS_MAX):
            merged, doubtful = self._merge()
            if doubtful:
                self._settle()
            if not (merged and self.config.full):
                break
        after = read_manifest(self.folder.root).files
        report.files_after, report.bytes_after = len(after), sum(file.bytes for file in after)
        self._sweep()
        report.deleted_files += remove_orphans(self.folder.root, age_s=self.config.orphan_age_s)
        report.duration_s = time.monotonic() - started_s
        return report

    def _sweep(self) -> None:
        """Delete what died a grace ago: first of all, for it makes room."""
        self.report.deleted_files += sweep(
            self.folder.root, grace_s=self.config.grace_s, now_unix_nano=self.clock(), disk=self.disk
        )

    def _expire(self) -> None:
        """Let the days die that are kept no longer."""
        retention, now = self.config.retention, self.clock()
        over = retention.expired(read_manifest(self.folder.root).files, now_unix_nano=now)
        self._swap(over, [])
        self.report.expired_rows = _rows(over)
        self.report.dropped_rows -= _rows(over)
        retention.remove_damaged(self.folder.root, now_unix_nano=now)

    def _has_room(self, files: Sequence[LiveFile]) -> bool:
        """Whether these files can stand twice on the disk for the grace; if not, they stay as they are."""
        watermark = Watermark(root=self.folder.root, disk=self.disk, reserve=self.config.disk_free_min)
        lack = watermark.lacks(sum(file.bytes for file in files))
        if lack is not None:
            _LOG.warning("%d files not merged: %s", len(files), lack)
            self.report.postponed_files += len(files)
        return lack is None

    def _settle(self) -> bool:
        """Rewrite raw files that are not settled, or hold a row that lost or was forgotten; whether all were."""
        with self._connection() as (connection, snapshot):
            raw = RawRows(connection, snapshot)
            out = [
                file
                for file in snapshot.manifest.files
                if not file.derived and (not file.settled or raw.is_touched(file))
            ]
            if not self._has_room(out):
                return False
            new: list[LiveFile] = []
            for group in self._grouped(out):
                if self.should_end():
                    _discard(self.folder.root, new)
                    return False
                rows = joined(read_rows(snapshot.root, file, without=raw.lost_rows_of(file)) for file in group)
                new += self._merger.write(rows, group, settled=True)
            self._swap(out, new)
            return True

    def _restate(self) -> None:
        """Rewrite derived files without superseded rows: all of them together, or only those not settled.

        Settled files are left alone while what would restate them is small beside them; the views then leave
        their stale sessions out.
        """
        with self._connection() as (connection, snapshot):
            over = self.config.retention.derived_before(self.clock())
            derived = DerivedRows(connection, snapshot, {}, written_before=over)
            fresh = [file for file in snapshot.manifest.files if file.derived and not file.settled]
            settled = [file for file in snapshot.manifest.files if file.derived and file.settled]
            if not (fresh or derived.has_gone):
                return
            whole = self.config.full or derived.has_gone or _rows(fresh) >= _rows(settled)
            touched = [file for file in settled if whole and derived.is_touched(file)]
            chosen = (
                [*fresh, *touched] if whole else [file for run in _runs(fresh, self.config, full=False) for file in run]
            )
            if not self._has_room(chosen):
                return
            new: list[LiveFile] = []
            for group in self._grouped([file for file in chosen if file.dataset != REMOVED]):
                if self.should_end():
                    _discard(self.folder.root, new)
                    return
                rows = joined([connection.sql(derived.rows_of(group)).to_arrow_table()])
                new += self._merger.write(rows, group, settled=whole)
            gone = chosen if whole else [file for file in chosen if file.dataset != REMOVED]
            self._swap(gone, new)

    def _merge(self) -> tuple[int, int]:
        """Merge settled files of similar size; how many runs became one, and how many files were not settled at all."""
        doubtful: set[str] = set()
        merged = 0
        for run in self._bounded_runs():
            if self.should_end() or not self._has_room(run):
                break
            if self._merge_run(run):
                merged += 1
            else:
                doubtful.update(file.path for file in run)
            give_back()
        if doubtful:
            update_manifest(self.folder.root, lambda now: _unsettle(now, doubtful), disk=self.disk)
        return merged, len(doubtful)

    def _runs(self) -> list[tuple[LiveFile, ...]]:
        settled = [file for file in read_manifest(self.folder.root).files if file.settled]
        return _runs(settled, self.config, full=self.config.full)

    def _bounded_runs(self) -> Iterator[tuple[LiveFile, ...]]:
        """The runs, without what would be too much for the memory at once."""
        for run in self._runs():
            yield from (part for part in self._bounded(run) if len(part) >= self.config.files_min)

    def _bounded(self, files: Sequence[LiveFile]) -> Iterator[tuple[LiveFile, ...]]:
        size_of = partial(held_bytes, self.folder.root)
        return within(files, size_of=size_of, bytes_max=self.config.merge_bytes_max)

    def _merge_run(self, run: Sequence[LiveFile]) -> bool:
        first = run[0]
        if first.derived:
            with self._connection() as (connection, snapshot):
                rows = joined([connection.sql(DerivedRows(connection, snapshot, {}).rows_of(run)).to_arrow_table()])
                self._swap(run, self._merger.write(rows, run, settled=True))
            return True
        rows = joined(read_rows(self.folder.root, file) for file in run)
        if first.dataset in RECORDS and pc.count_distinct(rows.column("record_id")).as_py() != rows.num_rows:
            return False
        self._swap(run, self._merger.write(rows, run, settled=True))
        return True

    def _swap(self, gone: Sequence[LiveFile], new: Sequence[LiveFile]) -> None:
        paths = frozenset(file.path for file in gone)
        if not paths:
            return

        def change(manifest: Manifest) -> Manifest:
            if not paths <= {file.path for file in manifest.files}:
                return manifest
            return manifest.swap(remove=paths, add=tuple(new), now_unix_nano=self.clock())

        update_manifest(self.folder.root, change, disk=self.disk)
        self.report.rewritten_rows += _rows(new)
        self.report.dropped_rows += _rows([file for file in gone if file.dataset != REMOVED]) - _rows(new)

    def _grouped(self, files: Sequence[LiveFile]) -> Iterator[tuple[LiveFile, ...]]:
        for of_place in _by_place(files).values():
            groups = chunks(of_place, bytes_max=self.config.file_bytes_target, rows_max=self.config.merge_rows_max)
            for group in groups:
                yield from self._bounded(group)

    @property
    def _merger(self) -> Merger:
        return Merger(folder=self.folder, disk=self.disk, config=self.config)

    @contextmanager
    def _connection(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, Snapshot]]:
        """A connection over the sealed files as they are; what does not fit into memory is spilled."""
        with tempfile.TemporaryDirectory(prefix="compact-", suffix=".tmp", dir=self.folder.root) as temporary:
            settings = ReaderConfig(
                memory_limit=self.config.memory_limit, threads=self.config.threads, temp_dir=temporary
            )
            manifest = read_manifest(self.folder.root)
            with open_connection(settings) as connection:
                connection.execute(f"CREATE SCHEMA {PRIVATE}")
                yield (
                    connection,
                    Snapshot(
                        root=self.folder.root,
                        manifest=manifest,
                        hot={},
                        hot_unsettled={},
                        forgotten=read_forgotten(self.folder.root),
                    ),
                )


def _by_place(files: Sequence[LiveFile]) -> Mapping[tuple[object, ...], list[LiveFile]]:
    places: dict[tuple[object, ...], list[LiveFile]] = {}
    for file in files:
        places.setdefault((file.derived, file.dataset, file.day, file.bucket), []).append(file)
    return places


def _runs(files: Sequence[LiveFile], config: CompactConfig, *, full: bool) -> list[tuple[LiveFile, ...]]:
    return [
        run
        for of_place in _by_place(files).values()
        for run in runs(
            of_place,
            files_min=config.files_min,
            bytes_max=config.file_bytes_target,
            rows_max=config.merge_rows_max,
            full=full,
        )
    ]


def _unsettle(manifest: Manifest, paths: set[str]) -> Manifest:
    files = tuple(replace(file, settled=False) if file.path in paths else file for file in manifest.files)
    return replace(manifest, files=files)


def _rows(files: Sequence[LiveFile]) -> int:
    return sum(file.rows for file in files)


def _discard(root: Path, files: Sequence[LiveFile]) -> None:
    for file in files:
        remove(root / file.path)
