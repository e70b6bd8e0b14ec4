"""The beginning of a journal taken out of its table; the last row of each writer stays at a position below zero."""

from collections.abc import Iterable

from sqlalchemy import Connection, delete, func, select, update

from headgate_control.audit.chain import Anchor
from headgate_control.store.schema import JOURNAL

_LAST = select(JOURNAL.c.writer, func.max(JOURNAL.c.number).label("number")).group_by(JOURNAL.c.writer).subquery()


def pruned_heads(connection: Connection, position: int) -> list[Anchor]:
    """Of each writer the last record that goes when all up to a position do, but for the last that it has."""
    going = (
        select(JOURNAL.c.writer, func.max(JOURNAL.c.number).label("number"))
        .join(_LAST, JOURNAL.c.writer == _LAST.c.writer)
        .where(JOURNAL.c.position <= position, JOURNAL.c.number < _LAST.c.number)
        .group_by(JOURNAL.c.writer)
        .subquery()
    )
    joined = (JOURNAL.c.writer == going.c.writer) & (JOURNAL.c.number == going.c.number)
    query = select(JOURNAL.c.writer, JOURNAL.c.number, JOURNAL.c.digest).join(going, joined)
    return [Anchor(**row._mapping) for row in connection.execute(query.order_by(JOURNAL.c.writer))]


def pruned_rows(connection: Connection, heads: Iterable[Anchor], position: int) -> int:
    """Take away the rows up to these heads, and those that stay up to the position out of sight; how many went."""
    gone = 0
    for head in heads:
        old = (JOURNAL.c.writer == head.writer) & (JOURNAL.c.number <= head.number)
        gone += connection.execute(delete(JOURNAL).where(old)).rowcount
    left = (JOURNAL.c.position <= position) & (JOURNAL.c.position > 0)
    connection.execute(update(JOURNAL).where(left).values(position=-JOURNAL.c.position))
    return gone
