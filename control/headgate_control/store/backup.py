"""A copy of control state in one file, taken while it is written, and its way back.

The database is copied by SQLite itself, the logs after it, so that they hold every record that it knows the head of.
"""

import secrets
import sqlite3
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import orjson

from headgate_control.audit.verify import verify
from headgate_control.store.opening import read_sqlite
from headgate_processors.errors import ConfigError, StoreError
from headgate_processors.store.lock import holder_of, is_held

MANIFEST = "manifest.json"
MANIFEST_BYTES_MAX = 64 << 20
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What control keeps below a data folder, as paths in it.

    `replaced` are put back as they were, `added` only where nothing stands, such as keys that old rows need.
    `left_out` is made again at each start.
    """

    folder: str
    database: str
    logs: str
    replaced: Sequence[str]
    added: Sequence[str]
    left_out: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUp:
    """What a backup holds."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore put back, and where what was there before is now."""

    files: int
    created_unix_nano: int
    set_aside: tuple[Path, ...]


def back_up(data: Path, kept: Kept, to: Path) -> BackedUp:
    """Copy control state into a file that is not there yet, which its owner alone may read.

    Raises:
        StoreError: there is no control state, or the file is there.
        OSError: the disk refuses.
    """
    if not (data / kept.database).is_file():
        raise StoreError(f"no control state in {data}: `headgate up` makes it at its first start. See --data")
    if to.exists():
        raise StoreError(f"{to} is there already: give a file that is not")
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.") as place:
        folder = Path(place)
        _copy_database(data / kept.database, folder / "database")
        sources = {kept.database: folder / "database", **_sources(data, kept)}
        copies = {name: _copied(path, folder / f"{number}") for number, (name, path) in enumerate(sources.items())}
        members = {name: _described(path) for name, path in copies.items()}
        content = {"version": 1, "created_unix_nano": time.time_ns(), "members": members}
        (folder / MANIFEST).write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
        with tarfile.open(folder / "packed", "w:gz") as tar:
            for name, path in {MANIFEST: folder / MANIFEST, **copies}.items():
                tar.add(path, arcname=name, recursive=False)
        (folder / "packed").chmod(0o600)
        (folder / "packed").replace(to)
    return BackedUp(files=len(copies), bytes=to.stat().st_size)


def restore(source: Path, data: Path, kept: Kept, *, ready: Callable[[Path], None] = lambda _: None) -> Restored:
    """Put control state back. What was there is set aside, and nothing changes where the copy is not whole.

    `ready` is given the data folder of the copy, whole and verified, before it is put in place.

    Raises:
        ConfigError: the file cannot be read, or is no backup of control.
        StoreError: control runs there, or a chain in the copy has a fault.
        OSError: the disk refuses.
    """
    _refuse_running(data / kept.folder)
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data, prefix=".restore.") as place:
        folder = Path(place)
        created, names = _unpacked(source, folder)
        _refuse_faults(folder, kept)
        ready(folder)
        mark = f"before-restore-{secrets.token_hex(4)}"
        aside = [_set_aside(data / name, mark) for name in (kept.folder, *kept.replaced) if (data / name).exists()]
        (folder / kept.folder).replace(data / kept.folder)
        for name in names:
            if PurePosixPath(name).parts[0] != kept.folder and not (data / name).exists():
                (data / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                (folder / name).replace(data / name)
    return Restored(files=len(names), created_unix_nano=created, set_aside=tuple(aside))


def _sources(data: Path, kept: Kept) -> dict[str, Path]:
    """Every other file, by its path in the data folder; logs last."""
    found: dict[str, Path] = {}
    for name in (*kept.replaced, *kept.added, kept.folder):
        root = data / name
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            relative = str(path.relative_to(data))
            is_ours = path.is_file() and not path.name.startswith(".") and path.suffix != ".lock"
            if is_ours and not relative.startswith(kept.database) and relative not in kept.left_out:
                found[relative] = path
    return dict(sorted(found.items(), key=lambda one: one[0].startswith(kept.logs)))


def _copy_database(source: Path, to: Path) -> None:
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(source.absolute()))}?mode=ro", uri=True)) as found,
            closing(sqlite3.connect(to)) as copy,
        ):
            found.backup(copy)
    except sqlite3.Error as error:
        raise StoreError(f"{source} cannot be copied: {error}") from error


def _copied(source: Path, to: Path) -> Path:
    """A copy that nobody writes to; of a log only whole lines."""
    content = source.read_bytes()
    if source.suffix == ".jsonl":
        content = content[: content.rfind(b"\n") + 1]
    to.write_bytes(content)
    to.chmod(0o600)
    return to


def _described(path: Path) -> dict[str, object]:
    with path.open("rb") as file:
        return {"sha256": file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def _refuse_running(folder: Path) -> None:
    for lock in sorted(folder.rglob("*.lock")):
        if is_held(lock):
            raise StoreError(f"control runs on {folder}, as {holder_of(lock) or 'another process'}: stop it first")


def _unpacked(source: Path, to: Path) -> tuple[int, list[str]]:
    """Unpack a backup; when it was made, and the names of its files.

    Raises:
        ConfigError: it cannot be read, or is not what was packed.
    """
    try:
        with tarfile.open(source, "r:gz") as tar:
            manifest = _manifest(tar)
            members = manifest["members"]
            for name, expected in members.items():
                _unpack(tar, name, expected, to)
            return int(manifest["created_unix_nano"]), list(members)
    except FileNotFoundError as error:
        raise ConfigError(f"cannot read {source}: {error.strerror}") from error
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        message = f"{source} is no whole backup of control ({error}): expected a file of `headgate control backup`"
        raise ConfigError(message) from error


def _manifest(tar: tarfile.TarFile) -> Any:
    info = tar.getmember(MANIFEST)
    content = tar.extractfile(info)
    if content is None or info.size > MANIFEST_BYTES_MAX:
        raise ValueError("it has no manifest")
    found = orjson.loads(content.read())
    if "subject" in found:
        raise ValueError("it is an archive of `headgate audit export`: evidence to verify, with no control state in it")
    if found["version"] != 1:
        raise ValueError("it is of a newer Headgate")
    return found


def _unpack(tar: tarfile.TarFile, name: str, expected: Mapping[str, Any], to: Path) -> None:
    parts = PurePosixPath(name).parts
    info = tar.getmember(name)
    content = tar.extractfile(info) if info.isreg() else None
    if content is None or name.startswith("/") or ".." in parts or info.size != expected["bytes"]:
        raise ValueError(f"{name} is not what was packed")
    path = to / name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("xb") as file:
        path.chmod(0o644 if path.name == "jwks.json" else 0o600)
        for chunk in iter(lambda: content.read(_CHUNK), b""):
            file.write(chunk)
    if _described(path)["sha256"] != expected["sha256"]:
        raise ValueError(f"{name} was changed")


def _refuse_faults(folder: Path, kept: Kept) -> None:
    with closing(read_sqlite(folder / kept.database)) as store:
        findings = verify(store, folder / kept.logs).all_findings
    if findings:
        one = findings[0]
        raise StoreError(f"the copy is not whole: {one.place}, record {one.number}: {one.problem}")


def _set_aside(path: Path, mark: str) -> Path:
    to = path.with_name(f"{path.name}.{mark}")
    path.replace(to)
    return to
