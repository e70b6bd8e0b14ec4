"""What merging files takes of the memory."""

import subprocess
import sys

_MERGE = """
import sys
from pathlib import Path

import pyarrow as pa

from headgate_processors.store.disk import LocalDisk
from headgate_processors.store.layout import RAW
from headgate_processors.store.parquet import joined, order_of, write_file

ROWS, TABLES = 20_000, 10


def tables():
    # Rows of about 400 bytes; each table has some from all over.
    for table in range(TABLES):
        numbers = range(table, ROWS, TABLES)
        texts = {name: [f"{number:0100d}" for number in numbers] for name in "abcd"}
        yield pa.table({"trace_id": [f"{n:032x}" for n in numbers], "start_time_unix_nano": list(numbers), **texts})


table = joined(tables())
order = order_of(table, RAW["spans"])
write_file(table, Path(sys.argv[1]), LocalDisk(), level=1, row_group_rows=ROWS // 20, order=order)
print(table.num_rows, pa.default_memory_pool().max_memory() < 1.7 * table.nbytes)
"""


def test_rows_that_are_merged_are_in_memory_about_once(tmp_path) -> None:
    """Twice would be one copy as they were read and one in order: they are brought in order a row group at a time."""
    command = [sys.executable, "-c", _MERGE, str(tmp_path / "merged.parquet")]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "20000 True" == told.stdout.strip()
