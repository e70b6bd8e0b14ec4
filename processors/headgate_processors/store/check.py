"""Whether the live files are there and whole; what is not is named."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headgate_processors.errors import StoreError
from headgate_processors.store.manifest import LiveFile, Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One live file that cannot be used, and why."""

    file: LiveFile
    path: Path
    reason: str

    def __str__(self) -> str:
        held = f"{self.file.rows} rows of {self.file.dataset}"
        return f"{self.path} is damaged: {self.reason}; it holds {held}: restore it from a copy"


def require_files(root: Path, manifest: Manifest) -> None:
    """See that every live file is there and as long as it was written; contents are not read.

    Raises:
        StoreError: one is not; the message names it.
    """
    for file in manifest.files:
        path = root / file.path
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            size = -1
        if size != file.bytes:
            reason = "it is not there" if size < 0 else f"it has {size} bytes and was written with {file.bytes}"
            raise StoreError(str(Damage(file=file, path=path, reason=reason)))


def damaged_files(root: Path, manifest: Manifest) -> Iterator[Damage]:
    """Read every live file, and give those that cannot be read."""
    for file in manifest.files:
        path = root / file.path
        try:
            with pq.ParquetFile(path) as parquet:
                for _ in parquet.iter_batches():
                    pass
        except (pa.ArrowException, OSError) as error:
            yield Damage(file=file, path=path, reason=str(error))
