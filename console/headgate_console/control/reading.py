"""Control state as commands read it beside a running control: nothing is changed, nothing is waited for."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from headgate_console.control.place import Place
from headgate_control.identity.directory import Directory
from headgate_control.store.opening import open_postgresql, read_sqlite
from headgate_control.store.sql import SqlControlStore

if TYPE_CHECKING:
    from headgate_console.settings import Settings

KEYS = "keys"


@contextmanager
def reading(settings: "Settings") -> Iterator[SqlControlStore]:
    """The control state of the settings.

    Raises:
        StoreError: there is none yet, or it cannot be opened.
    """
    if settings.control.database is not None:
        store = open_postgresql(settings.control.database, writer="reader")
    else:
        store = read_sqlite(Place(data=settings.data).database)
    with closing(store):
        yield store


def directory_of(settings: "Settings") -> Directory:
    """Who and what control knows; nobody and nothing where control was never started.

    Raises:
        StoreError: its state cannot be opened.
    """
    if settings.control.database is None and not Place(data=settings.data).database.is_file():
        return Directory()
    with reading(settings) as store:
        return Directory.of(store)
