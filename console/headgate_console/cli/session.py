"""`headgate session ID`: what one session did, from its task to its end."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from headgate_console.cli.options import Data, Json, examples, settings, views
from headgate_console.cli.screen import Screen, screen
from headgate_console.queries.sessions import find_session, session_timeline
from headgate_console.render.fleet import session_head
from headgate_console.render.timeline import timeline

if TYPE_CHECKING:
    import duckdb

EXAMPLES = """
    headgate session 3f9c1c0b
    headgate session thread-1 --all
    headgate session 3f9c1c0b --json
"""
ROWS_MAX = 200


def session(
    context: typer.Context,
    session_id: Annotated[
        str, typer.Argument(metavar="ID", help="A session id, its first digits, or the agent's own key.")
    ],
    data: Data = None,
    whole: Annotated[bool, typer.Option("--all", help=f"All of it, not the last {ROWS_MAX} rows.")] = False,
    as_json: Json = False,
) -> None:
    """Show one session: who ran it, what it cost, and everything that happened, in order."""
    connection = views(settings(context, data=data), only=("sessions", "timeline"))
    row = find_session(connection, session_id)
    if as_json:
        entries = session_timeline(connection, row["session_id"])
        screen().json([{"session": row, "timeline": entries}])
    else:
        show_session(screen(), connection, row, rows_max=None if whole else ROWS_MAX)


def show_session(
    to: Screen, connection: "duckdb.DuckDBPyConnection", row: dict[str, Any], *, rows_max: int | None = ROWS_MAX
) -> None:
    """Write the head and the timeline of a session, its last `rows_max` rows."""
    entries = session_timeline(connection, row["session_id"])
    shown = entries if rows_max is None else entries[-rows_max:]
    to.show(session_head(row, width=to.width, unicode=to.unicode))
    to.show([""])
    to.show(timeline(shown, width=to.width, unicode=to.unicode))
    if len(shown) < len(entries):
        to.say(Text(f"The last {len(shown):,} of {len(entries):,} rows; all of them: --all", "dim"))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("session", epilog=examples(EXAMPLES))(session)
