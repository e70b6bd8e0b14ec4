"""Mending a store: the manifest made anew when it is lost, damaged files set aside, whole ones taken back."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from headgate_processors.store.check import examine
from headgate_processors.store.config import CompactConfig, ReaderConfig
from headgate_processors.store.disk import Disk, LocalDisk
from headgate_processors.store.folder import open_folder
from headgate_processors.store.live import LiveFile
from headgate_processors.store.manifest import DamagedManifestError, read_manifest, replace_manifest, update_manifest
from headgate_processors.store.merge import Merger, read_rows
from headgate_processors.store.quarantine import quarantine, take_back
from headgate_processors.store.rebuild import manifest_of_files, with_unlisted
from headgate_processors.store.relation import parquet
from headgate_processors.store.repeats import CHILD_KEYS
from headgate_processors.store.sandbox import open_connection
from headgate_processors.store.survey import ORPHAN_AGE_S, Report
from headgate_processors.store.sweep import remove_orphans


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What a repair did; `derive` says that derived tables have to be made again from the raw rows."""

    manifest_rebuilt: bool
    listed_files: int
    set_aside: tuple[str, ...]
    taken_back: tuple[str, ...]
    removed_orphans: int
    dropped_repeats: int
    derive: bool


def repair(
    root: Path,
    *,
    disk: Disk | None = None,
    clock: Callable[[], int] = time.time_ns,
    report: Report = lambda _done, _total: None,
) -> Repaired:
    """Mend what can be mended; a store may be written and read meanwhile.

    Raises:
        StoreError: there is no store, or it is newer.
        OSError: the disk refused; what was done stands.
    """
    folder, port = open_folder(root), disk or LocalDisk()
    rebuilt, dropped = False, 0
    try:
        epoch = read_manifest(root).derived_epoch
    except DamagedManifestError:
        rebuilt, epoch = True, 0
        replace_manifest(root, manifest_of_files(root), disk=port)
        for child in CHILD_KEYS:
            dropped += _drop_repeats(Merger(folder=folder, disk=port, config=CompactConfig()), child, clock)
    before = len(read_manifest(root).files)
    after = update_manifest(root, lambda manifest: with_unlisted(root, manifest), disk=port)
    back = take_back(root, disk=port)
    damaged = []
    live = read_manifest(root).files
    for number, file in enumerate(live, start=1):
        if (damage := examine(root, file)) is not None:
            damaged.append(damage)
        report(number, len(live))
    quarantine(root, damaged, disk=port, clock=clock)
    return Repaired(
        manifest_rebuilt=rebuilt,
        listed_files=len(after.files) - before,
        set_aside=tuple(one.file.path for one in damaged),
        taken_back=tuple(file.path for file in back),
        removed_orphans=remove_orphans(root, age_s=ORPHAN_AGE_S),
        dropped_repeats=dropped,
        derive=read_manifest(root).derived_epoch > epoch,
    )


def _drop_repeats(merger: Merger, dataset: str, clock: Callable[[], int]) -> int:
    """Rewrite files of a child dataset without rows that stand in another file too; how many rows.

    A manifest made of all files holds both a compacted file and its sources; views find repeated records by
    themselves, but not children whose record stands there once.
    """
    root = merger.folder.root
    files = {str(root / file.path): file for file in read_manifest(root).of(dataset)}
    if not files:
        return 0
    key = ", ".join(("record_id", "received_unix_nano", *CHILD_KEYS[dataset]))
    query = f"""
SELECT filename, list(file_row_number) FROM (
  SELECT filename, file_row_number, row_number() OVER (PARTITION BY {key} ORDER BY filename, file_row_number) AS copy
  FROM {parquet(list(files), mixed=True)}
) WHERE copy > 1 GROUP BY filename"""
    with open_connection(ReaderConfig()) as connection:
        found = connection.execute(query).fetchall()
    for filename, numbers in found:
        _rewrite(merger, files[filename], set(numbers), clock)
    return sum(len(numbers) for _, numbers in found)


def _rewrite(merger: Merger, file: LiveFile, without: set[int], clock: Callable[[], int]) -> None:
    rows = read_rows(merger.folder.root, file, without=without)
    new = [replace(one, live_version=file.live_version) for one in merger.write(rows, [file], settled=False)]
    update_manifest(
        merger.folder.root,
        lambda now: now.swap(remove=frozenset({file.path}), add=tuple(new), now_unix_nano=clock()),
        disk=merger.disk,
    )
