"""Control state in a database that SQLAlchemy speaks to: SQLite, or PostgreSQL that several machines reach."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import orjson
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    delete,
    func,
    insert,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as SQLAlchemyTimeoutError
from sqlalchemy.types import NullType

from headgate_control.audit.chain import Anchor, Chain
from headgate_control.audit.chain import Record as ChainRecord
from headgate_control.audit.pruning import ACTION, pruned_change
from headgate_control.store.damage import as_bytes, as_text, damage, stored
from headgate_control.store.pruned import pruned_heads, pruned_rows
from headgate_control.store.record import Change, ConflictError, Damage, Event, Record, read_event, read_object
from headgate_control.store.schema import JOURNAL, RECORDS
from headgate_processors.errors import TransientError

PAGE_ROWS = 1_000
_LINK = (JOURNAL.c.writer, JOURNAL.c.number, JOURNAL.c.digest)


class SqlControlStore:
    """A `ControlStore`. Every change is made by one thread, so that a writer's chain has one end."""

    def __init__(self, reader: Engine, engine: Engine, writer: str, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._reader, self._engine, self._clock = reader, engine, clock
        self._chain = Chain(writer)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="headgate-control-store")

    def change(self, changes: Sequence[Change], *, author: str, action: str, reason: str = "") -> list[Event]:
        """As the port says."""
        return self._thread.submit(self._change, changes, author, action, reason).result()

    def get(self, kind: str, record_id: str) -> Record | None:
        """As the port says."""
        with self._reading() as connection:
            return _record(connection, kind, record_id)

    def all(self, kind: str, *, unreadable: list[str] | None = None) -> list[Record]:
        """As the port says."""
        query = select(RECORDS.c.kind, RECORDS.c.id, RECORDS.c.revision, _raw(RECORDS.c.body))
        with self._reading() as connection:
            rows = connection.execute(query.where(RECORDS.c.kind == kind).order_by(RECORDS.c.id)).all()
        found: list[Record] = []
        for row in rows:
            try:
                found.append(_read(row.kind, row.id, row.revision, row.body))
            except ValueError:
                if unreadable is None:
                    raise
                unreadable.append(str(row.id))
        return found

    def events(self, *, after: int = 0, limit: int = PAGE_ROWS) -> list[Event]:
        """As the port says."""
        query = select(JOURNAL.c.position, *_LINK, _raw(JOURNAL.c.body)).where(JOURNAL.c.position > after)
        with self._reading() as connection:
            found = connection.execute(query.order_by(JOURNAL.c.position).limit(limit)).all()
        return [_event(*row) for row in found]

    def chain(self, writer: str) -> Iterator[ChainRecord]:
        """As the port says; a page at a time."""
        number, columns = 0, (JOURNAL.c.previous, JOURNAL.c.digest, JOURNAL.c.body)
        while True:
            with self._reading() as connection:
                dialect = connection.dialect.name
                link = (stored(column, dialect).label(column.name) for column in columns)
                query = select(JOURNAL.c.number, *link).where(JOURNAL.c.writer == writer, JOURNAL.c.number > number)
                ordered = query.where(*_numbered(dialect)).order_by(JOURNAL.c.number)
                page = connection.execute(ordered.limit(PAGE_ROWS)).all()
            if not page:
                return
            for row in page:
                previous, digest = as_text(row.previous), as_text(row.digest)
                body = as_bytes(row.body)
                yield ChainRecord(writer=writer, number=row.number, previous=previous, digest=digest, body=body)
            number = page[-1].number

    def anchors(self) -> list[Anchor]:
        """As the port says."""
        with self._reading() as connection:
            dialect = connection.dialect.name
            numbered = select(JOURNAL.c.writer, func.max(JOURNAL.c.number).label("number")).where(*_numbered(dialect))
            last = numbered.group_by(JOURNAL.c.writer).subquery()
            joined = (JOURNAL.c.writer == last.c.writer) & (JOURNAL.c.number == last.c.number)
            link = (stored(column, dialect).label(column.name) for column in (JOURNAL.c.writer, JOURNAL.c.digest))
            query = select(JOURNAL.c.number, *link).join(last, joined).order_by(JOURNAL.c.writer)
            return [
                Anchor(writer=as_text(row.writer), number=row.number, digest=as_text(row.digest))
                for row in connection.execute(query)
            ]

    def misplaced(self) -> list[tuple[str, int]]:
        """As the port says."""
        before = func.lag(JOURNAL.c.position).over(partition_by=JOURNAL.c.writer, order_by=JOURNAL.c.number)
        columns = select(JOURNAL.c.writer, JOURNAL.c.number, JOURNAL.c.position, before.label("before"))
        with self._reading() as connection:
            seen = columns.where(*_numbered(connection.dialect.name)).subquery()
            query = select(seen.c.writer, seen.c.number).where(seen.c.position <= seen.c.before)
            return [(row.writer, row.number) for row in connection.execute(query.order_by(*query.selected_columns))]

    def damage(self) -> list[Damage]:
        """As the port says."""
        with self._reading() as connection:
            return list(damage(connection))

    def prune(self, position: int, *, author: str, reason: str) -> int:
        """As the port says."""
        return self._thread.submit(self._prune, position, author, reason).result()

    def close(self) -> None:
        """As the port says."""
        self._thread.shutdown()
        self._reader.dispose()
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _transient(), self._reader.connect() as connection:
            yield connection

    def _change(self, changes: Sequence[Change], author: str, action: str, reason: str) -> list[Event]:
        """In one transaction. What other nodes wrote meanwhile is waited for, so that positions have no gaps."""
        with self._writing() as connection:
            return self._written(connection, changes, author, action, reason)

    def _prune(self, position: int, author: str, reason: str) -> int:
        with self._writing() as connection:
            if not (heads := pruned_heads(connection, position)):
                return 0
            changes = [pruned_change("journal", head) for head in heads]
            self._written(connection, changes, author, ACTION, reason)
            return pruned_rows(connection, heads, position)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with _transient(), self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('headgate.journal'))"))
            yield connection

    def _written(
        self, connection: Connection, changes: Sequence[Change], author: str, action: str, reason: str
    ) -> list[Event]:
        chain = self._end(connection)
        told = {"author": author, "action": action, "reason": reason, "time_unix_nano": self._clock()}
        return [_written(connection, chain, change, told) for change in changes]

    def _end(self, connection: Connection) -> Chain:
        query = select(JOURNAL.c.number, JOURNAL.c.digest).where(JOURNAL.c.writer == self._chain.writer)
        last = connection.execute(query.order_by(JOURNAL.c.number.desc()).limit(1)).first()
        return Chain(self._chain.writer) if last is None else Chain(self._chain.writer, last.number, last.digest)


@contextmanager
def _transient() -> Iterator[None]:
    """What the database could not do now it may do later; only two writers of one name are a conflict."""
    try:
        yield
    except IntegrityError as error:
        raise ConflictError(f"another process changed it at the same moment: try again ({error.orig})") from error
    except DBAPIError as error:
        raise TransientError(f"the control database cannot be used: {error.orig}") from error
    except SQLAlchemyTimeoutError as error:
        raise TransientError("the control database is too busy: no connection is free") from error


def _record(connection: Connection, kind: str, record_id: str) -> Record | None:
    query = select(RECORDS.c.revision, _raw(RECORDS.c.body)).where(RECORDS.c.kind == kind, RECORDS.c.id == record_id)
    row = connection.execute(query).first()
    if row is None:
        return None
    return _read(kind, record_id, row.revision, row.body)


def _raw(column: Column[Any]) -> Any:
    """A column as the database has it: one of bytes that holds something else is told of where it is read."""
    return type_coerce(column, NullType()).label(column.name)


def _numbered(dialect: str) -> list[ColumnElement[bool]]:
    """Rows of a chain; what has no number, or no writer's name, stands in none."""
    if dialect != "sqlite":
        return []
    return [func.typeof(JOURNAL.c.writer) == "text", func.typeof(JOURNAL.c.number) == "integer"]


def _read(kind: str, record_id: str, revision: int, body: object) -> Record:
    try:
        return Record(kind=kind, id=record_id, revision=revision, body=read_object(body))
    except ValueError as error:
        message = f"{kind} {record_id} cannot be read ({error}): see headgate audit verify"
        raise ValueError(message) from error


def _event(position: int, writer: str, number: int, digest: str, body: object) -> Event:
    try:
        said = read_event(body)
    except ValueError as error:
        message = f"record {number} of {writer} in the journal cannot be read ({error}): headgate audit verify"
        raise ValueError(message) from error
    return Event(position=position, writer=writer, number=number, digest=digest, **said)


def _written(connection: Connection, chain: Chain, change: Change, told: dict[str, object]) -> Event:
    """Make one change and write its event."""
    before = _record(connection, change.kind, change.id)
    seen = before.revision if before is not None else 0
    if change.revision is not None and change.revision != seen:
        message = f"{change.kind} {change.id!r} is at revision {seen} by now, not {change.revision}: read it again"
        raise ConflictError(message)
    _put(connection, change, seen)
    body = {
        **told,
        "kind": change.kind,
        "id": change.id,
        "before": before.body if before is not None else None,
        "after": change.body,
    }
    link = chain.add(body)
    row = {"writer": link.writer, "number": link.number, "previous": link.previous, "digest": link.digest}
    result = connection.execute(insert(JOURNAL).values(body=link.body, **row))
    assert result.inserted_primary_key is not None
    return Event(
        position=result.inserted_primary_key[0],
        writer=link.writer,
        number=link.number,
        digest=link.digest,
        **orjson.loads(link.body),
    )


def _put(connection: Connection, change: Change, seen: int) -> None:
    place = (RECORDS.c.kind == change.kind) & (RECORDS.c.id == change.id)
    if change.body is None:
        connection.execute(delete(RECORDS).where(place))
        return
    body = orjson.dumps(change.body, option=orjson.OPT_SORT_KEYS)
    if seen:
        connection.execute(update(RECORDS).where(place).values(revision=seen + 1, body=body))
    else:
        connection.execute(insert(RECORDS).values(kind=change.kind, id=change.id, revision=1, body=body))
