"""What a start does with what the last end left behind."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headgate_processors.store.config import StoreConfig
from headgate_processors.store.damaged import set_aside
from headgate_processors.store.dedupe import Windows
from headgate_processors.store.disk import Disk, changed_s, remove
from headgate_processors.store.folder import StoreFolder
from headgate_processors.store.layout import sequence_of
from headgate_processors.store.lock import Lock
from headgate_processors.store.manifest import LiveFile, read_manifest, update_manifest
from headgate_processors.store.rebuild import with_unlisted
from headgate_processors.store.seal import Rows, seal_rows
from headgate_processors.store.segment import SegmentRows, read_segment

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What was found at a start: rows that were acknowledged and not sealed, what was removed, what was damaged."""

    segments: int = 0
    rows: int = 0
    cut_bytes: int = 0
    leftovers: int = 0
    damage: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not (self.segments or self.leftovers):
            return "nothing to recover"
        said = f"recovered {self.rows} rows from {self.segments} unsealed segment{'s' if self.segments != 1 else ''}"
        if self.cut_bytes:
            said += f", cut {self.cut_bytes} bytes of a commit that was not finished"
        if self.leftovers:
            said += f", removed {self.leftovers} unfinished file{'s' if self.leftovers != 1 else ''}"
        return "; ".join([said, *self.damage])


def recover(writer: str, *, folder: StoreFolder, disk: Disk, config: StoreConfig) -> Recovered:
    """Seal this writer's segments and remove its unfinished files. The caller holds the writer's lock.

    A segment with damaged frames gives all others, and is set aside.
    """
    listed = update_manifest(folder.root, lambda manifest: with_unlisted(folder.root, manifest), disk=disk)
    sealed = listed.sealed.get(writer, -1)
    segments = rows = cut = 0
    damage: list[str] = []
    for sequence, path in segments_of(folder, writer):
        if sequence <= sealed:
            remove(path)
            continue
        found = read_segment(path.read_bytes())
        for gap in found.gaps:
            _LOG.log(logging.WARNING if gap.torn else logging.ERROR, "%s: %s", path, gap)
        if found.damage:
            kept = set_aside(folder.root, path)
            damage.append(f"{path}: {', '.join(map(str, found.damage))}; kept as {kept}")
        if found.rows:
            seal_rows(_rows(found), writer=writer, sequence=sequence, folder=folder, disk=disk, config=config)
        remove(path)
        segments, rows = segments + 1, rows + found.rows
        cut += sum(gap.bytes for gap in found.gaps if gap.torn)
    leftovers = _clean(writer, folder)
    return Recovered(segments=segments, rows=rows, cut_bytes=cut, leftovers=leftovers, damage=tuple(damage))


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
            try:
                ended, open_ = _ids(folder.root / file.path, dataset)
            except (pa.ArrowException, OSError) as error:
                _LOG.error("%s: its records are not known to the window: %s", folder.root / file.path, error)
                window.forget_before((file.max_received_unix_nano or 0) + 1)
                continue
            window.add(ended=ended, open_=open_, received_unix_nano=file.max_received_unix_nano or 0)


def _ids(path: Path, dataset: str) -> tuple[set[str], set[str]]:
    """The records in a file, those of which it has an ended version and those of which it has an open one."""
    columns = ["record_id", "end_time_unix_nano"] if dataset == "spans" else ["record_id"]
    table = pq.read_table(path, columns=columns, partitioning=None)
    ids = table.column("record_id").to_pylist()
    if dataset != "spans" or not (ends := table.column("end_time_unix_nano")).null_count:
        return set(ids), set()
    unended = ends.is_null().to_pylist()
    return (
        {record_id for record_id, is_open in zip(ids, unended, strict=True) if not is_open},
        {record_id for record_id, is_open in zip(ids, unended, strict=True) if is_open},
    )


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
