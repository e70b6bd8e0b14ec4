"""`headgate manifest validate | explain | diff | schema | suggest`: what an agent is granted, before it is started."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headgate_console.cli.options import Data, Json, Since, examples, load, moment, settings, views
from headgate_console.cli.screen import screen, utf8_stdout
from headgate_console.errors import CommandError
from headgate_console.render.table import Column
from headgate_processors.errors import ConfigError

if TYPE_CHECKING:
    from headgate_control.manifests.grant import Grant
    from headgate_control.manifests.spec import ManifestFile

HELP = "Check manifests, say what they grant, and compare them. What no manifest names is refused."
PROFILES = "profiles"
VALIDATE_EXAMPLES = """
    headgate manifest validate fixer.yaml
    headgate manifest validate manifests/*.yaml --profiles policy/profiles
"""
EXPLAIN_EXAMPLES = """
    headgate manifest explain fixer.yaml
    headgate manifest explain fixer.yaml --json
"""
DIFF_EXAMPLES = """
    headgate manifest diff fixer.yaml fixer-new.yaml
"""
SUGGEST_EXAMPLES = """
    headgate manifest suggest --workflow fix-tests --data headgate-data > fixer.yaml
    headgate manifest suggest --workflow fix-tests --since 30d --margin 2
"""
SCHEMA_EXAMPLES = """
    headgate manifest schema > manifest.schema.json
"""
Profiles = Annotated[
    Path | None,
    typer.Option("--profiles", metavar="DIR", help="Folder of profiles; `profiles` in `policy.dir` by default."),
]
_GRANTED = (
    Column(key="section", title="WHAT", style="cyan"),
    Column(key="entry", title="GRANTED", shrink_to=16),
    Column(key="level", title="BY", rank=1),
)
_CHANGED = (
    Column(key="section", title="WHAT", style="cyan"),
    Column(key="sign", title=""),
    Column(key="entry", title="ENTRY", shrink_to=16),
    Column(key="effect", title="EFFECT"),
)


def validate(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Manifests and profiles.")],
    profiles: Profiles = None,
    as_json: Json = False,
) -> None:
    """Check manifests against their profiles.

    Exit code 2 says that one is wrong, 1 that one asks for more than what stands above it grants.
    """
    from headgate_control.manifests.entries import widenings

    known, to = profiles_of(context, profiles), screen()
    rows: list[dict[str, Any]] = []
    for file in files:
        grant = _grant(file, known)
        rows.append(
            {
                "file": str(file),
                "name": grant.metadata.name,
                "digest": grant.digest,
                "levels": [level.metadata.name for level in grant.levels],
                "without_effect": list(widenings(grant)),
            }
        )
    if as_json:
        to.json(rows)
    else:
        to.show(f"{row['file']}: {row['name']} is valid, {row['digest']}" for row in rows)
    wide = list(dict.fromkeys(sentence for row in rows for sentence in row["without_effect"]))
    for sentence in wide:
        to.say(sentence)
    if wide:
        message = f"{len(wide)} without effect: a lower level can only narrow. Grant it further up, or leave it out"
        raise CommandError(message)


def explain(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A manifest or a profile.")],
    profiles: Profiles = None,
    as_json: Json = False,
) -> None:
    """Say what a manifest grants in the end, and which level says so."""
    grant = _grant(file, profiles_of(context, profiles))
    rows, to = list(_granted(grant)), screen()
    if as_json:
        to.json(rows)
        return
    to.table(_GRANTED, rows)
    missing = [name for name in _sections() if name not in {row["section"] for row in rows}]
    to.say(f"Nothing of: {', '.join(missing)}." if missing else "Something of everything.")
    to.say(grant.digest)


def diff(
    context: typer.Context,
    old: Annotated[Path, typer.Argument(metavar="OLD", help="What was.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="What is to be.")],
    profiles: Profiles = None,
    as_json: Json = False,
) -> None:
    """Compare what two manifests grant: `widens` is granted by the new one alone."""
    from dataclasses import asdict

    from headgate_control.manifests.compare import differences

    known = profiles_of(context, profiles)
    rows = [asdict(one) for one in differences(_grant(old, known), _grant(new, known))]
    to = screen()
    if as_json:
        to.json(rows)
    elif rows:
        to.table(_CHANGED, rows)
    else:
        to.show(["Both grant the same."])


def schema() -> None:
    """Write the JSON Schema of manifests and profiles, for editors and checks."""
    from headgate_control.manifests.spec import json_schema

    json.dump(json_schema(), utf8_stdout(), indent=2)
    sys.stdout.write("\n")


def suggest(
    context: typer.Context,
    workflow: Annotated[str, typer.Option(metavar="NAME", help="The workflow whose sessions are looked at.")],
    data: Data = None,
    since: Since = None,
    margin: Annotated[
        float, typer.Option(min=1, max=100, help="Budgets are the 99th percentile of what was spent, times this.")
    ] = 1.5,
) -> None:
    """Write a manifest that grants what a workflow's recorded sessions used, and nothing else.

    Comments say what each entry comes from. Try it: headgate policy simulate DIR --manifest FILE
    """
    from decimal import Decimal

    from headgate_console.queries.history import VIEWS, recorded_rows
    from headgate_control.manifests import suggest as suggesting
    from headgate_control.manifests.used import used_by
    from headgate_control.policy.history import recorded

    connection = views(settings(context, data=data), only=VIEWS)
    _, rows = recorded_rows(connection, since=moment(since), workflow=workflow)
    used = used_by(map(recorded, rows))
    if not used.calls:
        what = "no calls but denied ones" if used.denied else "no calls"
        message = f"{what} of workflow {workflow!r} are recorded; see: headgate sessions --workflow {workflow}"
        raise CommandError(message)
    found = suggesting.suggest(used, workflow=workflow, margin=Decimal(str(margin)))
    utf8_stdout().write(found.text)
    for sentence in found.left_out:
        screen().say(sentence)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=HELP)
    for command, lines in (
        (validate, VALIDATE_EXAMPLES),
        (explain, EXPLAIN_EXAMPLES),
        (diff, DIFF_EXAMPLES),
        (schema, SCHEMA_EXAMPLES),
        (suggest, SUGGEST_EXAMPLES),
    ):
        group.command(epilog=examples(lines))(command)
    app.add_typer(group, name="manifest", epilog=examples(VALIDATE_EXAMPLES))


def profiles_of(context: typer.Context, folder: Path | None) -> "dict[str, ManifestFile]":
    """The profiles of a folder, or of the settings' own.

    Raises:
        ConfigError: the folder is none, or a profile is wrong.
    """
    from headgate_control.manifests.load import load_profiles

    if folder is not None and not folder.is_dir():
        message = f"--profiles {folder} is no folder"
        raise ConfigError(message)
    chosen = load(context).settings.policy.dir
    return load_profiles(folder or (chosen / PROFILES if chosen is not None else None))


def _grant(file: Path, known: "dict[str, ManifestFile]") -> "Grant":
    from headgate_control.manifests.load import load_manifest

    return load_manifest(file, known)


def _sections() -> Sequence[str]:
    from headgate_control.manifests.entries import SECTIONS

    return SECTIONS


def _granted(grant: "Grant") -> Iterator[dict[str, str]]:
    from headgate_control.manifests import ceilings
    from headgate_control.manifests.entries import granted

    for section, entry, level in granted(grant):
        yield {"section": section, "entry": entry, "level": level}
    for ceiling, most, level in ceilings.ceilings(grant):
        yield {"section": ceilings.SECTION, "entry": ceiling.text(most), "level": level}
