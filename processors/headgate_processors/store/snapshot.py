"""One consistent look at a store that others write: every acknowledged row once."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from headgate_processors.errors import StoreError
from headgate_processors.store.folder import open_folder
from headgate_processors.store.forgotten import Tombstone, read_forgotten
from headgate_processors.store.layout import sequence_of
from headgate_processors.store.manifest import Manifest, read_manifest, sealed_state
from headgate_processors.store.segment import SegmentRows, read_segment

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Live files, and the rows that are not sealed: `hot` may repeat nothing, `hot_unsettled` may."""

    root: Path
    manifest: Manifest
    hot: Mapping[str, pa.Table]
    hot_unsettled: Mapping[str, pa.Table]
    forgotten: tuple[Tombstone, ...] = ()


def take_snapshot(
    root: Path,
    *,
    attempts: int,
    read: Callable[[Path], Manifest] = read_manifest,
    sealed: Callable[[Path], Mapping[str, int]] = sealed_state,
) -> Snapshot:
    """Read the manifest and open the segments that it does not cover; start again when a seal came between.

    A segment that was sealed after the manifest was read is either still open here, and then it is read from
    its open file even if it is deleted meanwhile, or the second look at the manifest shows that it was missed.

    Raises:
        StoreError: there is no store, it is damaged, or seals came between every time.
    """
    folder = open_folder(root)
    for _ in range(attempts):
        manifest = read(root)
        opened = _open_segments(folder.segments, manifest)
        try:
            if opened is not None and sealed(root) == manifest.sealed:
                return _snapshot(root, manifest, [_read(path, fd) for path, fd in opened])
        finally:
            for _, fd in opened or ():
                os.close(fd)
    raise StoreError(
        f"{root} was sealed {attempts} times while it was being read: try again, or raise the seal interval"
    )


def sealed_snapshot(root: Path) -> Snapshot:
    """What is sealed: every derived row, and the raw rows that are in Parquet.

    Raises:
        StoreError: there is no store, or it is damaged.
    """
    open_folder(root)
    return _snapshot(root, read_manifest(root), [])


def _open_segments(folder: Path, manifest: Manifest) -> list[tuple[Path, int]] | None:
    opened: list[tuple[Path, int]] = []
    try:
        for path in sorted(folder.glob("*.seg")):
            named = sequence_of(path)
            if named is not None and named[1] > manifest.sealed.get(named[0], -1):
                opened.append((path, os.open(path, os.O_RDONLY)))
    except FileNotFoundError:
        for _, fd in opened:
            os.close(fd)
        return None
    return opened


def _read(path: Path, fd: int) -> SegmentRows:
    found = read_segment(_content(fd))
    for gap in found.damage:
        _LOG.error("%s: %s; the rest of it is served", path, gap)
    return found


def _content(fd: int) -> bytes:
    chunks = []
    offset = 0
    while chunk := os.pread(fd, 1 << 24, offset):
        chunks.append(chunk)
        offset += len(chunk)
    return b"".join(chunks)


def _snapshot(root: Path, manifest: Manifest, segments: list[SegmentRows]) -> Snapshot:
    return Snapshot(
        root=root,
        manifest=manifest,
        hot=_joined([segment.settled for segment in segments]),
        hot_unsettled=_joined([segment.unsettled for segment in segments]),
        forgotten=read_forgotten(root),
    )


def _joined(parts: list[Mapping[str, pa.Table]]) -> Mapping[str, pa.Table]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: pa.concat_tables([part[name] for part in parts if name in part], promote_options="default")
        for name in names
    }
