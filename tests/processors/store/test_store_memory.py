"""What merging files takes of the memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from headgate_processors.store.disk import LocalDisk
from headgate_processors.store.layout import RAW
from headgate_processors.store.parquet import joined, order_of, write_file

ROWS = 20_000
TABLES = 10


def _tables() -> Iterator[pa.Table]:
    """Rows of about 400 bytes in ten tables, each of which has some from all over."""
    for table in range(TABLES):
        numbers = range(table, ROWS, TABLES)
        yield pa.table(
            {
                "trace_id": [f"{number:032x}" for number in numbers],
                "start_time_unix_nano": list(numbers),
                **{name: [f"{number:0100d}" for number in numbers] for name in ("a", "b", "c", "d")},
            }
        )


@contextmanager
def _counted() -> Iterator[pa.MemoryPool]:
    usual = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(pool)
    try:
        yield pool
    finally:
        pa.set_memory_pool(usual)


def test_rows_that_are_merged_are_in_memory_about_once(tmp_path) -> None:
    """Twice would be one copy as they were read and one in order: they are brought in order a row group at a time."""
    with _counted() as pool:
        table = joined(_tables())
        write_file(
            table,
            tmp_path / "merged.parquet",
            LocalDisk(),
            level=1,
            row_group_rows=ROWS // 20,
            order=order_of(table, RAW["spans"]),
        )
        assert (True, ROWS) == (pool.max_memory() < 1.7 * table.nbytes, table.num_rows)
