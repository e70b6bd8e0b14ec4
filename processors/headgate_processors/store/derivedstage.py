"""Derived tables of many sessions: files are written aside by any number of processes, and become live together."""

import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from headgate_processors.store.config import StoreConfig
from headgate_processors.store.disk import Disk, LocalDisk
from headgate_processors.store.layout import DERIVED, derived_path
from headgate_processors.store.manifest import LiveFile, Manifest, read_manifest, update_manifest
from headgate_processors.store.parquet import in_order, live_file, make_folders, write_file
from headgate_processors.store.revisions import REMOVED, SEQUENCE


class DerivedStage:
    """Writes derived files into the folder `aside`, on the file system of the store, and makes them live later."""

    def __init__(
        self,
        root: Path,
        aside: Path,
        *,
        config: StoreConfig | None = None,
        clock: Callable[[], int] = time.time_ns,
        disk: Disk | None = None,
    ) -> None:
        self._root, self._aside = root, aside
        self._config, self._clock, self._disk = config or StoreConfig(), clock, disk or LocalDisk()

    def next_sequence(self) -> int:
        """A write sequence higher than that of every live row."""
        return max(self._clock(), read_manifest(self._root).derived_sequence + 1)

    def write(self, tables: Mapping[str, pa.Table], *, sequence: int) -> list[LiveFile]:
        """Write rows of whole sessions, one file for each table; nobody sees them yet.

        Raises:
            OSError: the disk refused.
        """
        return [self._write(name, table, sequence) for name, table in tables.items() if table.num_rows]

    def publish(
        self,
        files: Sequence[LiveFile],
        *,
        sequence: int,
        instead: bool = False,
        removed_session_ids: Collection[str] = (),
    ) -> None:
        """Make written files live in one step, and hide the sessions that were removed.

        With `instead` they hold every session and replace all derived files that there are: no row of them is
        another version of one that stays.

        Raises:
            OSError: the disk refused; nothing is live, or all of it when only the last sync failed.
        """
        if removed_session_ids and not instead:
            gone = pa.table({"session_id": pa.array(sorted(removed_session_ids), pa.string())})
            files = [*files, self._write(REMOVED, gone, sequence)]
        folders = dict.fromkeys((self._root / file.path).parent for file in files)
        for folder in folders:
            make_folders(folder, self._disk)
        for file in files:
            (self._aside / file.path).replace(self._root / file.path)
        for folder in folders:
            self._disk.sync_folder(folder)

        def change(manifest: Manifest) -> Manifest:
            highest = max(manifest.derived_sequence, sequence)
            if not instead:
                return replace(manifest.with_rows(files), derived_sequence=highest)
            before = frozenset(file.path for file in manifest.files if file.derived)
            after = manifest.swap(remove=before, add=(), now_unix_nano=self._clock())
            settled = [replace(file, settled=True) for file in files]
            return replace(after.with_rows(settled), derived_sequence=highest)

        if files or instead:
            update_manifest(self._root, change, disk=self._disk)

    def _write(self, name: str, table: pa.Table, sequence: int) -> LiveFile:
        numbered = table.append_column(SEQUENCE, pa.repeat(pa.scalar(sequence, pa.int64()), table.num_rows))
        rows = in_order(numbered, DERIVED)
        path = derived_path(name, None, f"derived-{uuid.uuid4().hex}")
        written = write_file(rows, self._aside / path, self._disk, level=1, row_group_rows=self._config.row_group_rows)
        return live_file(
            rows, dataset=name, path=path, day=None, bucket=None, written=written, settled=False, derived=True
        )
