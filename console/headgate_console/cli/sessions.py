"""`headgate sessions`: the fleet."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headgate_console.cli.options import Data, Json, Now, Since, Team, Workflow, examples, moment, settings, views
from headgate_console.cli.screen import Screen, screen
from headgate_console.queries.sessions import SessionFilter, list_sessions, states
from headgate_console.render.fleet import FLEET, FLEET_USES, fleet_rows, fleet_summary

if TYPE_CHECKING:
    import duckdb

EXAMPLES = """
    headgate sessions
    headgate sessions --state running --team payments
    headgate sessions --since 2h --json
"""


def sessions(
    context: typer.Context,
    data: Data = None,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help="Only those `running`, `done` or `abandoned`.")
    ] = None,
    team: Team = None,
    workflow: Workflow = None,
    user: Annotated[str | None, typer.Option(metavar="USER", help="Only what this user launched.")] = None,
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Only where this agent took part.")] = None,
    since: Since = None,
    now: Now = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the last active ones.")] = 20,
    as_json: Json = False,
) -> None:
    """List the sessions: who ran, in what state, what it took and cost."""
    at = moment(now)
    wanted = SessionFilter(
        state=state,
        team=team,
        workflow=workflow,
        user=user,
        agent=agent,
        since=moment(since, now=at),
        limit=limit,
    )
    connection = views(settings(context, data=data), now=at, only=("sessions",))
    rows = list_sessions(connection, wanted, columns=None if as_json else FLEET_USES)
    if as_json:
        screen().json(rows)
    else:
        show_fleet(screen(), connection, rows)


def show_fleet(to: Screen, connection: "duckdb.DuckDBPyConnection", rows: list[dict[str, Any]]) -> None:
    """Write the table of sessions, and how many of each state the whole store holds."""
    counted = states(connection)
    if rows:
        to.table(FLEET, fleet_rows(rows, unicode=to.unicode))
        to.say(fleet_summary(counted, shown=len(rows)))
    elif counted:
        to.say("No session matches. All of them: headgate sessions")
    else:
        to.say("No sessions yet. Point an agent at `headgate up`, or: headgate replay FILE")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sessions", epilog=examples(EXAMPLES))(sessions)
