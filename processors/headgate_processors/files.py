"""Files that are replaced while others read them: put in place whole, and known again when they are another one."""

import os
import secrets
from pathlib import Path

FileState = tuple[int, int, int, int]


def file_state(path: Path) -> FileState | None:
    """What differs when a file was replaced or written; None when it cannot be looked at."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def write_whole(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Put a file in place whole and durable; only its owner may read it unless `mode` says otherwise.

    Raises:
        OSError: it cannot be written, or not be made durable.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
