"""`headgate views`: the views as SQL for any DuckDB that sees the files."""

import sys
from typing import Annotated

import typer

from headgate_console.cli.options import Data, examples, settings

EXAMPLES = """
    headgate views > views.sql
    duckdb -init views.sql
    headgate views --root /mnt/headgate
"""


def views(
    context: typer.Context,
    data: Data = None,
    root: Annotated[
        str | None, typer.Option(metavar="PATH", help="Where the other machine sees the folder of the store.")
    ] = None,
) -> None:
    """Write SQL that defines every view over the sealed files, for a DuckDB without Headgate."""
    from headgate_console.wiring import views_sql

    sys.stdout.write(views_sql(settings(context, data=data), root=root))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("views", epilog=examples(EXAMPLES))(views)
