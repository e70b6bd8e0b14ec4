"""Open control state by its address: a file for SQLite, `postgresql://…` for PostgreSQL."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from headgate_control.store.migrate import migrate
from headgate_control.store.sql import SqlControlStore
from headgate_processors.errors import ConfigError, StoreError

BUSY_S = 10.0
READERS_MAX = 8
_PATIENCE = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
"""How long a database that has vanished without a word is waited for, in libpq's own words and units."""


def open_sqlite(path: Path, *, writer: str) -> SqlControlStore:
    """Control state in a file that this process alone changes; made when it is missing.

    Raises:
        StoreError: it cannot be opened, or is of a newer Headgate.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    address = f"sqlite+pysqlite:///{path}"
    return _opened(_sqlite(address, begin="BEGIN"), _sqlite(address, begin="BEGIN IMMEDIATE"), writer, str(path))


def read_sqlite(path: Path) -> SqlControlStore:
    """Control state in a file that another process may be changing; every change by this one is refused.

    Raises:
        StoreError: there is no such file.
    """
    if not path.is_file():
        message = f"no control state at {path}: `headgate up` makes it at its first start. See --data"
        raise StoreError(message)
    engine = create_engine(
        f"sqlite+pysqlite:///file:{quote(str(path.absolute()))}?mode=ro&uri=true", connect_args={"timeout": BUSY_S}
    )
    return SqlControlStore(engine, engine, "reader")


def open_postgresql(address: str, *, writer: str) -> SqlControlStore:
    """Control state in a PostgreSQL database that other machines may read too; `writer` is this one's own name.

    Raises:
        ConfigError: the address is none, or psycopg is not installed.
        StoreError: it cannot be opened, or is of a newer Headgate.
    """
    engine, where = postgresql_engine(address, pool_size=READERS_MAX, pool_pre_ping=True)
    return _opened(engine, engine, writer, where)


def postgresql_engine(address: str, **options: Any) -> tuple[Engine, str]:
    """An engine, and the address as it may be shown; nothing is connected yet.

    Raises:
        ConfigError: the address is none, or psycopg is not installed.
    """
    try:
        url = make_url(address).set(drivername="postgresql+psycopg")
        engine = create_engine(url, connect_args=_PATIENCE, **options)
    except ArgumentError as error:
        message = "the address of the control database: expected postgresql://USER@HOST/DATABASE"
        raise ConfigError(message) from error
    except ModuleNotFoundError as error:
        message = "control state in PostgreSQL needs psycopg: pip install 'headgate[postgresql]'"
        raise ConfigError(message) from error
    return engine, url.render_as_string(hide_password=True)


def _opened(reader: Engine, engine: Engine, writer: str, where: str) -> SqlControlStore:
    try:
        with engine.begin() as connection:
            migrate(connection, where)
    except DBAPIError as error:
        message = f"the control database {where} cannot be opened: {error.orig}"
        raise StoreError(message) from error
    return SqlControlStore(reader, engine, writer)


def _sqlite(address: str, *, begin: str) -> Engine:
    """An engine whose transactions begin as said: the driver's own way would take the lock at the first write."""
    engine = create_engine(address, pool_size=READERS_MAX, connect_args={"timeout": BUSY_S, "isolation_level": None})

    @event.listens_for(engine, "connect")
    def settle(connection: Any, _: object) -> None:
        for statement in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {statement}")

    @event.listens_for(engine, "begin")
    def open_transaction(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return engine
