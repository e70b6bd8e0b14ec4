"""`headgate limit set | show | remove`: how fast agents may call, and how much at once."""

import json
import sys
from typing import Annotated

import typer

from headgate_console.cli.options import Data, Json, Reason, examples, settings
from headgate_console.cli.screen import screen, utf8_stdout
from headgate_console.render.table import Column
from headgate_processors.errors import ConfigError

HELP = "Limit calls and tokens a minute, and how many calls run at once, at each gateway."
SET_EXAMPLES = """
    headgate limit set team payments --calls-per-minute 600
    headgate limit set instance ai-01KB0EXAMPLE --open-calls 2
    headgate limit set model openai/gpt-5 --tokens-per-minute 200000
"""
SHOW_EXAMPLES = """
    headgate limit show
    headgate limit show --json
"""
REMOVE_EXAMPLES = "headgate limit remove team payments"
_COLUMNS = (
    Column(key="scope", title="SCOPE", style="cyan"),
    Column(key="target", title="ID", shrink_to=12),
    Column(key="calls_per_minute", title="CALLS A MINUTE", format=lambda value: "–" if value is None else str(value)),
    Column(key="tokens_per_minute", title="TOKENS A MINUTE", format=lambda value: "–" if value is None else str(value)),
    Column(key="open_calls_max", title="AT ONCE", format=lambda value: "–" if value is None else str(value)),
    Column(
        key="limit_id",
        title="BY",
        rank=1,
        format=lambda value: "its manifest" if value.startswith("manifest/") else "set",
    ),
)
ScopeName = Annotated[
    str,
    typer.Argument(
        metavar="SCOPE", help="`platform`, `team`, `user`, `workflow`, `task_class`, `model`, `session` or `instance`."
    ),
]
Target = Annotated[str | None, typer.Argument(metavar="ID", help="Whose; the platform has none.", show_default=False)]


def set_limit(
    context: typer.Context,
    scope: ScopeName,
    target: Target = None,
    calls_per_minute: Annotated[
        int | None, typer.Option("--calls-per-minute", metavar="N", min=0, help="Evenly, after as many at once.")
    ] = None,
    tokens_per_minute: Annotated[
        int | None,
        typer.Option(
            "--tokens-per-minute",
            metavar="N",
            min=0,
            help="A call counts with all that it may need, then what it used.",
        ),
    ] = None,
    open_calls: Annotated[
        int | None, typer.Option("--open-calls", metavar="N", min=0, help="That run at the same time.")
    ] = None,
    reason: Reason = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Set the limit of a scope; setting it again changes it. What exceeds it is denied with the code `rate`."""
    from headgate_console.control.client import control_client

    amounts = {
        "calls_per_minute": calls_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "open_calls_max": open_calls,
    }
    if all(amount is None for amount in amounts.values()):
        message = "a limit without a number: give --calls-per-minute, --tokens-per-minute or --open-calls"
        raise ConfigError(message)
    body = {"scope": scope, "id": target, "reason": reason, **amounts}
    row = control_client(settings(context, data=data)).post("/v1/limits", body=body, method="PUT")
    if as_json:
        json.dump(row, utf8_stdout(), ensure_ascii=False, indent=2)
        sys.stdout.write("\n")
    else:
        screen().table(_COLUMNS, [row])


def show(context: typer.Context, data: Data = None, as_json: Json = False) -> None:
    """Show every limit: those that were set, and those of the manifests of instances that live."""
    from headgate_console.control.client import control_client

    rows, to = control_client(settings(context, data=data)).get("/v1/limits")["limits"], screen()
    if as_json:
        to.json(rows)
    elif rows:
        to.table(_COLUMNS, rows)
    else:
        to.say("There is no limit. Set one: headgate limit set team NAME --calls-per-minute 600")


def remove(
    context: typer.Context, scope: ScopeName, target: Target = None, reason: Reason = "", data: Data = None
) -> None:
    """Hold a scope no more to the limit that was set for it; that of a manifest stays."""
    from headgate_console.control.client import control_client

    body = {"scope": scope, "id": target, "remove": "yes", "reason": reason}
    row = control_client(settings(context, data=data)).post("/v1/limits", body=body, method="PUT")
    screen().show(["The limit of " + f"{row['scope']} {row['target']}".strip() + " is removed."])


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=HELP)
    group.command("set", epilog=examples(SET_EXAMPLES))(set_limit)
    group.command("show", epilog=examples(SHOW_EXAMPLES))(show)
    group.command("remove", epilog=examples(REMOVE_EXAMPLES))(remove)
    app.add_typer(group, name="limit", epilog=examples(SET_EXAMPLES))
