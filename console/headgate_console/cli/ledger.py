"""`headgate ledger`: the tool calls."""

from typing import Annotated

import typer
from rich.text import Text

from headgate_console.cli.options import Data, Json, Since, Team, examples, moment, settings, views
from headgate_console.cli.screen import screen
from headgate_console.queries.ledger import LedgerFilter, ledger
from headgate_console.queries.sessions import find_session
from headgate_console.render.calls import LEDGER, LEDGER_USES, ledger_rows
from headgate_console.render.numbers import plural

EXAMPLES = """
    headgate ledger --session 3f9c1c0b
    headgate ledger --action command --result error
    headgate ledger --search secrets --since 7d --json
"""


def list_ledger(
    context: typer.Context,
    data: Data = None,
    session: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this session: its id, first digits or own key.")
    ] = None,
    tool: Annotated[str | None, typer.Option(metavar="NAME", help="Only this tool.")] = None,
    action: Annotated[
        str | None, typer.Option(metavar="ACTION", help="Only `file_read`, `file_write`, `command`, `network` …")
    ] = None,
    result: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Only `ok`, `error`, `denied`, `timeout`, `cancelled` …")
    ] = None,
    team: Team = None,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only with TEXT in tool, resource or arguments.")
    ] = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the last ones.")] = 50,
    as_json: Json = False,
) -> None:
    """List tool calls: who did what to which resource, and how it ended."""
    connection = views(settings(context, data=data), only=("sessions", "tool_calls", "timeline"))
    wanted = LedgerFilter(
        session_id=find_session(connection, session)["session_id"] if session else None,
        tool=tool,
        action=action,
        result=result,
        team=team,
        search=search,
        since=moment(since),
        limit=limit,
    )
    rows = ledger(connection, wanted, columns=None if as_json else LEDGER_USES)
    to = screen()
    if as_json:
        to.json(rows)
    elif rows:
        to.table(LEDGER, ledger_rows(rows))
        more = ", the last ones; more with --limit" if len(rows) == limit else ""
        to.say(Text(plural(len(rows), "tool call") + more, "dim"))
    else:
        to.say("No tool call matches.")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ledger", epilog=examples(EXAMPLES))(list_ledger)
