"""Reading live files back and writing them as fewer ones."""

import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headgate_processors.errors import StoreError
from headgate_processors.schema import DATASETS
from headgate_processors.store.check import Damage
from headgate_processors.store.config import CompactConfig
from headgate_processors.store.disk import Disk
from headgate_processors.store.folder import StoreFolder
from headgate_processors.store.layout import DERIVED, RAW, Layout, derived_path, raw_path
from headgate_processors.store.manifest import LiveFile
from headgate_processors.store.parquet import Written, buckets_of, live_file, order_of, write_file


class DamagedFileError(StoreError):
    """A live file cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merger:
    """Writes compacted files of one store: zstd-3, sorted; a full compaction splits by bucket what is worth it.

    Buckets cost a file each, whose rows come from all times: in a running store each would be merged again and again,
    and none would be old. Files of all buckets hold the rows of some minutes, and are left alone once they are large.
    """

    folder: StoreFolder
    disk: Disk
    config: CompactConfig

    def write(self, table: pa.Table, sources: Sequence[LiveFile], *, settled: bool) -> list[LiveFile]:
        """Write the rows that come from some files of one dataset, day and bucket."""
        like = sources[0]
        layout = DERIVED if like.derived else RAW[like.dataset]
        files = []
        for bucket, order in self._split(table, like.bucket, layout):
            name = f"compact-{uuid.uuid4().hex}"
            if like.derived:
                path = derived_path(like.dataset, bucket, name)
            else:
                path = raw_path(like.dataset, str(like.day), bucket, name)
            file = live_file(
                table,
                dataset=like.dataset,
                path=path,
                day=like.day,
                bucket=bucket,
                written=self._write(table, order, path),
                settled=settled,
                derived=like.derived,
                live_version=max(source.live_version for source in sources),
                order=order,
            )
            files.append(file)
        return files

    def _split(self, table: pa.Table, bucket: int | None, layout: Layout) -> Iterator[tuple[int | None, pa.Array]]:
        """The numbers of the rows of each file, in its order."""
        if not table.num_rows:
            return
        order = order_of(table, layout)
        few = table.num_rows < self.config.bucket_rows_min * self.folder.buckets
        if bucket is not None or few or not self.config.full:
            yield bucket, order
            return
        buckets = buckets_of(table, layout, self.folder).take(order)
        for number in sorted(pc.unique(buckets).to_pylist()):
            yield number, order.filter(pc.equal(buckets, number))

    def _write(self, table: pa.Table, order: pa.Array, path: str) -> Written:
        rows = self.config.row_group_rows
        return write_file(table, self.folder.root / path, self.disk, level=3, row_group_rows=rows, order=order)


def read_rows(root: Path, file: LiveFile, *, without: Collection[int] = ()) -> pa.Table:
    """The rows of one raw file, those numbered `without` left out.

    Raises:
        DamagedFileError: the file is damaged; the message names it.
    """
    low = [field.name for field in DATASETS[file.dataset].schema if pa.types.is_dictionary(field.type)]
    path = root / file.path
    try:
        table = pq.read_table(path, read_dictionary=low, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise DamagedFileError(str(Damage(file=file, path=path, reason=str(error)))) from error
    if not without:
        return table
    lost = pa.array(sorted(without), pa.int64())
    numbers = pa.array(range(table.num_rows), pa.int64())
    return table.filter(pc.invert(pc.is_in(numbers, value_set=lost)))


def held_bytes(root: Path, file: LiveFile) -> int:
    """What the rows of a file take in memory, about: their size before compression.

    Raises:
        DamagedFileError: the file is damaged; the message names it.
    """
    path = root / file.path
    try:
        footer = pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise DamagedFileError(str(Damage(file=file, path=path, reason=str(error)))) from error
    return sum(footer.row_group(number).total_byte_size for number in range(footer.num_row_groups))
