"""`headgate decisions`: what was decided, and why."""

from typing import Annotated

import typer

from headgate_console.cli.options import Data, Json, Since, Team, Workflow, examples, moment, settings, views
from headgate_console.cli.screen import screen
from headgate_console.queries.rows import Where, fetch
from headgate_console.render.table import Column, printable

HELP = "List what was decided about agents' calls, the last first."
EXAMPLES = """
    headgate decisions
    headgate decisions --effect deny --since 2h
    headgate decisions --instance ai-01KB0 --json
    headgate decisions explain dec-01KB0EXAMPLE
"""
_COLUMNS = (
    Column(key="time", title="TIME", format=lambda value: f"{value:%Y-%m-%d %H:%M:%S}", rank=1),
    Column(key="effect", title="EFFECT", style=lambda row: "red" if row["effect"] == "deny" else "green"),
    Column(key="action", title="ACTION", rank=1),
    Column(key="resource_id", title="RESOURCE", shrink_to=12),
    Column(key="instance_id", title="INSTANCE", rank=2, shrink_to=10),
    Column(key="reason", title="REASON", shrink_to=12, format=lambda value: value or ""),
    Column(key="enforcement_point", title="AT", rank=3),
    Column(key="decision_id", title="DECISION", rank=2, shrink_to=10),
)


def decisions(
    context: typer.Context,
    effect: Annotated[
        str | None, typer.Option(metavar="EFFECT", help="`allow`, `deny`, `modify` or `require_approval`.")
    ] = None,
    code: Annotated[str | None, typer.Option(metavar="CODE", help="Which step denied, such as `budget`.")] = None,
    instance: Annotated[str | None, typer.Option(metavar="ID", help="Of this instance; its beginning will do.")] = None,
    action: Annotated[str | None, typer.Option(metavar="ACTION", help="Such as `model.call`.")] = None,
    team: Team = None,
    workflow: Workflow = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 20,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List what was decided about agents' calls, the last first."""
    if context.invoked_subcommand is not None:
        return
    where = Where()
    for column, wanted in (
        ("effect", effect),
        ("code", code),
        ("action", action),
        ("team", team),
        ("workflow", workflow),
    ):
        where.equals(column, wanted)
    if instance is not None:
        where.add("starts_with(instance_id, ?)", instance)
    begin = moment(since)
    if begin is not None:
        where.add("time >= ?", begin)
    connection = views(settings(context, data=data), only=("decisions",))
    query = f"SELECT * FROM decisions {where.clause()} ORDER BY time DESC, decision_id DESC LIMIT ?"
    rows, to = fetch(connection, query, [*where.parameters, limit]), screen()
    if as_json:
        to.json(rows)
    elif rows:
        to.table(_COLUMNS, rows)
    else:
        to.say("No decision matches.")


def explain(
    context: typer.Context,
    decision_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Everything that is known of one decision: who asked for what, what said no, by which policies and epoch."""
    from headgate_console.queries.decisions import VIEWS, decision

    row, to = decision(views(settings(context, data=data), only=VIEWS), decision_id), screen()
    if as_json:
        to.json([row])
        return
    width = max(map(len, row))
    to.show(f"{name:{width}}  {printable(str(value))}" for name, value in row.items() if value not in (None, "", []))
    to.say(f"Whether it would be decided so today: headgate policy explain --decision {row['decision_id']}")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(invoke_without_command=True, rich_markup_mode="rich", help=HELP)
    group.callback(invoke_without_command=True)(decisions)
    group.command("explain", epilog=examples("headgate decisions explain dec-01KB0EXAMPLE"))(explain)
    app.add_typer(group, name="decisions", epilog=examples(EXAMPLES))
