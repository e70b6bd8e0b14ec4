"""The commands of `headgate`, one module each, put together."""

from pathlib import Path
from typing import Annotated

import typer

from headgate_console.cli import (
    audit,
    budget,
    collector,
    compact,
    config,
    control,
    cost,
    decisions,
    derive,
    directory,
    doctor,
    drill,
    forget,
    gateway,
    generate,
    hook,
    instance,
    ledger,
    limit,
    manifest,
    policy,
    replay,
    session,
    sessions,
    sql,
    stop,
    store,
    token,
    up,
    views,
)

HELP = """Meter, regulate and, when it must be, shut the flow of work that AI agents do.

Agents send OpenTelemetry, unchanged; Headgate keeps it, and says what each did and what it cost.
"""

app = typer.Typer(
    name="headgate",
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        typer.echo(f"headgate {metadata.version('headgate')}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    configuration: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Settings; ./headgate.yaml by default.", show_default=False),
    ] = None,
    version: Annotated[  # noqa: ARG001 - the callback answers and ends.
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Keep what every command needs."""
    context.obj = configuration


for module in (
    up,
    replay,
    generate,
    sessions,
    session,
    ledger,
    cost,
    sql,
    doctor,
    collector,
    views,
    compact,
    derive,
    store,
    forget,
    config,
    token,
    manifest,
    policy,
    instance,
    stop,
    drill,
    gateway,
    budget,
    limit,
    decisions,
    hook,
    audit,
    control,
    directory,
):
    module.register(app)
