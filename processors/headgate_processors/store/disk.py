"""The file port: the few operations on which durability stands, so that a test can make each of them fail."""

import contextlib
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Bytes = bytes | memoryview

_WRITEV_MAX = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How large a file system is, and how much of it is free for this process, in bytes."""

    free_bytes: int
    total_bytes: int


class Disk(Protocol):
    """What the store asks of a file system. Every method may raise OSError."""

    def append(self, fd: int, parts: Sequence[Bytes]) -> None:
        """Write all parts at the end of an open file."""

    def sync(self, fd: int) -> None:
        """Return when the content of the file is durable."""

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file."""

    def publish(self, temporary: Path, final: Path) -> None:
        """Make a finished file durable, give it its name, make the name durable."""

    def sync_folder(self, folder: Path) -> None:
        """Make the names in a folder durable."""

    def room(self, folder: Path) -> Room:
        """How much is free where a folder lies."""


class LocalDisk:
    """A POSIX file system."""

    def append(self, fd: int, parts: Sequence[Bytes]) -> None:
        """Write all parts, however many calls it takes."""
        waiting = [memoryview(part).cast("B") for part in parts if len(part)]
        while waiting:
            written = os.writev(fd, waiting[:_WRITEV_MAX])
            while waiting and written >= len(waiting[0]):
                written -= len(waiting.pop(0))
            if written:
                waiting[0] = waiting[0][written:]

    def sync(self, fd: int) -> None:
        """`fdatasync`."""
        os.fdatasync(fd)

    def truncate(self, fd: int, size: int) -> None:
        """`ftruncate`."""
        os.ftruncate(fd, size)

    def publish(self, temporary: Path, final: Path) -> None:
        """`fsync`, `rename`, `fsync` of the folder."""
        fd = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.rename(final)
        self.sync_folder(final.parent)

    def sync_folder(self, folder: Path) -> None:
        """`fsync` of a folder."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def room(self, folder: Path) -> Room:
        """`statvfs`."""
        found = os.statvfs(folder)
        return Room(free_bytes=found.f_bavail * found.f_frsize, total_bytes=found.f_blocks * found.f_frsize)


def link_or_copy(source: Path, target: Path) -> bool:
    """Give a file a second name, or copy it with its times where the file system knows no links; whether it is a link.

    Raises:
        FileNotFoundError: there is no such file, or no such folder to put it in.
        OSError: the disk refused.
    """
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(source, target)
        return False
    return True


def remove(path: Path) -> None:
    """Remove a file; one that is gone already is fine."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def changed_s(path: Path) -> float:
    """When a file was last written, in seconds since the epoch; this moment when it is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
