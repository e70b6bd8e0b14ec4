"""`headgate cost`: what it cost, and what could not be priced."""

from typing import TYPE_CHECKING, Annotated

import typer

from headgate_console.cli.options import Data, Json, Since, Team, Workflow, examples, moment, settings, views
from headgate_console.cli.screen import Screen, screen
from headgate_console.queries.cost import CostFilter, Group, cost_by, cost_table, unpriced
from headgate_console.render.money import UNPRICED, cost_columns, cost_rows, unpriced_rows

if TYPE_CHECKING:
    import duckdb

EXAMPLES = """
    headgate cost
    headgate cost --by model --by workflow --since 7d
    headgate cost --by workflow --team payments --json
"""


def cost(
    context: typer.Context,
    data: Data = None,
    by: Annotated[
        list[Group] | None, typer.Option(help="What to group by; team by default. Give it again for another table.")
    ] = None,
    team: Team = None,
    workflow: Workflow = None,
    since: Since = None,
    as_json: Json = False,
) -> None:
    """Add up what model calls cost, by who, what or where; say what has no price and why."""
    connection = views(settings(context, data=data), only=("sessions", "model_calls"))
    wanted = CostFilter(team=team, workflow=workflow, since=moment(since))
    to, groups = screen(), by or [Group.TEAM]
    if as_json:
        to.json(row for group in groups for row in cost_by(connection, group, wanted))
    else:
        for group in groups:
            show_cost(to, connection, group, wanted)
        show_unpriced(to, connection, wanted)


def show_cost(to: Screen, connection: "duckdb.DuckDBPyConnection", by: Group, wanted: CostFilter) -> None:
    """Write the sums of one grouping, with their total."""
    rows, total = cost_table(connection, by, wanted)
    if rows:
        to.table(cost_columns(by.value), cost_rows(rows, total, unicode=to.unicode))
        to.show([""])
    else:
        to.say("No model call matches.")


def show_unpriced(to: Screen, connection: "duckdb.DuckDBPyConnection", wanted: CostFilter) -> None:
    """Write what has no cost and why, if anything."""
    rows = unpriced(connection, wanted)
    if rows:
        to.show(["Without a cost:"])
        to.table(UNPRICED, unpriced_rows(rows))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("cost", epilog=examples(EXAMPLES))(cost)
