"""Sealing: a segment becomes Parquet files, and one manifest replacement makes them live and the segment done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from headgate_processors.store.config import StoreConfig
from headgate_processors.store.disk import Disk, remove
from headgate_processors.store.folder import StoreFolder
from headgate_processors.store.layout import RAW, raw_path
from headgate_processors.store.manifest import LiveFile, Manifest, update_manifest
from headgate_processors.store.parquet import by_bucket, by_day, in_order, live_file, write_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of one dataset in one segment; `settled` as in `LiveFile`."""

    batches: Sequence[pa.RecordBatch]
    settled: bool


def seal_rows(
    rows: Mapping[str, Rows], *, writer: str, sequence: int, folder: StoreFolder, disk: Disk, config: StoreConfig
) -> Manifest:
    """Write the Parquet files of one segment, make them live, and remove the segment.

    Done twice, it changes nothing the second time: file names follow from the segment, and the manifest
    remembers the last segment of each writer.

    Raises:
        OSError: the disk refused; the segment stands.
    """
    files = [
        file
        for dataset, mine in rows.items()
        for file in _write_dataset(dataset, mine, f"{writer}-{sequence:010d}", folder=folder, disk=disk, config=config)
    ]

    def add(manifest: Manifest) -> Manifest:
        if manifest.sealed.get(writer, -1) >= sequence:
            return manifest
        return manifest.with_rows(files).with_sealed(writer, sequence)

    manifest = update_manifest(folder.root, add, disk=disk)
    remove(folder.segment(writer, sequence))
    return manifest


def _write_dataset(
    dataset: str, rows: Rows, name: str, *, folder: StoreFolder, disk: Disk, config: StoreConfig
) -> list[LiveFile]:
    layout = RAW[dataset]
    files = []
    for day, of_day in by_day(in_order(pa.Table.from_batches(rows.batches), layout)):
        for bucket, table in by_bucket(of_day, layout, folder, rows_min=config.bucket_rows_min):
            path = raw_path(dataset, day, bucket, name)
            written = write_file(table, folder.root / path, disk, level=1, row_group_rows=config.row_group_rows)
            files.append(
                live_file(
                    table, dataset=dataset, path=path, day=day, bucket=bucket, written=written, settled=rows.settled
                )
            )
    return files
