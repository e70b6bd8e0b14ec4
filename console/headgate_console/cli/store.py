"""`headgate store`: check, repair and copy the folder in which everything is kept."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headgate_console.cli.options import Data, Json, examples, settings
from headgate_console.cli.progress import progress
from headgate_console.cli.screen import screen
from headgate_console.render.numbers import plural, size

if TYPE_CHECKING:
    from headgate_console.settings import Settings
    from headgate_processors.store.repair import Repaired

HELP = "Check, repair and copy the folder in which everything is kept."
CHECK_EXAMPLES = """
    headgate store check
    headgate store check --deep --json
"""
REPAIR_EXAMPLES = """
    headgate store repair
    headgate store repair --data /var/lib/headgate --json
"""
BACKUP_EXAMPLES = """
    headgate store backup /var/backups/headgate-2026-11-24
    headgate store backup --data /var/lib/headgate /mnt/backup/headgate
"""


def check(
    context: typer.Context,
    data: Data = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read every file, and compare its checksum.")] = False,
    as_json: Json = False,
) -> None:
    """See whether every file is there and whole, and every record shown once. Changes nothing.

    Exit code 1 when something is wrong. `headgate up` may run meanwhile.
    """
    from headgate_console.doctor.folder import derived_behind
    from headgate_processors.store.survey import survey

    root = settings(context, data=data).data
    to = screen()
    with progress(to, "files") as report:
        problems = [asdict(problem) for problem in survey(root, deep=deep, report=report)]
    behind = derived_behind(root)
    if behind is not None:
        problems.append({"kind": "derived", "path": "", "text": behind, "next_step": "headgate derive"})
    if as_json:
        to.json(problems)
    else:
        to.show(line for problem in problems for line in _told(problem))
        if not problems:
            to.show([f"{root}: everything is in order{'' if deep else '; --deep reads every file'}."])
    if problems:
        raise typer.Exit(1)


def _told(problem: dict[str, str]) -> list[str]:
    where = f" {problem['path']}" if problem["path"] else ""
    return [f"{problem['kind']}:{where}: {problem['text']}", f"    {problem['next_step']}"]


def repair(context: typer.Context, data: Data = None, as_json: Json = False) -> None:
    """Mend what can be mended; reads every file.

    A lost manifest is made anew from the files, damaged files are set aside in `damaged/`.

    Files put back from a copy are taken back, leftovers removed, and derived tables made again where they need it.

    `headgate up` may run meanwhile.
    """
    from headgate_processors.store.repair import repair as repair_store

    chosen = settings(context, data=data)
    to = screen()
    with progress(to, "files") as report:
        done = repair_store(chosen.data, report=report)
    derived = _derive(chosen, full=done.derive)
    if as_json:
        to.json([{**asdict(done), "derived": derived}])
    else:
        to.show(_repaired(done, derived))


def _derive(chosen: "Settings", *, full: bool) -> bool:
    """Bring derived tables up to date; not while another process does it."""
    from headgate_console.wiring import open_deriver
    from headgate_processors.errors import StoreError

    to = screen()
    try:
        with open_deriver(chosen) as deriver, progress(to, "sessions") as report:
            deriver.run(full=full, report=report)
    except StoreError as error:
        to.say(f"{error}. It brings the derived tables up to date by itself.")
        return False
    return True


def _repaired(done: "Repaired", derived: bool) -> list[str]:
    lines = []
    if done.manifest_rebuilt:
        repeats = plural(done.dropped_repeats, "repeated row")
        lines.append(f"The manifest was lost and is made anew from the files; {repeats} left out.")
    if done.listed_files:
        lines.append(f"{plural(done.listed_files, 'sealed file')} taken in that no manifest knew.")
    lines += [f"{path} was put back and is live again." for path in done.taken_back]
    lines += [f"{path} is damaged and set aside in damaged/." for path in done.set_aside]
    if done.removed_orphans:
        lines.append(f"{plural(done.removed_orphans, 'leftover')} of processes that were killed removed.")
    if done.derive and derived:
        lines.append("Sessions, calls and timelines derived again.")
    return lines or ["Nothing to repair."]


def backup(
    context: typer.Context,
    destination: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the copy goes; not there yet.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Copy the store as it is at this moment, while it is written.

    On the same disk the files are linked and take no room; copy the folder elsewhere from there.

    It holds keys and tokens' hashes: keep it as you keep the store.
    """
    from headgate_processors.store.backup import backup as back_up

    to = screen()
    with progress(to, "files") as report:
        done = back_up(settings(context, data=data).data, destination, report=report)
    if as_json:
        to.json([{"folder": str(destination), **asdict(done)}])
    else:
        held = f"{plural(done.files, 'file')} ({size(done.bytes)}, {done.linked} linked)"
        to.show([f"{destination}: {held}, {plural(done.segments, 'segment')}."])


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=HELP)
    group.command("check", epilog=examples(CHECK_EXAMPLES))(check)
    group.command("repair", epilog=examples(REPAIR_EXAMPLES))(repair)
    group.command("backup", epilog=examples(BACKUP_EXAMPLES))(backup)
    app.add_typer(group, name="store", epilog=examples(CHECK_EXAMPLES))
