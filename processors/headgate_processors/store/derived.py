"""Derived tables: every write adds rows of whole sessions; the highest revision of a session counts."""

import time
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from headgate_processors.store.config import StoreConfig
from headgate_processors.store.disk import Disk, LocalDisk
from headgate_processors.store.folder import derived_path, make_folder
from headgate_processors.store.layout import DERIVED
from headgate_processors.store.manifest import LiveFile, Manifest, read_manifest, update_manifest
from headgate_processors.store.parquet import by_bucket, in_order, schema_id, write_file

SEQUENCE = "write_sequence"
REMOVED = "removed_sessions"
SESSIONS = "sessions"


class DerivedWriter:
    """Writes derived tables of one store. One process derives a session at a time; any number may read."""

    def __init__(
        self,
        folder: Path,
        *,
        config: StoreConfig = StoreConfig(),
        clock: Callable[[], int] = time.time_ns,
        disk: Disk | None = None,
    ) -> None:
        self._disk = disk or LocalDisk()
        self._folder = make_folder(folder, buckets=config.buckets, disk=self._disk)
        self._config, self._clock = config, clock

    def write(self, tables: Mapping[str, pa.Table], *, removed_session_ids: Collection[str] = ()) -> None:
        """Make new revisions of sessions live, all tables in one step.

        Args:
            tables: rows by table name; each table has `session_id` and `revision`. A row counts while `sessions`
                has its session at no higher revision; of two writes of one revision the later counts.
            removed_session_ids: sessions to hide; rows of this write or a later one show them again.

        Raises:
            OSError: the disk refused; nothing of this write is live.
            ValueError: a table lacks `session_id` or `revision`.
        """
        for name, table in tables.items():
            if not {"session_id", "revision"} <= set(table.column_names):
                raise ValueError(f"derived table {name!r} needs the columns session_id and revision")
        sequence = max(self._clock(), read_manifest(self._folder.root).derived_sequence + 1)
        rows = {name: table for name, table in tables.items() if table.num_rows}
        if removed_session_ids:
            rows[REMOVED] = pa.table({"session_id": pa.array(sorted(removed_session_ids), pa.string())})
        files = tuple(file for name, table in rows.items() for file in self._write_table(name, table, sequence))

        def add(manifest: Manifest) -> Manifest:
            highest = max(manifest.derived_sequence, sequence)
            return replace(manifest, files=manifest.files + files, derived_sequence=highest)

        if files:
            update_manifest(self._folder.root, add, disk=self._disk)

    def _write_table(self, name: str, table: pa.Table, sequence: int) -> list[LiveFile]:
        if SEQUENCE in table.column_names:
            table = table.drop_columns([SEQUENCE])
        numbered = table.append_column(SEQUENCE, pa.array([sequence], pa.int64()).take(_zeros(table.num_rows)))
        ordered = in_order(numbered.to_batches(), DERIVED)
        file_name = f"derived-{uuid.uuid4().hex}"
        files = []
        for bucket, rows in by_bucket(ordered, DERIVED, self._folder, rows_min=self._config.bucket_rows_min):
            path = derived_path(name, bucket, file_name)
            size = write_file(
                rows, self._folder.root / path, self._disk, level=1, row_group_rows=self._config.row_group_rows
            )
            files.append(derived_file(name, path, bucket, rows, size, settled=False))
        return files


def derived_file(name: str, path: str, bucket: int | None, rows: pa.Table, size: int, *, settled: bool) -> LiveFile:
    """The manifest's entry for one derived file."""
    return LiveFile(
        dataset=name,
        path=path,
        derived=True,
        day=None,
        bucket=bucket,
        rows=rows.num_rows,
        bytes=size,
        min_received_unix_nano=None,
        max_received_unix_nano=None,
        settled=settled,
        schema_id=schema_id(rows.schema),
    )


def _zeros(count: int) -> pa.Array:
    return pa.repeat(pa.scalar(0, pa.int64()), count)
