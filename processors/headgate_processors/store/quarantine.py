"""Taking damaged files out of the live ones, and putting them back when they are whole again."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from headgate_processors.store.check import Damage, damaged_files, examine, glance, modified_ns
from headgate_processors.store.damaged import set_aside
from headgate_processors.store.disk import Disk, remove
from headgate_processors.store.manifest import DamagedFile, LiveFile, Manifest, read_manifest, update_manifest

_LOG = logging.getLogger(__name__)


def scrub(root: Path, *, disk: Disk, clock: Callable[[], int] = time.time_ns) -> Sequence[Damage]:
    """Set aside what a glance finds damaged, and note files whose time of change is new and content the same.

    Raises:
        OSError: the disk refused.
        StoreError: the manifest is lost.
    """
    manifest = read_manifest(root)
    damage = list(glance(root, manifest))
    quarantine(root, damage, disk=disk, clock=clock)
    bad = {one.file.path for one in damage}
    good = {
        file.path: changed
        for file in manifest.files
        if file.path not in bad
        and file.modified_unix_nano not in {None, changed := modified_ns(root, file)}
        and examine(root, file) is None
    }
    if good:
        update_manifest(root, lambda now: _noted(now, good), disk=disk)
    return damage


def set_aside_damaged(root: Path, *, disk: Disk, clock: Callable[[], int] = time.time_ns) -> Sequence[Damage]:
    """Read every live file, and set aside the damaged ones; which they were.

    Raises:
        OSError: the disk refused, or it cannot be written.
        StoreError: the manifest is lost.
    """
    live = read_manifest(root).files
    damage = list(damaged_files(root, live))
    if damage:
        still = {file.path for file in read_manifest(root).files}
        damage = [one for one in damage if one.file.path in still]
    quarantine(root, damage, disk=disk, clock=clock)
    return damage


def quarantine(root: Path, damage: Sequence[Damage], *, disk: Disk, clock: Callable[[], int]) -> None:
    """Take these files out of the manifest, keep what is left of them in `damaged/`, and say so.

    Raises:
        OSError: the disk refused; what was done stands, and the rest can be done again.
    """
    if not damage:
        return
    for one in damage:
        _LOG.error("set aside: %s", one)
        with suppress(FileNotFoundError):
            set_aside(root, one.path)
    entries = [_entry(one, clock()) for one in damage]
    update_manifest(root, lambda manifest: manifest.without(entries), disk=disk)
    for one in damage:
        remove(one.path)


def _entry(one: Damage, now_unix_nano: int) -> DamagedFile:
    return DamagedFile(file=one.file, reason=one.reason, since_unix_nano=now_unix_nano)


def take_back(root: Path, *, disk: Disk) -> Sequence[LiveFile]:
    """Make set-aside files live again that stand whole where they were, put there from a copy; which they were.

    Raises:
        OSError: the disk refused.
        StoreError: the manifest is lost.
    """
    back = [one.file for one in read_manifest(root).damaged if examine(root, one.file) is None]
    if not back:
        return ()
    paths = {file.path for file in back}
    restored = [replace(file, modified_unix_nano=modified_ns(root, file), settled=False) for file in back]

    def change(manifest: Manifest) -> Manifest:
        left = tuple(one for one in manifest.damaged if one.file.path not in paths)
        return replace(manifest.with_rows(restored), damaged=left)

    update_manifest(root, change, disk=disk)
    return restored


def _noted(manifest: Manifest, changed: dict[str, int]) -> Manifest:
    files = tuple(
        replace(file, modified_unix_nano=changed[file.path]) if file.path in changed else file
        for file in manifest.files
    )
    return replace(manifest, files=files)
