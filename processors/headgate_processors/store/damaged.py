"""What is damaged is kept apart in `damaged/`, so that everything else goes on and nothing is thrown away."""

from pathlib import Path

from headgate_processors.store.disk import link_or_copy

FOLDER = "damaged"


def set_aside(root: Path, path: Path) -> Path:
    """Keep a damaged file under `damaged/`, where it lay in the store; the original stays for the caller to remove.

    It costs no room: the copy is a second name of the same file where the file system knows such.

    Raises:
        OSError: the disk refused.
    """
    kept = _unused(root / FOLDER / path.relative_to(root))
    kept.parent.mkdir(parents=True, exist_ok=True)
    link_or_copy(path, kept)
    return kept


def _unused(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number, free = number + 1, path.with_name(f"{path.name}.{number}")
    return free
