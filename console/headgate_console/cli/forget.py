"""`headgate forget`: a user or a session, out of every view at once and off the disk soon."""

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from headgate_console.cli.options import Data, Json, examples, settings, views
from headgate_console.cli.screen import screen
from headgate_console.errors import CommandError
from headgate_console.render.numbers import plural
from headgate_processors.errors import ConfigError

if TYPE_CHECKING:
    from headgate_console.queries.forget import Belongings
    from headgate_console.settings import Settings

EXAMPLES = """
    headgate forget --user ada@example.com
    headgate forget --session 3f9c1c0b --yes
"""


def forget(
    context: typer.Context,
    user: Annotated[str | None, typer.Option(metavar="ID", help="Everything of this user up to now.")] = None,
    session: Annotated[
        str | None,
        typer.Option(metavar="ID", help="A session: its id, the first digits of one, or the agent's own key."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Forget a user or a session: hidden in every view at once, off the disk with the next compaction.

    There is no way back, and the same records are not taken again. `headgate up` may run meanwhile.
    """
    from headgate_processors.store.disk import LocalDisk
    from headgate_processors.store.forgotten import Tombstone, user_hash
    from headgate_processors.store.forgotten import forget as forget_rows

    if (user is None) == (session is None):
        message = "give either --user or --session"
        raise ConfigError(message)
    chosen = settings(context, data=data)
    found = _belongings(chosen, user, session)
    if not yes:
        _ask(found)
    tombstone = Tombstone(
        kind="user" if session is None else "session",
        since_unix_nano=time.time_ns(),
        session_ids=found.session_ids,
        trace_ids=found.trace_ids,
        record_ids=found.point_ids,
        user_hash=None if user is None else user_hash(user),
    )
    forget_rows(chosen.data, tombstone, disk=LocalDisk())
    to = screen()
    counts = {"sessions": found.sessions, "traces": len(found.trace_ids), "rows": found.rows}
    if as_json:
        to.json([counts])
    else:
        to.show(
            [
                f"Forgotten: {_said(found)}. No view shows them any more.",
                "Their bytes go with the next compaction: headgate up compacts by itself, else: headgate compact.",
            ]
        )


def _belongings(chosen: "Settings", user: str | None, session: str | None) -> "Belongings":
    from headgate_analytics.belongings import anchors_of_sessions
    from headgate_console.queries.forget import of_sessions, of_user
    from headgate_console.queries.opening import nanoseconds
    from headgate_console.queries.sessions import find_session

    connection = views(chosen)
    wanted = None if session is None else find_session(connection, session)["session_id"]
    stitched = anchors_of_sessions(chosen.data, idle_gap_ns=nanoseconds(chosen.sessions.idle_gap))
    if wanted is not None:
        return of_sessions(connection, [wanted], stitched)
    return of_user(connection, user or "", stitched)


def _ask(found: "Belongings") -> None:
    if not sys.stdin.isatty():
        message = f"this would forget {_said(found)} for ever: say --yes to do it"
        raise CommandError(message)
    typer.confirm(f"Forget {_said(found)} for ever?", abort=True, err=True)


def _said(found: "Belongings") -> str:
    sessions, traces = plural(found.sessions, "session"), plural(len(found.trace_ids), "trace")
    return f"{sessions}, {traces}, {plural(found.rows, 'raw row')}"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("forget", epilog=examples(EXAMPLES))(forget)
