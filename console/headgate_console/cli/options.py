"""What several commands share: options, the settings they lead to, and the connection to the views."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from headgate_console.cli.damage import damage_told
from headgate_processors.errors import ConfigError

if TYPE_CHECKING:
    import duckdb

    from headgate_console.settings import Loaded, Settings

Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder of the store; ./headgate-data by default.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")]
Since = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Only what happened since: `2h`, `7d`, or a time such as 2026-11-24T09:00Z."),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it goes into the journal.")]
Now = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Count idle time up to TIME, or `now`; by default up to the newest record."),
]
Team = Annotated[str | None, typer.Option(metavar="TEAM", help="Only this team.")]
Workflow = Annotated[str | None, typer.Option(metavar="NAME", help="Only this workflow.")]


def examples(lines: str) -> str:
    """The end of a help page: commands to try, one a line."""
    shown = [f"[cyan]$ {escape(line.strip())}[/cyan]" for line in lines.strip().splitlines()]
    return "\n\n".join(["[bold]Examples[/bold]", *shown])


def load(context: typer.Context, **flags: object) -> "Loaded":
    """The settings under this command's flags, and where each comes from; in a name `__` is a dot.

    Raises:
        ConfigError: one of them is unknown or wrong.
    """
    from headgate_console.settings import load_settings

    given = {name.replace("__", "."): value for name, value in flags.items()}
    return load_settings(given, file=context.obj)


def settings(context: typer.Context, **flags: object) -> "Settings":
    """The settings alone; as `load`."""
    chosen = load(context, **flags).settings
    context.with_resource(damage_told(chosen.data))
    return chosen


def views(
    chosen: "Settings", *, now: datetime | None = None, only: Collection[str] | None = None
) -> "duckdb.DuckDBPyConnection":
    """A read-only connection with every view of the store, or sooner with those that `only` names.

    Idle sessions are judged as of `now`.

    Raises:
        StoreError: the folder holds no store.
    """
    from headgate_console.queries.opening import open_views

    return open_views(chosen, now=now, only=only)


def length(option: str, text: str) -> timedelta:
    """A length of time that an option gives.

    Raises:
        ConfigError: it is none; the message names the option.
    """
    from headgate_console.settings.values import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        message = f"{option}: {error}"
        raise ConfigError(message) from None


def moment(text: str | None, *, now: datetime | None = None) -> datetime | None:
    """A time from `now`, RFC 3339, a date, or a length of time before now.

    Raises:
        ConfigError: it is none of these.
    """
    from headgate_console.settings.values import parse_duration

    if text is None:
        return None
    at = now or datetime.now(UTC)
    if text == "now":
        return at
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        try:
            return at - parse_duration(text)
        except ValueError:
            message = f"{text!r} is no time. Give `2h`, `7d`, `now`, or a time such as 2026-11-24T09:00Z."
            raise ConfigError(message) from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)
