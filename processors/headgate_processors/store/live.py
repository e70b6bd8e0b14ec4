"""One state of a store as values: which files are live, which died, which are damaged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFile:
    """One Parquet file: `path` is relative to the store's folder, `bucket` NULL when it holds every bucket.

    `settled` says that no row of it is another version of a row in another settled file.
    `schema_id` is the same for files whose columns are the same. `live_version` is the version of the manifest
    at which the newest of its rows became live, however often they were rewritten since: a job that has seen
    all rows up to a version need not look at files of that version or an older one. `crc32` is the checksum of
    the whole file, `modified_unix_nano` when it was written: it is never written to again.
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
    crc32: int | None = None
    modified_unix_nano: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadFile:
    """A file that is no longer live and may still be open in a query."""

    path: str
    since_unix_nano: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedFile:
    """A file that was live until it was found damaged, and why; its rows are shown no more."""

    file: LiveFile
    reason: str
    since_unix_nano: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One state of the store: live files, files to delete, and the last sealed segment of every writer.

    `derived_epoch` grows when derived rows were taken away that only a full derivation brings back.
    """

    version: int = 0
    derived_sequence: int = 0
    derived_epoch: int = 0
    sealed: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    files: tuple[LiveFile, ...] = ()
    dead: tuple[DeadFile, ...] = ()
    damaged: tuple[DamagedFile, ...] = ()

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

    def without(self, damaged: Sequence[DamagedFile]) -> "Manifest":
        """The next state: these live files are set aside."""
        paths = {one.file.path for one in damaged}
        kept = tuple(file for file in self.files if file.path not in paths)
        if len(kept) == len(self.files):
            return self
        gone = tuple(one for one in damaged if one.file in self.files)
        lost_derived = any(one.file.derived for one in gone)
        return replace(self, files=kept, damaged=self.damaged + gone, derived_epoch=self.derived_epoch + lost_derived)
