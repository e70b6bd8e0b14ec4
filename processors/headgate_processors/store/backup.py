"""A copy of a store at one moment, taken while it is written: every row that was acknowledged before it began."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headgate_processors.errors import StoreError
from headgate_processors.store.disk import link_or_copy
from headgate_processors.store.folder import open_folder
from headgate_processors.store.layout import SPILL, STITCH, sequence_of
from headgate_processors.store.manifest import NAME, load_manifest, read_manifest

_ATTEMPTS = 20
# Control state is copied by `headgate control backup`: a database that is written cannot be copied as a file.
_LEFT_OUT = frozenset(
    {"segments", "writers", "locks", "derived", "damaged", "dead-letters", "control", SPILL, STITCH, NAME}
)
_LEFT_OUT_ENDS = (".lock", ".tmp", ".previous.json")

Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUp:
    """What a backup holds; `linked` files share their bytes with the store."""

    files: int
    linked: int
    segments: int
    bytes: int


def backup(root: Path, destination: Path, *, report: Report = lambda _done, _total: None) -> BackedUp:
    """Copy a store into a folder that is not there yet; Parquet files are linked where the file system can.

    They never change, so that a link is as good as a copy. The manifest is written last: until then the folder is
    no store.

    Raises:
        StoreError: there is no store, the destination exists, or seals came between every time.
        OSError: the disk refused.
    """
    open_folder(root)
    if destination.exists() and any(destination.iterdir()):
        raise StoreError(f"{destination} is not empty: give a folder that is not there yet")
    destination.mkdir(parents=True, exist_ok=True)
    for _ in range(_ATTEMPTS):
        done = _attempt(root, destination, report)
        if done is not None:
            return done
    raise StoreError(f"{root} was sealed {_ATTEMPTS} times while it was being copied: try again")


def _attempt(root: Path, destination: Path, report: Report) -> BackedUp | None:
    """One try; None when a seal came between the manifest and the segments."""
    _copy_rest(root, destination)
    read_manifest(root)
    content = (root / NAME).read_bytes()
    (destination / f"{NAME}.tmp").write_bytes(content)
    manifest = load_manifest(destination / f"{NAME}.tmp")
    shutil.rmtree(destination / "segments", ignore_errors=True)
    (destination / "segments").mkdir()
    (destination / "writers").mkdir(exist_ok=True)
    segments = linked = size = 0
    try:
        for path in sorted((root / "segments").glob("*.seg")):
            named = sequence_of(path)
            if named is not None and named[1] > manifest.sealed.get(named[0], -1):
                shutil.copyfile(path, destination / "segments" / path.name)
                segments += 1
        if read_manifest(root).sealed != manifest.sealed:
            return None
        for number, file in enumerate(manifest.files, start=1):
            linked += _place(root / file.path, destination / file.path)
            size += file.bytes
            report(number, len(manifest.files))
    except FileNotFoundError:
        return None
    (destination / f"{NAME}.tmp").replace(destination / NAME)
    return BackedUp(files=len(manifest.files), linked=linked, segments=segments, bytes=size)


def _copy_rest(root: Path, destination: Path) -> None:
    """Keys, tombstones and progress: small files, before the manifest, so that none of them is ahead of it."""
    datasets = {path.parent.parent.name for path in root.glob("*/day=*/bucket=*")}
    for path in root.iterdir():
        if path.name in _LEFT_OUT | datasets or path.name.endswith(_LEFT_OUT_ENDS) or (path / "store.json").exists():
            continue
        if path.is_dir():
            if not any(path.glob("day=*")):
                shutil.copytree(path, destination / path.name, dirs_exist_ok=True)
        else:
            shutil.copy2(path, destination / path.name)


def _place(source: Path, target: Path) -> bool:
    """Put one file in its place; whether it is a link."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return target.samefile(source)
    return link_or_copy(source, target)
