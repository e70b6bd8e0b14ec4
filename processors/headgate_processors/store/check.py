"""Whether the live files are there and whole; what is not is named."""

import errno
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from headgate_processors.store.checksum import checksum
from headgate_processors.store.manifest import LiveFile, Manifest, read_manifest

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

READ_MAX_BYTES = 256 << 20

_LOG = logging.getLogger(__name__)
_OF_THE_FILE = frozenset({errno.EIO, errno.ENOENT, errno.EISDIR, errno.ENODATA, errno.EOVERFLOW})


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One live file that cannot be used, and why."""

    file: LiveFile
    path: Path
    reason: str

    def __str__(self) -> str:
        held = f"{self.file.rows} rows of {self.file.dataset}"
        return (
            f"{self.path} is damaged: {self.reason}; it holds {held}, the rest is served without them: "
            "restore it from a copy and run `headgate store repair`"
        )


def sound_manifest(root: Path, *, read: Callable[[Path], Manifest] = read_manifest) -> Manifest:
    """The manifest without the files that a glance finds damaged, each of them named in the log.

    Raises:
        StoreError: the manifest is lost.
    """
    manifest = read(root)
    damage = list(glance(root, manifest))
    for one in damage:
        _LOG.error("%s", one)
    if not damage:
        return manifest
    bad = {one.file.path for one in damage}
    return replace(manifest, files=tuple(file for file in manifest.files if file.path not in bad))


def glance(root: Path, manifest: Manifest) -> Iterator[Damage]:
    """Files that are gone, shorter or longer than written, or were written to since and have another checksum.

    A file is read only when its time of change is not the one in the manifest, and nothing is read when that
    is true of more than `READ_MAX_BYTES`: then this is a copy of a store, made without times.
    """
    touched: list[LiveFile] = []
    for file in manifest.files:
        try:
            found = (root / file.path).stat()
        except OSError as error:
            yield _damage(root, file, error)
            continue
        if found.st_size != file.bytes:
            reason = f"it has {found.st_size} bytes and was written with {file.bytes}"
            yield Damage(file=file, path=root / file.path, reason=reason)
        elif file.modified_unix_nano not in {None, found.st_mtime_ns}:
            touched.append(file)
    if sum(file.bytes for file in touched) <= READ_MAX_BYTES:
        for file in touched:
            if (damage := examine(root, file)) is not None:
                yield damage


def examine(root: Path, file: LiveFile) -> Damage | None:
    """Read one live file, all of it: what is wrong with it, or None.

    Raises:
        OSError: it could not be read for a reason that is not the file's.
    """
    # Here, for a question that finds every file as it was written does not need it.
    import pyarrow.parquet as pq  # noqa: PLC0415

    path = root / file.path
    try:
        if file.crc32 is None:
            _read_through(pq.ParquetFile(path))
        elif checksum(path) != file.crc32:
            return Damage(file=file, path=path, reason="its checksum is not the one it was written with")
        rows = pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        return _damage(root, file, error)
    if rows != file.rows:
        return Damage(file=file, path=path, reason=f"it has {rows} rows and was written with {file.rows}")
    return None


def damaged_files(root: Path, files: Sequence[LiveFile]) -> Iterator[Damage]:
    """Read every one of these live files, and give those that cannot be used."""
    for file in files:
        if (damage := examine(root, file)) is not None:
            yield damage


def modified_ns(root: Path, file: LiveFile) -> int:
    """When a file was written to last."""
    return (root / file.path).stat().st_mtime_ns


def _read_through(file: "ParquetFile") -> None:
    with file as parquet:
        for _ in parquet.iter_batches():
            pass


def _damage(root: Path, file: LiveFile, error: Exception) -> Damage:
    if isinstance(error, FileNotFoundError):
        return Damage(file=file, path=root / file.path, reason="it is not there")
    if isinstance(error, OSError) and error.errno is not None and error.errno not in _OF_THE_FILE:
        raise error
    return Damage(file=file, path=root / file.path, reason=str(error))
