"""What the deriver knows of the past, on disk: a file beside the derived tables, that can be made again from raw rows.

Nobody else reads it. One that is damaged, of another version of Headgate, or copied along with the store (maybe while
it was written) is made anew.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headgate_analytics.stitcher import SCHEMA
from headgate_processors.errors import StoreError
from headgate_processors.store.disk import remove
from headgate_processors.store.layout import PAST

FORMAT = 2
WAIT_S = 10.0
SETTINGS = ("journal_mode = TRUNCATE", "synchronous = FULL", "main.secure_delete = ON", "cache_size = -16384")

_KNOWN = "version, idle_gap_ns, forgotten, oldest_received, has_gateways"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a file was made from: raw rows up to a version of the manifest, under these rules.

    `forgotten` says what was forgotten by then, `oldest_received` when the oldest live row was received, in
    nanoseconds. `has_gateways`: a gateway told of calls, so what agents tell of single calls is known too.
    """

    version: int = 0
    idle_gap_ns: int
    forgotten: str
    oldest_received: int = 0
    has_gateways: bool = False

    def leads_to(self, wanted: "Known") -> bool:
        """Whether only what came since is missing to know what is wanted."""
        same = (self.idle_gap_ns, self.forgotten) == (wanted.idle_gap_ns, wanted.forgotten)
        return same and self.version <= wanted.version


class Past:
    """The open file: its database, and what is known in it. Nothing is kept before `commit`."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database

    @property
    def known(self) -> Known | None:
        """What it was made from; None while it is empty."""
        row = self.database.execute(f"SELECT {_KNOWN} FROM known").fetchone()
        if row is None:
            return None
        return Known(
            version=row[0], idle_gap_ns=row[1], forgotten=row[2], oldest_received=row[3], has_gateways=bool(row[4])
        )

    def begin(self) -> None:
        """Start a change that is kept whole or not at all."""
        self.database.execute("BEGIN IMMEDIATE")

    def commit(self, known: Known) -> None:
        """Keep everything since `begin`."""
        self.database.execute("DELETE FROM known")
        values = (known.version, known.idle_gap_ns, known.forgotten, known.oldest_received, known.has_gateways)
        self.database.execute("INSERT INTO known VALUES (?, ?, ?, ?, ?)", values)
        self.database.execute("COMMIT")


@contextmanager
def open_past(folder: Path, *, usable: Callable[[Known], bool]) -> Iterator[Past]:
    """The file of a store, for one process at a time; an empty one when there is none that is `usable`.

    Raises:
        StoreError: it cannot be written, or turns out to be damaged; then the next one who opens it finds it empty.
    """
    path = folder / PAST
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        past = _opened(path, usable) or _made(path)
        try:
            yield past
        finally:
            past.database.close()
    except sqlite3.Error as error:
        if not isinstance(error, sqlite3.OperationalError):
            _discard(path)
        raise StoreError(f"{path} cannot be used ({error}): it is made again from raw rows when it is gone") from error


def _opened(path: Path, usable: Callable[[Known], bool]) -> Past | None:
    """The file that is there, if it is one that can be gone on with."""
    if not path.exists():
        return None
    database = sqlite3.connect(path, isolation_level=None, timeout=WAIT_S)
    try:
        past = Past(database)
        if _is_ours(database, path) and ((known := past.known) is None or usable(known)):
            return past
    except sqlite3.OperationalError:
        database.close()
        raise
    except sqlite3.DatabaseError as error:
        _LOG.warning("%s is damaged (%s): it is made again from raw rows", path, error)
    database.close()
    return None


def _is_ours(database: sqlite3.Connection, path: Path) -> bool:
    """Whether this version of Headgate made the file, in this place."""
    for setting in SETTINGS:
        database.execute(f"PRAGMA {setting}")
    if database.execute("PRAGMA user_version").fetchone() != (FORMAT,):
        return False
    made: object = database.execute("SELECT inode FROM made").fetchone()
    return made == (_own_inode(path),)


def _made(path: Path) -> Past:
    _discard(path)
    database = sqlite3.connect(path, isolation_level=None, timeout=WAIT_S)
    for setting in SETTINGS:
        database.execute(f"PRAGMA {setting}")
    database.execute("BEGIN IMMEDIATE")
    for statement in (*SCHEMA.split(";"), f"CREATE TABLE known ({_KNOWN})"):
        database.execute(statement)
    database.execute("CREATE TABLE made (inode)")
    database.execute("INSERT INTO made VALUES (?)", (_own_inode(path),))
    database.execute(f"PRAGMA user_version = {FORMAT}")
    database.execute("COMMIT")
    return Past(database)


def _own_inode(path: Path) -> int:
    """The file's inode, which a copy does not have; 0 when another name leads to it too."""
    found = path.stat()
    return found.st_ino if found.st_nlink == 1 else 0


def _discard(path: Path) -> None:
    for one in (path, path.with_name(f"{path.name}-journal")):
        remove(one)
