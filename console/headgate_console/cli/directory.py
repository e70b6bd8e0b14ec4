"""`headgate directory`: users, services, teams, workflows, repositories and resources, as control knows them."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from headgate_console.cli.options import Data, Json, examples, settings
from headgate_console.cli.screen import screen
from headgate_console.render.numbers import plural
from headgate_console.render.table import Column
from headgate_processors.errors import ConfigError

HELP = "Say who and what there is: users, services, teams, workflows, repositories, resources."
IMPORT_EXAMPLES = """
    headgate directory import registry.yaml
    headgate directory import people.yaml --json
"""
LIST_EXAMPLES = """
    headgate directory list
    headgate directory list --kind resource --json
"""
_ENTRIES = (
    Column(key="kind", title="KIND", style="cyan"),
    Column(key="id", title="ID", shrink_to=12),
    Column(key="name", title="NAME", rank=2, shrink_to=8, hide_when_empty=True),
    Column(key="team", title="TEAM", rank=1, hide_when_empty=True),
    Column(key="environment", title="ENVIRONMENT", rank=1, hide_when_empty=True),
    Column(key="sensitivity", title="SENSITIVITY", rank=1, hide_when_empty=True),
)


def import_file(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML; the receiver's registry file is one.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Bring control state to what a file says, in one change of the journal. What it leaves out stays.

    Instances and match rules in the file are the receiver's, and let be.
    """
    from headgate_console.control.keeping import changing, person
    from headgate_control.identity.directory import DirectoryFile, import_directory
    from headgate_processors.documents import read_document

    read, to = read_document(file, DirectoryFile), screen()
    with changing(settings(context, data=data)) as store:
        done = import_directory(store, read, author=person())
    if as_json:
        to.json([asdict(done)])
        return
    to.show([*(f"added   {one}" for one in done.added), *(f"changed {one}" for one in done.changed)])
    to.show([f"{plural(done.unchanged, 'entry', 'entries')} as before."])
    if done.missing:
        to.say(f"Not in the file, and left as they are: {', '.join(done.missing)}.")


def list_entries(
    context: typer.Context,
    data: Data = None,
    kind: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="`user`, `service`, `team`, `workflow`, `repo` or `resource` alone."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List who and what there is."""
    from headgate_console.control.reading import reading
    from headgate_control.identity.directory import KINDS, Directory

    if kind is not None and kind not in KINDS:
        message = f"--kind: {kind!r} is none of {', '.join(KINDS)}"
        raise ConfigError(message)
    with reading(settings(context, data=data)) as store:
        found = Directory.of(store)
    rows: list[dict[str, Any]] = [
        {"kind": one, "id": name, **asdict(entry)}
        for one, entries in found.entries.items()
        if kind in (None, one)
        for name, entry in entries.items()
    ]
    to = screen()
    if as_json:
        to.json(rows)
    elif rows:
        to.table(_ENTRIES, [{**dict.fromkeys(column.key for column in _ENTRIES), **row} for row in rows])
    else:
        to.say("Nobody and nothing is known. Say who there is: headgate directory import FILE")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=HELP)
    group.command("import", epilog=examples(IMPORT_EXAMPLES))(import_file)
    group.command("list", epilog=examples(LIST_EXAMPLES))(list_entries)
    app.add_typer(group, name="directory", epilog=examples(IMPORT_EXAMPLES))
