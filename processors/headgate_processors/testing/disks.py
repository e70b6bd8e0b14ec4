"""Disks that fail, for tests of what must not be lost then."""

import errno
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from headgate_processors.store.disk import Bytes, LocalDisk, Room

OPERATIONS = frozenset({"append", "sync", "truncate", "publish", "sync_folder"})


class FaultyDisk(LocalDisk):
    """A file system whose operations fail while `failing` names them, or for ever after `lives` operations.

    A failing append leaves half of its bytes behind; a failing publish has given the file its name when
    `renames` says so. `calls` lists the operations that were asked for.
    """

    def __init__(self, *, error: int = errno.EIO, lives: int | None = None, renames: bool = False) -> None:
        self.error = error
        self.failing: Collection[str] = ()
        self.calls: list[str] = []
        self.free_bytes: int | None = None
        self._lives, self._renames = lives, renames

    def append(self, fd: int, parts: Sequence[Bytes]) -> None:
        """Write everything, or half of it and fail."""
        if self._fails("append"):
            whole = b"".join(parts)
            super().append(fd, [whole[: len(whole) // 2]])
            raise self._problem()
        super().append(fd, parts)

    def sync(self, fd: int) -> None:
        """Sync, or fail."""
        if self._fails("sync"):
            raise self._problem()
        super().sync(fd)

    def truncate(self, fd: int, size: int) -> None:
        """Cut, or fail."""
        if self._fails("truncate"):
            raise self._problem()
        super().truncate(fd, size)

    def publish(self, temporary: Path, final: Path) -> None:
        """Publish, or fail before or after the new name."""
        if self._fails("publish"):
            if self._renames:
                temporary.rename(final)
            raise self._problem()
        super().publish(temporary, final)

    def sync_folder(self, folder: Path) -> None:
        """Sync, or fail."""
        if self._fails("sync_folder"):
            raise self._problem()
        super().sync_folder(folder)

    def room(self, folder: Path) -> Room:
        """The room there is, or as much as `free_bytes` says."""
        room = super().room(folder)
        return room if self.free_bytes is None else Room(free_bytes=self.free_bytes, total_bytes=room.total_bytes)

    def _fails(self, operation: str) -> bool:
        self.calls.append(operation)
        return operation in self.failing or (self._lives is not None and len(self.calls) > self._lives)

    def _problem(self) -> OSError:
        return OSError(self.error, os.strerror(self.error))
