"""`headgate doctor`: what is wrong, and what to do about it."""

import os
from datetime import UTC, datetime
from typing import Annotated

import typer

from headgate_console.cli.options import Data, Json, examples, moment, settings, views
from headgate_console.cli.screen import screen
from headgate_console.doctor.finding import Finding, Level
from headgate_console.render.findings import finding_lines

EXAMPLES = """
    headgate doctor
    headgate doctor --strict --json
"""


def doctor(
    context: typer.Context,
    data: Data = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when there is a warning.")] = False,
    now: Annotated[
        str | None, typer.Option(metavar="TIME", help="Judge ages as of TIME; by default as of this moment.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Examine the store, what it was sent (agents it cannot read, calls without tokens or price) and the Collector."""
    from headgate_console.control.listening import tls_of
    from headgate_console.doctor.collector import examine_collector
    from headgate_console.doctor.control import examine_control
    from headgate_console.doctor.credentials import examine_credentials
    from headgate_console.doctor.examine import examine
    from headgate_console.doctor.folder import examine_disk, examine_folder
    from headgate_console.wiring import reserve, tls_config

    chosen = settings(context, data=data)
    at = moment(now) or datetime.now(UTC)
    findings = [
        *examine_folder(chosen.data, now=at),
        *examine_disk(chosen.data, reserve(chosen)),
        *examine(views(chosen), now=at),
        *examine_control(chosen, now=at),
        *examine_credentials(chosen.data, tls_config(chosen), *tls_of(chosen), now=at),
        *examine_collector(os.environ),
    ]
    to = screen()
    if as_json:
        to.json(_row(finding) for finding in findings)
    else:
        for finding in findings:
            to.show(finding_lines(finding, width=to.width, unicode=to.unicode))
    if strict and any(finding.level is Level.WARNING for finding in findings):
        raise typer.Exit(1)


def _row(finding: Finding) -> dict[str, object]:
    return {
        "topic": finding.topic,
        "level": finding.level.value,
        "text": finding.text,
        "next_step": finding.next_step or None,
        "rows": list(finding.rows),
    }


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", epilog=examples(EXAMPLES))(doctor)
