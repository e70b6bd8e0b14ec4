"""What stands in the tables of control state in a form that control never writes: values of another SQL type.

SQLite keeps whatever it is given in any column; PostgreSQL refuses what is not of the column's type.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, Connection, LargeBinary, Row, Table, cast, func, literal, or_, select, type_coerce
from sqlalchemy.types import NullType

from headgate_control.audit.pruning import PRUNED
from headgate_control.store.migrate import versions
from headgate_control.store.record import Damage
from headgate_control.store.schema import JOURNAL, RECORDS

DAMAGE_MAX = 1_000
_OF_JOURNAL = {"writer": "text", "number": "integer", "previous": "text", "digest": "text", "body": "blob"}
_OF_RECORDS = {"kind": "text", "id": "text", "revision": "integer", "body": "blob"}


def damage(connection: Connection) -> Iterator[Damage]:
    """Every such row, at most `DAMAGE_MAX` of each kind; and a version of the tables that is not known here."""
    found = MigrationContext.configure(connection).get_current_heads()
    if len(found) != 1 or found[0] not in versions():
        version = " and ".join(map(str, found)) or "none"
        problem = f"the tables are of version {version}, which this Headgate does not know: use a newer, or ask who"
        yield Damage(place="alembic_version", problem=f"{problem} changed it")
    if connection.dialect.name != "sqlite":
        return
    yield from (_of_journal(row, row.position) for row in _odd(connection, JOURNAL, _OF_JOURNAL))
    yield from (_of_records(row) for row in _odd(connection, RECORDS, _OF_RECORDS))
    yield from _nameless(connection)
    yield from _skipped(connection)


def stored(column: Column[Any], dialect: str) -> Any:
    """A column of text or bytes as bytes, whatever is in it."""
    return type_coerce(cast(column, LargeBinary) if dialect == "sqlite" else column, NullType())


def as_bytes(value: object) -> bytes:
    """What `stored` gave."""
    return value.encode() if isinstance(value, str) else bytes(value) if isinstance(value, bytes | memoryview) else b""


def as_text(value: object) -> str:
    """The same as text; bytes that are none stay visible."""
    return as_bytes(value).decode("utf-8", "backslashreplace")


def _odd(connection: Connection, table: Table, types: Mapping[str, str]) -> list[Row[Any]]:
    """Rows of which a column is of another type; the types stand under `type_NAME`."""
    kinds = [func.typeof(table.c[name]).label(f"type_{name}") for name in types]
    values = [stored(table.c[name], "sqlite").label(name) for name in types if name != "body"]
    extra = [table.c.position] if table is JOURNAL else []
    wrong = or_(*(func.typeof(table.c[name]) != kind for name, kind in types.items()))
    return list(connection.execute(select(*extra, *kinds, *values).where(wrong).limit(DAMAGE_MAX)))


def _of_journal(row: Row[Any], position: int) -> Damage:
    is_numbered = row.type_number == "integer"
    where = "it" if is_numbered else f"the one at position {position}"
    return Damage(
        place=JOURNAL.name,
        writer=as_text(row.writer),
        number=int(as_text(row.number)) if is_numbered else None,
        problem=f"{where} was changed: {_told(row, _OF_JOURNAL)}",
    )


def _of_records(row: Row[Any]) -> Damage:
    name = f"{as_text(row.kind)} {as_text(row.id)}"
    return Damage(place=RECORDS.name, problem=f"{name}: it was changed: {_told(row, _OF_RECORDS)}")


def _told(row: Row[Any], types: Mapping[str, str]) -> str:
    wrong = [(name, found, kind) for name, kind in types.items() if (found := getattr(row, f"type_{name}")) != kind]
    return ", ".join(f"its {name} is {found.upper()}, and control writes {kind.upper()}" for name, found, kind in wrong)


def _nameless(connection: Connection) -> Iterator[Damage]:
    """Records of writers whose names are no text, though they are stored as such."""
    writer = stored(JOURNAL.c.writer, "sqlite")
    query = select(writer.label("writer"), func.min(JOURNAL.c.position).label("position"))
    for row in connection.execute(query.where(func.typeof(JOURNAL.c.writer) == "text").group_by(JOURNAL.c.writer)):
        try:
            as_bytes(row.writer).decode()
        except UnicodeDecodeError:
            problem = f"the one at position {row.position} was changed: its writer is no text"
            yield Damage(place=JOURNAL.name, writer=as_text(row.writer), problem=problem)


def _skipped(connection: Connection) -> Iterator[Damage]:
    """Positions that nothing stands at: SQLite gives each the next one, and takes it back with what is not written."""
    before = func.lag(JOURNAL.c.position).over(order_by=JOURNAL.c.position)
    seen = select(
        stored(JOURNAL.c.writer, "sqlite").label("writer"),
        func.typeof(JOURNAL.c.number).label("kind"),
        JOURNAL.c.number,
        JOURNAL.c.position,
        before.label("before"),
    ).where(JOURNAL.c.position > 0)
    found = seen.subquery()
    first = found.c.position if _is_pruned(connection) else literal(1)
    expected = func.coalesce(found.c.before + 1, first)
    query = select(found, expected.label("expected")).where(found.c.position != expected).order_by(found.c.position)
    for row in connection.execute(query.limit(DAMAGE_MAX)):
        problem = f"it stands at position {row.position}, where {row.expected} is next: it, or one before it, was moved"
        number = row.number if row.kind == "integer" else None
        yield Damage(place=JOURNAL.name, writer=as_text(row.writer), number=number, problem=problem)


def _is_pruned(connection: Connection) -> bool:
    pruned = (RECORDS.c.kind == PRUNED) & RECORDS.c.id.like("journal:%")
    return connection.execute(select(literal(1)).where(pruned).limit(1)).first() is not None
