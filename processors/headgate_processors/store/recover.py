"""What a start does with what the last end left behind."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from headgate_processors.store.config import StoreConfig
from headgate_processors.store.dedupe import Windows
from headgate_processors.store.disk import Disk, changed_s, remove
from headgate_processors.store.folder import StoreFolder, sequence_of
from headgate_processors.store.lock import Lock
from headgate_processors.store.manifest import LiveFile, read_manifest
from headgate_processors.store.seal import Rows, seal_rows
from headgate_processors.store.segment import SegmentRows, read_segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What was found at a start: rows by dataset that were acknowledged and not sealed, and what was removed."""

    segments: int = 0
    rows: int = 0
    cut_bytes: int = 0
    leftovers: int = 0

    def __str__(self) -> str:
        if not (self.segments or self.leftovers):
            return "nothing to recover"
        said = f"recovered {self.rows} rows from {self.segments} unsealed segment{'s' if self.segments != 1 else ''}"
        if self.cut_bytes:
            said += f", cut {self.cut_bytes} bytes of a commit that was not finished"
        if self.leftovers:
            said += f", removed {self.leftovers} unfinished file{'s' if self.leftovers != 1 else ''}"
        return said


def recover(writer: str, *, folder: StoreFolder, disk: Disk, config: StoreConfig) -> Recovered:
    """Seal this writer's segments and remove its unfinished files. The caller holds the writer's lock."""
    sealed = read_manifest(folder.root).sealed.get(writer, -1)
    segments = rows = cut = 0
    for sequence, path in segments_of(folder, writer):
        if sequence <= sealed:
            remove(path)
            continue
        found = read_segment(path.read_bytes())
        if found.rows:
            seal_rows(_rows(found), writer=writer, sequence=sequence, folder=folder, disk=disk, config=config)
        remove(path)
        segments, rows, cut = segments + 1, rows + found.rows, cut + found.cut_bytes
    return Recovered(segments=segments, rows=rows, cut_bytes=cut, leftovers=_clean(writer, folder))


def adopt(folder: StoreFolder, *, disk: Disk, age_s: float) -> int:
    """Seal the segments of writers that are gone for at least `age_s`; how many."""
    before = time.time() - age_s
    found = [(sequence_of(path), path) for path in folder.segments.glob("*.seg")]
    writers = {named[0] for named, path in found if named and changed_s(path) < before}
    adopted = 0
    for writer in sorted(writers):
        lock = Lock.try_take(folder.lock(writer))
        if lock is not None:
            try:
                adopted += recover(writer, folder=folder, disk=disk, config=StoreConfig()).segments
            finally:
                lock.release()
    return adopted


def segments_of(folder: StoreFolder, writer: str) -> Sequence[tuple[int, Path]]:
    """The segments of one writer, oldest first."""
    found = [
        (named[1], path)
        for path in folder.segments.glob("*.seg")
        if (named := sequence_of(path)) and named[0] == writer
    ]
    return sorted(found)


def next_sequence(writer: str, folder: StoreFolder) -> int:
    """A segment number that this writer never used."""
    used = [
        read_manifest(folder.root).sealed.get(writer, 0),
        *(sequence for sequence, _ in segments_of(folder, writer)),
    ]
    return max(used) + 1


def refill(windows: Windows, *, folder: StoreFolder, rows_max: int) -> None:
    """Fill the windows with the newest records of the store; what does not fit leaves them incomplete."""
    manifest = read_manifest(folder.root)
    for dataset, window in windows.by_dataset.items():
        files = sorted(manifest.of(dataset), key=lambda file: file.max_received_unix_nano or 0, reverse=True)
        chosen, complete = _newest(files, rows_max // 2)
        if not complete:
            window.forget_before(
                max((file.max_received_unix_nano or 0 for file in files[len(chosen) :]), default=0) + 1
            )
        for file in reversed(chosen):
            columns = ["record_id", "end_time_unix_nano"] if dataset == "spans" else ["record_id"]
            table = pq.read_table(folder.root / file.path, columns=columns, partitioning=None)
            ids = table.column("record_id").to_pylist()
            open_ = set()
            if dataset == "spans" and (ends := table.column("end_time_unix_nano")).null_count:
                open_ = {
                    record_id for record_id, unended in zip(ids, ends.is_null().to_pylist(), strict=True) if unended
                }
            ended = (
                set(ids) - open_
                if not open_
                else {record_id for record_id, end in zip(ids, ends.to_pylist(), strict=True) if end is not None}
            )
            window.add(ended=ended, open_=open_, received_unix_nano=file.max_received_unix_nano or 0)


def _newest(files: Sequence[LiveFile], rows_max: int) -> tuple[Sequence[LiveFile], bool]:
    rows = 0
    for position, file in enumerate(files):
        rows += file.rows
        if rows > rows_max:
            return files[:position], False
    return files, True


def _rows(found: SegmentRows) -> dict[str, Rows]:
    return {
        dataset: Rows(
            batches=[
                batch
                for tables in (found.settled, found.unsettled)
                if dataset in tables
                for batch in tables[dataset].to_batches()
            ],
            settled=dataset not in found.unsettled,
        )
        for dataset in {*found.settled, *found.unsettled}
    }


def _clean(writer: str, folder: StoreFolder) -> int:
    """Remove files of this writer that never became live."""
    manifest = read_manifest(folder.root)
    known = {file.path for file in manifest.files} | {file.path for file in manifest.dead}
    removed = 0
    for path in folder.root.glob(f"*/day=*/bucket=*/{writer}-*.parquet*"):
        name = path.name.removesuffix(".tmp").removesuffix(".parquet")
        mine = name.rpartition("-")[0] == writer
        if mine and str(path.relative_to(folder.root)) not in known:
            remove(path)
            removed += 1
    return removed
