"""One control at a time holds a PostgreSQL database: by a lock of the database itself, on a connection of its own.

The database frees the lock when it knows that the connection is gone: at once where the process was killed, and after
seconds where its machine has vanished.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, select, text
from sqlalchemy.exc import DBAPIError

from headgate_control.store.opening import postgresql_engine
from headgate_control.store.record import read_object
from headgate_control.store.schema import RECORDS
from headgate_processors.errors import StoreError, TransientError

HOLDER = "control_holder"
"""The kind of the record that says which control holds the database, or held it when it was killed."""
HOLDER_ID = "control"
WAIT_S = 3.0
_POLL_S = 0.1
_FOR_EVER_NS = 1 << 62
_NAME_BYTES_MAX = 63
_TAKE = text("SELECT pg_try_advisory_lock(1214603620, 1734440037)")
_OF_LOCK = "locktype = 'advisory' AND classid = 1214603620 AND objid = 1734440037 AND objsubid = 2 AND granted"
_OF_HERE = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
_MINE = text(f"SELECT count(*) FROM pg_locks WHERE {_OF_LOCK} AND {_OF_HERE} AND pid = pg_backend_pid()")
_WHO = text(
    "SELECT application_name AS name, host(client_addr) AS host, backend_start AS since "
    f"FROM pg_stat_activity WHERE pid IN (SELECT pid FROM pg_locks WHERE {_OF_LOCK} AND {_OF_HERE})"
)
# The server's own patience with a client that says nothing: by default it would be hours.
_PATIENT = (
    "SET tcp_keepalives_idle = 5",
    "SET tcp_keepalives_interval = 2",
    "SET tcp_keepalives_count = 3",
    "SET tcp_user_timeout = 10000",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBy:
    """Who holds a database, as far as it says: the name of its connection, and the record that it wrote."""

    name: str
    host: str | None
    since: datetime | None
    record: dict[str, Any]

    def __str__(self) -> str:
        since = "" if self.since is None else f" since {self.since.astimezone(UTC).isoformat(timespec='seconds')}"
        host = "" if self.host is None else f" from {self.host}"
        is_its = str(self.record.get("host")) in self.name.split()
        data = f" with the data folder {self.record['data']}" if is_its and "data" in self.record else ""
        return f"{f'the {self.name}' if self.name else 'another control'}{data}{host}{since}"


class DatabaseHold:
    """The hold of a database. `check` it again and again, from one thread; any may ask how sure it is."""

    def __init__(self, engine: Engine, where: str, name: str, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._engine, self._where, self._name, self._clock = engine, where, name, clock
        self._connection: Connection | None = None
        self._is_sure = self._is_lost = False
        self._seen_ns = clock()

    @classmethod
    def take(cls, address: str, *, name: str, wait_s: float = WAIT_S) -> "DatabaseHold":
        """Take the lock; one whose holder was just killed is waited for.

        Raises:
            ConfigError: the address is none, or psycopg is not installed.
            StoreError: another control has it, which the message names; or the database cannot be reached.
        """
        engine, where = postgresql_engine(address, poolclass=NullPool)
        hold, until = cls(engine, where, name), time.monotonic() + wait_s
        try:
            while not hold._take():
                if time.monotonic() >= until:
                    raise StoreError(hold._refusal())
                time.sleep(_POLL_S)
        except DBAPIError as error:
            hold.close()
            raise StoreError(f"the control database {where} cannot be opened: {error.orig}") from error
        except StoreError:
            hold.close()
            raise
        hold._is_sure, hold._seen_ns = True, hold._clock()
        return hold

    def age_ns(self) -> int:
        """How long ago it was known to be held; without end where another has it by now."""
        return _FOR_EVER_NS if self._is_lost else self._clock() - self._seen_ns

    def check(self, again: Callable[[], None]) -> None:
        """See that it is still held. A connection that is lost is made anew, and the lock taken again.

        It then counts as held once `again` has seen that nobody had it meanwhile.

        Raises:
            StoreError: another control has it, or `again` says so.
            TransientError: the database cannot be reached.
        """
        asked_ns = self._clock()
        try:
            if self._connection is None or not self._connection.execute(_MINE).scalar():
                self._retake()
            if not self._is_sure:
                again()
        except DBAPIError as error:
            self._let_go()
            message = f"the control database cannot be reached, so another control may take it: {error.orig}"
            raise TransientError(message) from error
        except StoreError:
            self._is_lost = True
            raise
        self._is_sure, self._seen_ns = True, asked_ns

    def say(self, name: str) -> None:
        """Call itself otherwise to whoever asks who holds the database, such as by where it listens."""
        self._name = name
        try:
            if self._connection is not None:
                self._call()
        except DBAPIError:
            self._let_go()

    def close(self) -> None:
        """Let go of it. Safe to call twice."""
        self._let_go()
        self._engine.dispose()

    def _retake(self) -> None:
        self._let_go()
        if not self._take():
            raise StoreError(self._refusal())

    def _take(self) -> bool:
        if self._connection is None:
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            for statement in _PATIENT:
                self._connection.exec_driver_sql(statement)
            self._call()
        return bool(self._connection.execute(_TAKE).scalar())

    def _call(self) -> None:
        assert self._connection is not None
        name = self._name.encode()[:_NAME_BYTES_MAX].decode(errors="ignore")
        self._connection.execute(text("SELECT set_config('application_name', :name, false)"), {"name": name})

    def _let_go(self) -> None:
        self._is_sure = False
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def _refusal(self) -> str:
        return (
            f"the control database {self._where} is held by {self._holder()}: one control at a time may have it, for "
            "it alone keeps the books of budgets and waits for gateways. Run `headgate gateway model --control URL` "
            "here against that one (docs/guides/several-machines.md), or end it"
        )

    def _holder(self) -> HeldBy | str:
        assert self._connection is not None
        row = self._connection.execute(_WHO).first()
        if row is None:
            return "another control, which has just ended"
        return HeldBy(name=row.name, host=row.host, since=row.since, record=_recorded(self._connection))


def _recorded(connection: Connection) -> dict[str, Any]:
    """The record of the holder; nothing where it has written none yet."""
    query = select(RECORDS.c.body).where(RECORDS.c.kind == HOLDER, RECORDS.c.id == HOLDER_ID)
    try:
        return dict(read_object(connection.execute(query).scalar()))
    except (DBAPIError, ValueError):
        return {}
