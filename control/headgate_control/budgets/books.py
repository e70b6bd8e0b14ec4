"""Whose the books of budgets are: an id beside their log, made once, by which a control database knows them."""

import secrets
from pathlib import Path

from headgate_processors.files import write_whole

BOOKS = "control_books"
"""The kind of the record that says whose books belong to a database, and where they are."""
BOOKS_ID = "control"
FILE = "books.id"
_ID_BYTES = 16
_ID_CHARS_MAX = 64


def books_of(logs: Path) -> str | None:
    """The id of the books of a folder of logs; None where it has none."""
    try:
        found = (logs / FILE).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
    return found if found.isalnum() and len(found) <= _ID_CHARS_MAX else None


def make_books(logs: Path) -> str:
    """Give the books of a folder an id of their own, in place of one that they have.

    Raises:
        OSError: the disk refuses.
    """
    made = secrets.token_hex(_ID_BYTES)
    logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(logs / FILE, f"{made}\n".encode())
    return made
