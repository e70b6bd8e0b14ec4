"""`headgate budget set | show | remove | history`: ceilings on what agents spend."""

import json
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headgate_console.cli.options import Data, Json, Reason, examples, settings
from headgate_console.cli.screen import screen, utf8_stdout
from headgate_console.render.table import Column
from headgate_processors.errors import StoreError

if TYPE_CHECKING:
    from headgate_console.settings import Settings

HELP = "Set ceilings on what agents spend, and see what is left of them."
SET_EXAMPLES = """
    headgate budget set team payments --window day --usd 50
    headgate budget set instance ai-01KB0EXAMPLE --window total --usd 2.50 --calls 200
    headgate budget set platform --window month --usd 5000 --mode soft
"""
SHOW_EXAMPLES = """
    headgate budget show
    headgate budget show --json
"""
HISTORY_EXAMPLES = """
    headgate budget history
    headgate budget history --scope team --id payments --json
"""
REMOVE_EXAMPLES = "headgate budget remove set/team:payments:day:hard"
SCOPES = ("platform", "team", "user", "workflow", "task_class", "model", "session", "instance")
_UNITS = ("usd", "tokens", "calls", "seconds")
_COLUMNS = (
    Column(key="scope", title="SCOPE", style="cyan"),
    Column(key="target", title="ID", shrink_to=12),
    Column(key="window", title="WINDOW"),
    Column(key="turn", title="IN", rank=2, hide_when_empty=True),
    Column(key="mode", title="MODE", rank=1),
    Column(key="limit", title="LIMIT", shrink_to=12),
    Column(key="settled", title="SPENT", shrink_to=12),
    Column(key="reserved", title="RESERVED", rank=1, shrink_to=12),
    Column(key="left", title="LEFT", shrink_to=12),
    Column(key="budget_id", title="BUDGET ID", rank=2, shrink_to=12),
)


def set_budget(
    context: typer.Context,
    scope: Annotated[
        str,
        typer.Argument(
            metavar="SCOPE",
            help="`platform`, `team`, `user`, `workflow`, `task_class`, `model`, `session` or `instance`.",
        ),
    ],
    target: Annotated[
        str | None, typer.Argument(metavar="ID", help="Whose; the platform has none.", show_default=False)
    ] = None,
    window: Annotated[str, typer.Option(metavar="WINDOW", help="`total`, `hour`, `day` or `month`, in UTC.")] = "total",
    usd: Annotated[str | None, typer.Option(metavar="N", help="Dollars.")] = None,
    tokens: Annotated[int | None, typer.Option(metavar="N", help="Tokens, in and out.")] = None,
    calls: Annotated[int | None, typer.Option(metavar="N", help="Calls.")] = None,
    seconds: Annotated[int | None, typer.Option(metavar="N", help="Seconds of calls that run.")] = None,
    mode: Annotated[str, typer.Option(metavar="MODE", help="`hard` denies what does not fit, `soft` warns.")] = "hard",
    reason: Reason = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Set a ceiling; the same scope, id, window and mode again changes it.

    A new one of an hour, a day or a month begins with what the store tells of that window, and so does one in total
    of an instance or a session; every other one begins at zero.
    """
    from headgate_console.control.client import control_client

    chosen = settings(context, data=data)
    given = {"usd": usd, "tokens": tokens, "calls": calls, "seconds": seconds}
    body = {"scope": scope, "id": target, "window": window, "mode": mode, "reason": reason}
    limits = {name: value for name, value in given.items() if value is not None}
    before, unknown = _before(chosen, scope, target, window)
    row = control_client(chosen).post("/v1/budgets", body={**body, **limits, **before}, method="PUT")
    _shown([row], as_json=as_json, alone=True)
    if row["is_new"] and unknown:
        screen().say(unknown)


def show(context: typer.Context, data: Data = None, as_json: Json = False) -> None:
    """Show every budget, with what its present window holds."""
    from headgate_console.control.client import control_client

    rows = control_client(settings(context, data=data)).get("/v1/budgets")["budgets"]
    if rows or as_json:
        _shown(rows, as_json=as_json)
    else:
        screen().say("There is no budget. Set one: headgate budget set team NAME --window day --usd 50")


def history(
    context: typer.Context,
    scope: Annotated[str | None, typer.Option(metavar="SCOPE", help="Only budgets of this scope.")] = None,
    target: Annotated[str | None, typer.Option("--id", metavar="ID", help="Only this one's.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show what each window of each budget held, the last first, from the store."""
    from headgate_console.cli.options import views
    from headgate_console.queries.rows import Where, fetch

    where = Where()
    where.equals("scope", scope)
    where.equals("target", target)
    connection = views(settings(context, data=data), only=("budgets",))
    query = f"SELECT * FROM budgets {where.clause()} ORDER BY turn DESC, scope, target, budget_id"
    rows = fetch(connection, query, where.parameters)
    if rows or as_json:
        _shown(rows, as_json=as_json)
    else:
        screen().say("No budget has been told of yet. See those that hold: headgate budget show")


def remove(
    context: typer.Context,
    budget_id: Annotated[str, typer.Argument(metavar="ID", help="As `headgate budget show` names it.")],
    reason: Reason = "",
    data: Data = None,
) -> None:
    """Hold nobody to a budget any more; what was spent of it stays known."""
    from headgate_console.control.client import control_client

    control_client(settings(context, data=data)).post(
        "/v1/budgets/remove", body={"budget_id": budget_id, "reason": reason}
    )
    screen().show([f"{budget_id} is removed."])


def _before(chosen: "Settings", scope: str, target: str | None, window: str) -> tuple[dict[str, Any], str]:
    """What a new budget begins with, and a sentence about what of that nobody knows."""
    import time

    from headgate_console.cli.options import views
    from headgate_console.queries.spent import VIEWS, begins_before, spent_before

    if scope not in SCOPES or (target is None) != (scope == "platform") or not begins_before(scope, window):
        return {}, ""
    now = time.time_ns()
    try:
        with views(chosen, only=VIEWS) as connection:
            found = spent_before(connection, scope, target, window, now)
    except StoreError as error:
        return {}, f"It begins at zero, for what was spent before is not known here: {error}"
    unpriced = f"{found.unpriced:,} of {found.calls:,} earlier calls have no known cost: they count as $0 in it."
    return {"opening": found.opening(now)}, unpriced if found.unpriced else ""


def _shown(rows: list[dict[str, Any]], *, as_json: bool, alone: bool = False) -> None:
    if as_json and alone:
        json.dump(rows[0], utf8_stdout(), ensure_ascii=False, indent=2)
        sys.stdout.write("\n")
    elif as_json:
        screen().json(rows)
    else:
        screen().table(_COLUMNS, [{**row, **_amounts(row)} for row in rows])


def _amounts(row: dict[str, Any]) -> dict[str, str]:
    """What is limited, spent, reserved and left, of each unit that is limited."""
    limited = [unit for unit in _UNITS if row[f"limit_{unit}"] is not None]
    used = {unit: _number(row, "settled", unit) + _number(row, "reserved", unit) for unit in limited}
    return {
        "limit": ", ".join(_text(unit, _number(row, "limit", unit)) for unit in limited),
        "settled": ", ".join(_text(unit, _number(row, "settled", unit)) for unit in limited),
        "reserved": ", ".join(_text(unit, _number(row, "reserved", unit)) for unit in limited),
        "left": ", ".join(_text(unit, max(Decimal(0), _number(row, "limit", unit) - used[unit])) for unit in limited),
    }


def _number(row: dict[str, Any], what: str, unit: str) -> Decimal:
    return Decimal(str(row[f"{what}_{unit}"]))


def _text(unit: str, amount: Decimal) -> str:
    if unit == "usd":
        return f"${amount:,.2f}" if amount == amount.quantize(Decimal("0.01")) else f"${amount.normalize():f}"
    return f"{amount.normalize():,f} {unit}"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=HELP)
    group.command("set", epilog=examples(SET_EXAMPLES))(set_budget)
    group.command("show", epilog=examples(SHOW_EXAMPLES))(show)
    group.command("history", epilog=examples(HISTORY_EXAMPLES))(history)
    group.command("remove", epilog=examples(REMOVE_EXAMPLES))(remove)
    app.add_typer(group, name="budget", epilog=examples(SET_EXAMPLES))
