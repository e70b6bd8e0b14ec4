"""A command that meets a damaged file says which, and the next one does without it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headgate_console.errors import CommandError


@contextmanager
def damage_told(root: Path) -> Iterator[None]:
    """Around a command that may query a store.

    Raises:
        CommandError: a query failed because a file is damaged; it is set aside now.
    """
    try:
        yield
    except Exception as error:
        if not _is_of_duckdb(error) and not _is_of_duckdb(error.__cause__):
            raise
        from headgate_processors.store.disk import LocalDisk
        from headgate_processors.store.quarantine import set_aside_damaged

        damage = set_aside_damaged(root, disk=LocalDisk())
        if not damage:
            raise
        named = "; ".join(map(str, damage))
        message = f"{named}. It is set aside in damaged/ now: ask again, and the rest is answered"
        raise CommandError(message) from error


def _is_of_duckdb(error: BaseException | None) -> bool:
    """Whether DuckDB failed; a command that never asked it has not imported it."""
    duckdb = sys.modules.get("duckdb")
    return duckdb is not None and isinstance(error, duckdb.Error)
