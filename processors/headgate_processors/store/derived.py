"""Derived tables: every write adds rows of whole sessions; the highest revision of a session counts."""

import time
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from headgate_processors.store.config import StoreConfig
from headgate_processors.store.disk import Disk, LocalDisk
from headgate_processors.store.folder import make_folder
from headgate_processors.store.layout import DERIVED, derived_path
from headgate_processors.store.manifest import LiveFile, Manifest, read_manifest, update_manifest
from headgate_processors.store.parquet import by_bucket, in_order, live_file, write_file
from headgate_processors.store.revisions import REMOVED, SEQUENCE


class DerivedWriter:
    """Writes derived tables of one store. One process derives a session at a time; any number may read."""

    def __init__(
        self,
        folder: Path,
        *,
        config: StoreConfig | None = None,
        clock: Callable[[], int] = time.time_ns,
        disk: Disk | None = None,
    ) -> None:
        self._disk = disk or LocalDisk()
        self._config, self._clock = config or StoreConfig(), clock
        self._folder = make_folder(folder, buckets=self._config.buckets, disk=self._disk)

    def write(self, tables: Mapping[str, pa.Table], *, removed_session_ids: Collection[str] = ()) -> None:
        """Make new revisions of sessions live, all tables in one step.

        Args:
            tables: rows by table name; each table has `session_id` and `revision`. A row counts while `sessions`
                has its session at no higher revision; of two writes of one revision the later counts.
            removed_session_ids: sessions to hide; rows of this write or a later one show them again.

        Raises:
            OSError: the disk refused; nothing of this write is live, or all of it when only the last sync failed.
                Writing the same again is right either way.
            ValueError: a table lacks `session_id` or `revision`.
        """
        for name, table in tables.items():
            if not {"session_id", "revision"} <= set(table.column_names):
                raise ValueError(f"derived table {name!r} needs the columns session_id and revision")
        sequence = max(self._clock(), read_manifest(self._folder.root).derived_sequence + 1)
        rows = {name: table for name, table in tables.items() if table.num_rows}
        if removed_session_ids:
            rows[REMOVED] = pa.table({"session_id": pa.array(sorted(removed_session_ids), pa.string())})
        files = [file for name, table in rows.items() for file in self._write_table(name, table, sequence)]

        def add(manifest: Manifest) -> Manifest:
            highest = max(manifest.derived_sequence, sequence)
            return replace(manifest.with_rows(files), derived_sequence=highest)

        if files:
            update_manifest(self._folder.root, add, disk=self._disk)

    def _write_table(self, name: str, table: pa.Table, sequence: int) -> list[LiveFile]:
        if SEQUENCE in table.column_names:
            table = table.drop_columns([SEQUENCE])
        numbered = table.append_column(SEQUENCE, pa.repeat(pa.scalar(sequence, pa.int64()), table.num_rows))
        ordered = in_order(numbered, DERIVED)
        file_name = f"derived-{uuid.uuid4().hex}"
        files = []
        for bucket, rows in by_bucket(ordered, DERIVED, self._folder, rows_min=self._config.bucket_rows_min):
            path = derived_path(name, bucket, file_name)
            written = write_file(
                rows, self._folder.root / path, self._disk, level=1, row_group_rows=self._config.row_group_rows
            )
            files.append(
                live_file(
                    rows, dataset=name, path=path, day=None, bucket=bucket, written=written, settled=False, derived=True
                )
            )
        return files
