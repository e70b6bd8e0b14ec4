"""The folder of a store: its metadata, where each file lies, and which bucket a key belongs to."""

import hashlib
import json
import os
import re
import socket
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from headgate_processors.errors import StoreError
from headgate_processors.store.disk import Disk, remove
from headgate_processors.store.manifest import start_manifest

FORMAT = 1
HASH = "sha256-prefix"

_WRITER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFolder:
    """A folder whose `store.json` was read: where things lie, and the number of buckets."""

    root: Path
    buckets: int

    @property
    def segments(self) -> Path:
        """Where unsealed rows lie."""
        return self.root / "segments"

    @property
    def writers(self) -> Path:
        """Where the writers' locks lie."""
        return self.root / "writers"

    def segment(self, writer: str, sequence: int) -> Path:
        """The path of one segment."""
        return self.segments / f"{writer}-{sequence:010d}.seg"

    def lock(self, writer: str) -> Path:
        """The path of one writer's lock."""
        return self.writers / f"{writer}.lock"

    def bucket(self, key: str | None) -> int:
        """The bucket of a key: the first 8 hexadecimal digits of its SHA-256, modulo the number of buckets."""
        digest = hashlib.sha256((key or "").encode()).digest()
        return int.from_bytes(digest[:4], "big") % self.buckets


def default_writer() -> str:
    """A name that stays the same on one host."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).strip("-._")[:64] or "writer"


def check_writer(name: str) -> str:
    """The name itself, when it can stand in file names.

    Raises:
        StoreError: it cannot.
    """
    if not _WRITER.fullmatch(name):
        raise StoreError(
            f"writer name {name!r} must be 1 to 64 letters, digits, '.', '_' or '-', and start with a letter or digit"
        )
    return name


def open_folder(root: Path) -> StoreFolder:
    """Read the metadata of an existing store.

    Raises:
        StoreError: there is none, it cannot be read, or a newer Headgate wrote it.
    """
    path = root / "store.json"
    try:
        found = json.loads(path.read_bytes())
        version, buckets, hash_name = int(found["format"]), int(found["buckets"]), str(found["hash"])
    except FileNotFoundError as error:
        raise StoreError(
            f"{root} holds no store (no store.json): give another --data folder, "
            "or fill it with `headgate replay` or `headgate up`"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} is damaged ({error!r}): restore it from a copy, "
            "or write it anew with the format, buckets and hash of this store"
        ) from error
    if version > FORMAT or hash_name != HASH:
        raise StoreError(
            f"{root} was written by a newer Headgate (store format {version}, hash {hash_name!r}; "
            f"this one knows format {FORMAT}, hash {HASH!r}): upgrade Headgate to use it"
        )
    return StoreFolder(root=root, buckets=buckets)


def make_folder(root: Path, *, buckets: int, disk: Disk) -> StoreFolder:
    """Open the store in `root`, and make it first when there is none."""
    path = root / "store.json"
    if not path.exists():
        for folder in (root, root / "segments", root / "writers"):
            folder.mkdir(parents=True, exist_ok=True)
        start_manifest(root, disk=disk)
        _write_once(
            path, {"format": FORMAT, "buckets": buckets, "hash": HASH, "created": datetime.now(UTC).isoformat()}, disk
        )
    return open_folder(root)


def _write_once(path: Path, content: dict[str, object], disk: Disk) -> None:
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    with temporary.open("xb") as file:
        file.write(json.dumps(content, indent=2).encode())
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        remove(temporary)
    disk.sync_folder(path.parent)
