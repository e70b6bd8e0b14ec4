"""Rows to Parquet files: sorted, split by day and bucket, durable before anybody is told of them."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headgate_processors.store.disk import Disk, remove
from headgate_processors.store.folder import StoreFolder
from headgate_processors.store.layout import Layout

_DAY_NS = 86_400 * 10**9
_EPOCH_ORDINAL = 719_163


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Rows for one file; `day` and `bucket` as in its path."""

    day: str | None
    bucket: int | None
    table: pa.Table


def schema_id(schema: pa.Schema) -> str:
    """Eight hexadecimal digits that are the same for the same columns, dictionary encoding aside."""
    text = "\n".join(f"{field.name} {_plain(field.type)}" for field in schema)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def in_order(batches: Sequence[pa.RecordBatch], layout: Layout) -> pa.Table:
    """One table of all rows, sorted; dictionaries are made one."""
    table = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()
    return table.take(pc.sort_indices(table, sort_keys=[(name, "ascending") for name in layout.order_by]))


def by_day(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each day on which they were received."""
    received = table.column("received_unix_nano")
    first, last = (value.as_py() // _DAY_NS for value in pc.min_max(received).values())
    for day in range(first, last + 1):
        inside = pc.and_(pc.greater_equal(received, day * _DAY_NS), pc.less(received, (day + 1) * _DAY_NS))
        rows = table if first == last else table.filter(inside)
        if rows.num_rows:
            yield _day_name(day), rows


def by_bucket(
    table: pa.Table, layout: Layout, folder: StoreFolder, *, rows_min: int
) -> Iterator[tuple[int | None, pa.Table]]:
    """The rows of each bucket, or all of them together when buckets would hold fewer than `rows_min`."""
    if table.num_rows < rows_min * folder.buckets:
        yield None, table
        return
    keys = pc.coalesce(*(_text(table.column(name)) for name in layout.bucket_by)).combine_chunks().dictionary_encode()
    number = {key: folder.bucket(key) for key in keys.dictionary.to_pylist()}
    of_code = pa.array([number[key] for key in keys.dictionary.to_pylist()], pa.int32())
    bucket = pc.fill_null(of_code.take(keys.indices), folder.bucket(None))
    for value in sorted(set(pc.unique(bucket).to_pylist())):
        yield value, table.filter(pc.equal(bucket, value))


def write_file(table: pa.Table, path: Path, disk: Disk, *, level: int, row_group_rows: int) -> int:
    """Write one file, durable under its name when this returns; its size in bytes.

    Raises:
        OSError: the disk refused; nothing is left behind.
    """
    make_folders(path.parent, disk)
    temporary = path.with_name(path.name + ".tmp")
    try:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=level,
            use_dictionary=[field.name for field in table.schema if pa.types.is_dictionary(field.type)],
            row_group_size=row_group_rows,
            store_schema=False,
        )
        mode = temporary.stat()
        os.chmod(temporary, mode.st_mode & 0o444)
        disk.publish(temporary, path)
    except OSError:
        remove(temporary)
        raise
    return mode.st_size


def make_folders(folder: Path, disk: Disk) -> None:
    """Make a folder and those above it, durable."""
    if folder.is_dir():
        return
    make_folders(folder.parent, disk)
    folder.mkdir(exist_ok=True)
    disk.sync_folder(folder.parent)


def _plain(type_: pa.DataType) -> pa.DataType:
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(column, pa.string()) if pa.types.is_dictionary(column.type) else column


def _day_name(day: int) -> str:
    from datetime import date

    return date.fromordinal(_EPOCH_ORDINAL + day).isoformat()
