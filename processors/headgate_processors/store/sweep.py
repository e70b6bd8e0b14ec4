"""What is removed: files that died a grace ago, and files that never became live."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

from headgate_processors.store.disk import Disk, changed_s, remove
from headgate_processors.store.manifest import DeadFile, Manifest, read_manifest, update_manifest
from headgate_processors.store.rebuild import described, unlisted

_PATTERNS = ("*/day=*/bucket=*/*.parquet*", "derived/*/bucket=*/*.parquet*", "*.tmp")


def sweep(root: Path, *, grace_s: float, now_unix_nano: int, disk: Disk) -> int:
    """Delete files that died at least `grace_s` ago; how many."""

    def is_due(file: DeadFile) -> bool:
        return now_unix_nano - file.since_unix_nano >= grace_s * 1e9

    due = frozenset(file for file in read_manifest(root).dead if is_due(file))
    if not due:
        return 0
    for file in due:
        remove(root / file.path)

    def forget(manifest: Manifest) -> Manifest:
        return replace(manifest, dead=tuple(file for file in manifest.dead if file not in due))

    update_manifest(root, forget, disk=disk)
    return len(due)


def remove_orphans(root: Path, *, age_s: float) -> int:
    """Delete data files, and temporary folders, that no manifest names and nobody touched for `age_s`; how many."""
    found = orphans(root, read_manifest(root), age_s=age_s)
    for path in found:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            remove(path)
    return len(found)


def orphans(root: Path, manifest: Manifest, *, age_s: float) -> list[Path]:
    """Data files that a manifest does not name and nobody touched for `age_s`; a readable one of a seal is none."""
    before = time.time() - age_s
    old = [path for pattern in _PATTERNS for path in root.glob(pattern) if changed_s(path) < before]
    known = {file.path for file in manifest.files} | {file.path for file in manifest.dead}
    sealed = {path for path in unlisted(root, manifest) if described(root, path) is not None}
    return [path for path in old if path.relative_to(root).as_posix() not in known and path not in sealed]
