"""A DuckDB connection that reads the live files of one store and nothing else."""

import re
from collections.abc import Sequence

import duckdb

from headgate_processors.errors import StoreError
from headgate_processors.store.config import ReaderConfig
from headgate_processors.store.relation import text

_EXPLAIN = re.compile(r"\s*explain\s+(analyze\s+|\([^)]*\)\s*)?", re.IGNORECASE)


def open_connection(config: ReaderConfig) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB in UTC that loads no extension; not locked down yet."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": config.memory_limit,
        "temp_directory": config.temp_dir or "",
        "python_enable_replacements": False,
        "autoload_known_extensions": False,
        "autoinstall_known_extensions": False,
        "allow_community_extensions": False,
    }
    if config.threads is not None:
        settings["threads"] = config.threads
    connection = duckdb.connect(config=settings)
    connection.execute("SET timezone = 'UTC'")
    return connection


def lock_down(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> None:
    """Allow these files and no other, no attaching, no extension, no setting.

    DuckDB knows no read-only permission: a `COPY … TO` one of these very files is refused by
    `check_statement`, which is why SQL of users goes through it.
    """
    if files:
        connection.execute(f"SET allowed_paths = [{', '.join(map(text, files))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def check_statement(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Let only queries pass: SELECT, FROM, VALUES, WITH, DESCRIBE, SHOW, SUMMARIZE, PIVOT, EXPLAIN of these.

    Raises:
        StoreError: the text is no SQL, or a statement in it does more than read.
    """
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise StoreError(f"this is not SQL that DuckDB reads: {error}") from error
    if not statements:
        raise StoreError("the query is empty: give one SELECT")
    for statement in statements:
        if statement.type == duckdb.StatementType.EXPLAIN:
            _check_explained(connection, statement.query)
        elif statement.type not in {duckdb.StatementType.SELECT, duckdb.StatementType.MULTI}:
            raise StoreError(
                f"{statement.type.name} is refused: the store answers queries only "
                "(SELECT, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN)"
            )


def _check_explained(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    begin = _EXPLAIN.match(sql)
    if begin is None:
        raise StoreError("EXPLAIN is refused when a comment stands before it: remove the comment")
    check_statement(connection, sql[begin.end() :])
