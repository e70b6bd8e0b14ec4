"""`headgate config show | validate | schema`: the settings, and where each comes from."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from headgate_console.cli.options import Json, examples
from headgate_console.cli.screen import screen
from headgate_console.render.table import Column

EXAMPLES = """
    headgate config show
    headgate config validate headgate.yaml
    headgate config schema > headgate.schema.json
"""

COLUMNS = (
    Column(key="setting", title="SETTING", style="cyan"),
    Column(key="value", title="VALUE", shrink_to=16),
    Column(key="origin", title="FROM", shrink_to=12),
    Column(key="doc", title="WHAT IT IS", rank=1, shrink_to=16, style="dim"),
)


def show(context: typer.Context, as_json: Json = False) -> None:
    """List every setting: its value, and whether a flag, a variable, the file or the default gave it."""
    from headgate_console.settings import described, load_settings

    rows = described(load_settings(file=context.obj))
    if as_json:
        screen().json(rows)
    else:
        screen().table(COLUMNS, [{**row, "value": _shown(row["value"])} for row in rows])


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def validate(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The file to check.")] = None,
) -> None:
    """Check the settings, those of the environment included; exit code 2 says that something is wrong."""
    from headgate_console.settings import load_settings

    loaded = load_settings(file=file or context.obj)
    given = len(loaded.origins)
    screen().show([f"The settings are valid: {given} given, the rest are defaults."])


def schema() -> None:
    """Write the JSON Schema of headgate.yaml, for editors and checks."""
    from headgate_console.settings import json_schema

    json.dump(json_schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="Show and check the settings.")
    epilog = examples(EXAMPLES)
    for command in (show, validate, schema):
        group.command(epilog=epilog)(command)
    app.add_typer(group, name="config", epilog=epilog)
