"""The manifest: which files are live. It is replaced as a whole, so that a reader sees one state or the next."""

import fcntl
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from headgate_processors.errors import StoreError
from headgate_processors.store.disk import Disk, remove

_NAME = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFile:
    """One Parquet file: `path` is relative to the store's folder, `bucket` NULL when it holds every bucket.

    `settled` says that no row of it is another version of a row in another settled file.
    `schema_id` is the same for files whose columns are the same. `live_version` is the version of the manifest
    at which the newest of its rows became live, however often they were rewritten since: a job that has seen
    all rows up to a version need not look at files of that version or an older one.
    """

    dataset: str
    path: str
    derived: bool
    day: str | None
    bucket: int | None
    rows: int
    bytes: int
    min_received_unix_nano: int | None
    max_received_unix_nano: int | None
    settled: bool
    schema_id: str
    live_version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadFile:
    """A file that is no longer live and may still be open in a query."""

    path: str
    since_unix_nano: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One state of the store: live files, files to delete, and the last sealed segment of every writer."""

    version: int = 0
    derived_sequence: int = 0
    sealed: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    files: tuple[LiveFile, ...] = ()
    dead: tuple[DeadFile, ...] = ()

    def of(self, dataset: str, *, derived: bool = False) -> tuple[LiveFile, ...]:
        """The live files of one dataset."""
        return tuple(file for file in self.files if file.dataset == dataset and file.derived == derived)

    def with_rows(self, files: Sequence[LiveFile]) -> "Manifest":
        """The next state: files with rows that no file held before are live."""
        born = tuple(replace(file, live_version=self.version + 1) for file in files)
        return replace(self, files=self.files + born)

    def with_sealed(self, writer: str, sequence: int) -> "Manifest":
        """The next state: the segments of a writer are sealed up to this one."""
        return replace(self, sealed=MappingProxyType({**self.sealed, writer: sequence}))

    def swap(self, *, remove: frozenset[str], add: tuple[LiveFile, ...], now_unix_nano: int) -> "Manifest":
        """The next state: the files `remove` die, the files `add`, which hold their rows, live."""
        kept = tuple(file for file in self.files if file.path not in remove)
        died = tuple(DeadFile(path=path, since_unix_nano=now_unix_nano) for path in sorted(remove))
        return replace(self, files=kept + add, dead=self.dead + died)


def read_manifest(root: Path) -> Manifest:
    """The manifest as it is; an empty one when nothing was sealed.

    Raises:
        StoreError: it is damaged.
    """
    path = root / _NAME
    try:
        found = json.loads(path.read_bytes())
        return Manifest(
            version=found["version"],
            derived_sequence=found["derived_sequence"],
            sealed=MappingProxyType(found["sealed"]),
            files=tuple(LiveFile(**file) for file in found["files"]),
            dead=tuple(DeadFile(**file) for file in found["dead"]),
        )
    except FileNotFoundError:
        return Manifest()
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} is damaged ({error!r}): restore it from a copy; the Parquet files beside it are whole"
        ) from error


def update_manifest(root: Path, change: Callable[[Manifest], Manifest], *, disk: Disk) -> Manifest:
    """Replace the manifest by what `change` makes of it, alone among all processes; returns the new one.

    Raises:
        OSError: the disk refused; then the old manifest stands.
    """
    with _exclusive(root / f"{_NAME}.lock"):
        before = read_manifest(root)
        after = change(before)
        if after is before:
            return before
        after = replace(after, version=before.version + 1)
        _write(root, after, disk)
        return after


def start_manifest(root: Path, *, disk: Disk) -> None:
    """Write an empty manifest where there is none, so that any DuckDB can read it from the start."""
    if not (root / _NAME).exists():
        update_manifest(root, lambda manifest: manifest if manifest.version else replace(manifest), disk=disk)


def _write(root: Path, manifest: Manifest, disk: Disk) -> None:
    temporary = root / f"{_NAME}.{uuid.uuid4().hex}.tmp"
    content = json.dumps(
        {
            "version": manifest.version,
            "derived_sequence": manifest.derived_sequence,
            "sealed": dict(manifest.sealed),
            "files": [asdict(file) for file in manifest.files],
            "dead": [asdict(file) for file in manifest.dead],
        },
        separators=(",", ":"),
    ).encode()
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            disk.append(fd, [content])
        finally:
            os.close(fd)
        disk.publish(temporary, root / _NAME)
    except OSError:
        remove(temporary)
        raise


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
