"""`headgate policy init | check | test | explain | simulate`: policies before they decide anything."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headgate_console.cli.options import Json, examples
from headgate_console.cli.screen import screen
from headgate_console.errors import CommandError
from headgate_console.render.numbers import plural
from headgate_console.render.table import Column

if TYPE_CHECKING:
    from headgate_control.policy.engine import PolicyEngine

HELP = "Write, check, test and try out policies: Cedar, over what manifests grant."
INIT_EXAMPLES = """
    headgate policy init policy
"""
CHECK_EXAMPLES = """
    headgate policy check policy
    headgate policy check policy --json
"""
TEST_EXAMPLES = """
    headgate policy test policy
    headgate policy test policy --json
"""
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of policies, as `policy.dir` names it.")]
_CASES = (
    Column(key="result", title="RESULT", style="cyan"),
    Column(key="case", title="CASE", shrink_to=16),
    Column(key="file", title="FILE", rank=1),
)


def init(folder: Folder) -> None:
    """Write the bundle to begin with, and its cases: it permits what manifests grant.

    Folders with policies in them are left alone.
    """
    from headgate_console.errors import about_file
    from headgate_control.policy.starter.files import write_starter

    to = screen()
    try:
        to.show(map(str, write_starter(folder)))
    except OSError as error:
        raise CommandError(about_file(error)) from error
    to.say(f"Name it in headgate.yaml as policy: {{dir: {folder}}}. Try it: headgate policy test {folder}")


def check(folder: Folder, as_json: Json = False) -> None:
    """Check a bundle: every policy against the schema, and what is valid but probably not meant.

    Exit code 2 says that it is wrong and would be refused; warnings are told on stderr.
    """
    from headgate_control.policy.bundle import load_bundle
    from headgate_control.policy.check import warnings

    bundle, to = load_bundle(folder), screen()
    told = list(warnings(bundle))
    permits = sum(policy.permits for policy in bundle.policies.values())
    counts = {"permits": permits, "forbids": len(bundle.policies) - permits}
    if as_json:
        to.json([{"folder": str(folder), "digest": bundle.digest, **counts, "warnings": told}])
    else:
        of = f"{plural(permits, 'permit')} and {plural(counts['forbids'], 'forbid')}"
        to.show([f"{folder}: {of}, valid, {bundle.digest}"])
    for sentence in told:
        to.say(sentence)


def run_cases(folder: Folder, as_json: Json = False) -> None:
    """Run the golden cases in `tests` of a bundle through the decision that gateways ask for.

    A case says who asks for what under what, and what is decided and logged. Exit code 1 says that one fails.
    """
    from headgate_control.policy.bundle import load_bundle
    from headgate_control.policy.engine import PolicyEngine

    rows, to = list(_tried(folder, PolicyEngine(load_bundle(folder)))), screen()
    failed = [row for row in rows if row["result"] == "failed"]
    if not rows:
        message = f"{folder / 'tests'} has no cases: write some in a *.yaml there, or see `headgate policy init`"
        raise CommandError(message)
    if as_json:
        to.json(rows)
    else:
        to.table(_CASES, rows)
    for row in failed:
        to.say(f"{row['file']}: {row['case']}")
        for difference in row["differences"]:
            to.say(f"  {difference['what']}: expected {difference['expected']!r}, got {difference['actual']!r}")
    if failed:
        message = f"{len(failed)} of {plural(len(rows), 'case')} failed"
        raise CommandError(message)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=HELP)
    for name, command, lines in (
        ("init", init, INIT_EXAMPLES),
        ("check", check, CHECK_EXAMPLES),
        ("test", run_cases, TEST_EXAMPLES),
    ):
        group.command(name, epilog=examples(lines))(command)
    app.add_typer(group, name="policy", epilog=examples(TEST_EXAMPLES))


def _tried(folder: Path, engine: "PolicyEngine") -> Iterator[dict[str, Any]]:
    from dataclasses import asdict

    from headgate_control.policy.cases import load_cases
    from headgate_control.policy.trial import decided, differences, setting

    for path, file in load_cases(folder).items():
        for case in file.cases:
            found = [asdict(one) for one in differences(case, decided(setting(case, engine)))]
            result = "failed" if found else "passed"
            yield {"file": path.name, "case": case.name, "result": result, "differences": found}
