"""Rows to Parquet files: sorted, split by day and bucket, durable before anybody is told of them."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headgate_processors.store.checksum import checksum
from headgate_processors.store.disk import Disk, remove
from headgate_processors.store.layout import DAY_NS, Layout, day_name
from headgate_processors.store.live import LiveFile

if TYPE_CHECKING:
    from headgate_processors.store.folder import StoreFolder


def schema_id(schema: pa.Schema) -> str:
    """Eight hexadecimal digits that are the same for the same columns, dictionary encoding aside."""
    text = "\n".join(f"{field.name} {_plain(field.type)}" for field in schema)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def in_order(table: pa.Table, layout: Layout) -> pa.Table:
    """The rows of a table, sorted; dictionaries are made one."""
    table = table.unify_dictionaries()
    return table.take(order_of(table, layout))


def order_of(table: pa.Table, layout: Layout) -> pa.Array:
    """The numbers of the rows of a table, in the order in which a file has them."""
    # Arrow sorts no dictionaries.
    keys = pa.table({name: _text(table.column(name)) for name in layout.order_by})
    return pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in layout.order_by])


def joined(tables: Iterable[pa.Table]) -> pa.Table:
    """One table of all rows, in one piece; a column that a table lacks is NULL in its rows.

    Columns are copied one after the other. When nobody else holds the tables, the rows are in memory about once.
    """
    table = pa.concat_tables(list(tables), promote_options="default").unify_dictionaries()
    for place, column in enumerate(table.schema):
        table = table.set_column(place, column, table.column(place).combine_chunks())
    return table


def by_day(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each day on which they were received."""
    received = table.column("received_unix_nano")
    first, last = (value.as_py() // DAY_NS for value in pc.min_max(received).values())
    for day in range(first, last + 1):
        inside = pc.and_(pc.greater_equal(received, day * DAY_NS), pc.less(received, (day + 1) * DAY_NS))
        rows = table if first == last else table.filter(inside)
        if rows.num_rows:
            yield day_name(day), rows


def by_bucket(
    table: pa.Table, layout: Layout, folder: "StoreFolder", *, rows_min: int
) -> Iterator[tuple[int | None, pa.Table]]:
    """The rows of each bucket, or all of them together when buckets would hold fewer than `rows_min`."""
    if table.num_rows < rows_min * folder.buckets:
        yield None, table
        return
    bucket = buckets_of(table, layout, folder)
    for number in sorted(pc.unique(bucket).to_pylist()):
        yield number, table.filter(pc.equal(bucket, number))


def buckets_of(table: pa.Table, layout: Layout, folder: "StoreFolder") -> pa.Array:
    """The bucket of each row."""
    texts = [_text(table.column(name)) for name in layout.bucket_by]
    keys = pc.coalesce(*texts).combine_chunks().dictionary_encode()
    numbers = pa.array([folder.bucket(key) for key in keys.dictionary.to_pylist()], pa.int32())
    return pc.fill_null(numbers.take(keys.indices), folder.bucket(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A file as it was written: its size, the CRC-32 of all of it, and when."""

    bytes: int
    crc32: int
    modified_unix_nano: int


def write_file(
    table: pa.Table, path: Path, disk: Disk, *, level: int, row_group_rows: int, order: pa.Array | None = None
) -> Written:
    """Write one file, durable under its name when this returns: all rows, or those that `order` numbers, as it does.

    Rows that are numbered are brought in order a row group at a time.

    Raises:
        OSError: the disk refused; nothing is left behind.
    """
    make_folders(path.parent, disk)
    temporary = path.with_name(path.name + ".tmp")
    encoded = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
    try:
        with pq.ParquetWriter(
            temporary,
            table.schema,
            compression="zstd",
            compression_level=level,
            use_dictionary=encoded or True,
            store_schema=False,
        ) as writer:
            for rows in _row_groups(table, row_group_rows, order):
                writer.write_table(rows, row_group_size=row_group_rows)
        mode = temporary.stat()
        temporary.chmod(mode.st_mode & 0o444)
        written = Written(bytes=mode.st_size, crc32=checksum(temporary), modified_unix_nano=mode.st_mtime_ns)
        disk.publish(temporary, path)
    except OSError:
        with suppress(OSError):
            remove(temporary)
        raise
    return written


def _row_groups(table: pa.Table, rows: int, order: pa.Array | None) -> Iterator[pa.Table]:
    if order is None:
        yield table
        return
    for begin in range(0, len(order), rows):
        yield table.take(order.slice(begin, rows))


def live_file(
    table: pa.Table,
    *,
    dataset: str,
    path: str,
    day: str | None,
    bucket: int | None,
    written: Written,
    settled: bool,
    derived: bool = False,
    live_version: int = 0,
    order: pa.Array | None = None,
) -> LiveFile:
    """The manifest's entry for a file with these rows, or with those that `order` numbers."""
    first = last = None
    if "received_unix_nano" in table.column_names:
        received = table.column("received_unix_nano")
        chosen = received if order is None else received.take(order)
        first, last = (value.as_py() for value in pc.min_max(chosen).values())
    return LiveFile(
        dataset=dataset,
        path=path,
        derived=derived,
        day=day,
        bucket=bucket,
        rows=table.num_rows if order is None else len(order),
        bytes=written.bytes,
        min_received_unix_nano=first,
        max_received_unix_nano=last,
        settled=settled,
        schema_id=schema_id(table.schema),
        live_version=live_version,
        crc32=written.crc32,
        modified_unix_nano=written.modified_unix_nano,
    )


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
