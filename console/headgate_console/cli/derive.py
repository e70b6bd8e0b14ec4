"""`headgate derive`: sessions, calls and timelines brought up to date by hand."""

from typing import Annotated

import typer

from headgate_console.cli.options import Data, examples, settings
from headgate_console.cli.progress import progress
from headgate_console.cli.screen import screen
from headgate_console.render.numbers import plural

EXAMPLES = """
    headgate derive
    headgate derive --full
"""


def derive(
    context: typer.Context,
    data: Data = None,
    full: Annotated[
        bool, typer.Option("--full", help="Rebuild every session, with today's prices and registry.")
    ] = False,
) -> None:
    """Bring sessions, calls and timelines up to date with what is stored.

    `headgate up` and `headgate replay` do this by themselves; --full is for when prices or the registry changed.
    """
    from headgate_console.wiring import open_deriver
    from headgate_processors.store.folder import open_folder

    to, chosen = screen(), settings(context, data=data)
    open_folder(chosen.data)
    with open_deriver(chosen) as deriver, progress(to, "sessions") as report:
        done = deriver.run(full=full, report=report)
    to.show(
        [f"{plural(done.sessions, 'session')} derived as revision {done.revision}, {done.removed} merged into others."]
    )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("derive", epilog=examples(EXAMPLES))(derive)
