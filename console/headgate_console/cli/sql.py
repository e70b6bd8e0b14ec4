"""`headgate sql`: any question to the views, in DuckDB's SQL."""

import json
import re
import sys
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from headgate_console.cli.options import Data, examples, settings, views
from headgate_console.cli.screen import screen, utf8_stdout
from headgate_console.errors import CommandError
from headgate_console.render.numbers import plural
from headgate_console.render.records import distinct, plain, write_csv, write_json
from headgate_console.render.table import Column
from headgate_processors.errors import ConfigError

if TYPE_CHECKING:
    import duckdb

EXAMPLES = """
    headgate sql "SELECT tool, count(*) FROM tool_calls GROUP BY ALL"
    headgate sql "SELECT * FROM sessions" --format json
    headgate sql --format parquet "FROM model_calls" > calls.parquet
    echo "SHOW TABLES" | headgate sql -
"""
ROWS_A_FETCH = 2048
ROWS_SHOWN_MAX = 1000
TEXT_WIDTH_MIN = 8
NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?$|DECIMAL\(\d+,\d+\)$|DOUBLE$|FLOAT$|BIGNUM$")
TEXT = re.compile(r"VARCHAR|STRUCT|MAP|\[|JSON|UUID|BLOB")


class Format(StrEnum):
    """How a result is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


def sql(
    context: typer.Context,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A query in DuckDB's SQL; `-` reads it from stdin.")],
    data: Data = None,
    form: Annotated[Format, typer.Option("--format", help="How to write the result.")] = Format.TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Ask the views: sessions, model_calls, tool_calls, timeline, spans and more. Read-only."""
    import duckdb

    from headgate_processors.store.sandbox import check_statement

    text = sys.stdin.read() if query == "-" else query
    form = Format.JSON if as_json else form
    if form is Format.PARQUET and sys.stdout.isatty():
        message = (
            "Parquet is not for a terminal: send it to a file, as in: headgate sql … --format parquet > out.parquet"
        )
        raise ConfigError(message)
    connection = views(settings(context, data=data))
    check_statement(connection, text)
    try:
        _answer(connection, text, form)
    except duckdb.Error as error:
        raise CommandError(f"the query failed. {error}") from error


def _answer(connection: "duckdb.DuckDBPyConnection", query: str, form: Format) -> None:
    if form is Format.PARQUET:
        _write_parquet(connection, query)
        return
    cursor = connection.execute(query)
    names = distinct([column[0] for column in cursor.description or ()])
    if form is Format.JSON:
        write_json((dict(zip(names, row, strict=True)) for row in _rows(cursor)), utf8_stdout())
    elif form is Format.CSV:
        write_csv(names, _rows(cursor), utf8_stdout())
    else:
        _show(names, cursor)


def _rows(cursor: "duckdb.DuckDBPyConnection") -> Iterator[tuple[Any, ...]]:
    while batch := cursor.fetchmany(ROWS_A_FETCH):
        yield from batch


def _show(names: list[str], cursor: "duckdb.DuckDBPyConnection") -> None:
    kinds = {name: str(column[1]).upper() for name, column in zip(names, cursor.description or (), strict=True)}
    rows = cursor.fetchmany(ROWS_SHOWN_MAX + 1)
    shown = [dict(zip(names, row, strict=True)) for row in rows[:ROWS_SHOWN_MAX]]
    columns = [
        Column(
            key=name,
            title=name,
            format=_cell,
            align="right" if NUMBER.match(kind) else "left",
            shrink_to=TEXT_WIDTH_MIN if TEXT.search(kind) else None,
            rank=1,
        )
        for name, kind in kinds.items()
    ]
    to = screen()
    to.table(columns, shown)
    more = f"the first {ROWS_SHOWN_MAX:,} rows; the rest: --format csv" if len(rows) > ROWS_SHOWN_MAX else ""
    to.say(Text(more or plural(len(shown), "row"), "dim"))


def _cell(value: Any) -> str:
    if value is None:
        return "NULL"
    shown = plain(value)
    return shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)


def _write_parquet(connection: "duckdb.DuckDBPyConnection", query: str) -> None:
    from pyarrow import parquet

    relation = connection.sql(query)
    with (
        relation.to_arrow_reader(ROWS_A_FETCH) as reader,
        parquet.ParquetWriter(sys.stdout.buffer, reader.schema, compression="zstd") as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sql", epilog=examples(EXAMPLES))(sql)
