"""One recorded decision."""

from typing import TYPE_CHECKING

from headgate_console.errors import CommandError
from headgate_console.queries.rows import Row, fetch

if TYPE_CHECKING:
    import duckdb

VIEWS = ("decisions",)


def decision(connection: "duckdb.DuckDBPyConnection", decision_id: str) -> Row:
    """The decision of an id, or of the beginning of one.

    Raises:
        CommandError: none or several begin so.
    """
    query = "SELECT * FROM decisions WHERE starts_with(decision_id, ?) ORDER BY time LIMIT 2"
    rows = fetch(connection, query, [decision_id])
    if len(rows) != 1:
        found = "none is" if not rows else "several are"
        message = f"{found} called {decision_id!r}; see: headgate decisions"
        raise CommandError(message)
    return rows[0]
