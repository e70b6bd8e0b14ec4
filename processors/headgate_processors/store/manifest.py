"""The manifest: which files are live. It is replaced as a whole, so that a reader sees one state or the next.

It ends with its own checksum, and the state before it stays beside it: a damaged manifest is made again from
that one and from the files sealed since.
"""

import fcntl
import logging
import os
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

from headgate_processors.errors import StoreError
from headgate_processors.store.damaged import set_aside
from headgate_processors.store.disk import Disk, link_or_copy, remove
from headgate_processors.store.live import DamagedFile, DeadFile, LiveFile, Manifest

NAME = "manifest.json"
PREVIOUS = "manifest.previous.json"

_SEAL = b',"crc32":"%08x"}'
_SEAL_BYTES = len(_SEAL % 0)
__all__ = [
    "NAME",
    "DamagedFile",
    "DamagedManifestError",
    "DeadFile",
    "LiveFile",
    "Manifest",
    "exclusive",
    "load_manifest",
    "read_manifest",
    "replace_manifest",
    "sealed_state",
    "start_manifest",
    "update_manifest",
]

_LOG = logging.getLogger(__name__)


class DamagedManifestError(StoreError):
    """The manifest is missing or cannot be read."""


def read_manifest(root: Path) -> Manifest:
    """The manifest as it is; made from the one before and the files sealed since when it is damaged.

    Raises:
        StoreError: neither it nor the one before can be read.
    """
    return _read(root)[0]


def update_manifest(root: Path, change: Callable[[Manifest], Manifest], *, disk: Disk) -> Manifest:
    """Replace the manifest by what `change` makes of it, alone among all processes; returns the new one.

    Raises:
        OSError: the disk refused; then the old manifest stands.
        StoreError: as `read_manifest`.
    """
    with exclusive(root):
        before, sound = _read(root)
        after = change(before)
        if after is before and sound:
            return before
        after = replace(after, version=before.version + 1)
        _keep(root, sound=sound)
        _write(root, after, disk)
        return after


def start_manifest(root: Path, *, disk: Disk) -> None:
    """Write an empty manifest where there is none, so that any DuckDB can read it from the start."""
    with exclusive(root):
        if not (root / NAME).exists() and not (root / PREVIOUS).exists():
            _write(root, Manifest(version=1), disk)


def replace_manifest(root: Path, manifest: Manifest, *, disk: Disk) -> None:
    """Write a manifest over one that is lost, whatever stands there.

    Raises:
        OSError: the disk refused.
    """
    with exclusive(root):
        _write(root, manifest, disk)


def load_manifest(path: Path) -> Manifest:
    """The manifest in one file.

    Raises:
        DamagedManifestError: it is not there, or damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DamagedManifestError(f"{path} is not there") from error
    try:
        return _parse(content)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedManifestError(f"{path} is damaged ({error})") from error


def sealed_state(root: Path) -> Mapping[str, int]:
    """The last sealed segment of every writer: as in the manifest, whose files are not looked at.

    Raises:
        StoreError: as `read_manifest`.
    """
    content = (root / NAME).read_bytes() if (root / NAME).exists() else b""
    with suppress(ValueError, KeyError, TypeError):
        return MappingProxyType(_checked(content)["sealed"])
    return read_manifest(root).sealed


def _read(root: Path) -> tuple[Manifest, bool]:
    """The manifest, and whether it is the one on disk."""
    try:
        return load_manifest(root / NAME), True
    except DamagedManifestError as damage:
        try:
            previous = load_manifest(root / PREVIOUS)
        except DamagedManifestError as error:
            raise DamagedManifestError(
                f"{damage}, and {error}: headgate store repair --data {root} makes it anew from the files"
            ) from damage
        from headgate_processors.store.rebuild import manifest_since  # noqa: PLC0415 - a sound one needs no Parquet.

        _LOG.error("%s: going on with the one before it and the files sealed since", damage)
        return manifest_since(root, previous), False


def _checked(content: bytes) -> dict[str, Any]:
    seal = content[-_SEAL_BYTES:]
    if seal[:10] == _SEAL[:10] and seal != _SEAL % zlib.crc32(content[:-_SEAL_BYTES]):
        raise ValueError("its checksum is wrong")
    found: dict[str, Any] = orjson.loads(content)
    return found


def _parse(content: bytes) -> Manifest:
    found = _checked(content)
    return Manifest(
        version=found["version"],
        derived_sequence=found["derived_sequence"],
        derived_epoch=found.get("derived_epoch", 0),
        sealed=MappingProxyType(found["sealed"]),
        files=tuple(LiveFile(**file) for file in found["files"]),
        dead=tuple(DeadFile(**file) for file in found["dead"]),
        damaged=tuple(DamagedFile(**{**one, "file": LiveFile(**one["file"])}) for one in found.get("damaged", ())),
    )


def _content(manifest: Manifest) -> bytes:
    values = {one.name: getattr(manifest, one.name) for one in fields(manifest)}
    content = orjson.dumps({**values, "sealed": dict(manifest.sealed)})[:-1]
    return content + _SEAL % zlib.crc32(content)


def _keep(root: Path, *, sound: bool) -> None:
    """Keep the manifest that is about to be replaced, as the one before, or apart when it is damaged."""
    current, temporary = root / NAME, root / f"{PREVIOUS}.{uuid.uuid4().hex}.tmp"
    if not sound:
        if current.exists():
            set_aside(root, current)
        return
    link_or_copy(current, temporary)
    temporary.replace(root / PREVIOUS)
    # Renaming one name of a file to another name of it does nothing.
    remove(temporary)


def _write(root: Path, manifest: Manifest, disk: Disk) -> None:
    temporary = root / f"{NAME}.{uuid.uuid4().hex}.tmp"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            disk.append(fd, [_content(manifest)])
        finally:
            os.close(fd)
        disk.publish(temporary, root / NAME)
    except OSError:
        with suppress(OSError):
            remove(temporary)
        raise


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Hold what guards the state of a store against every other process that would change it."""
    fd = os.open(root / f"{NAME}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
