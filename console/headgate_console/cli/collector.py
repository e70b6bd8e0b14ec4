"""`headgate collector`: configurations of the OpenTelemetry Collector, checked and started."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headgate_console.cli.options import Data, Json, examples, length, settings
from headgate_console.cli.screen import screen
from headgate_console.render.table import Column
from headgate_processors.errors import ConfigError

if TYPE_CHECKING:
    from headgate_console.collector.catalogue import Selection
    from headgate_processors.credentials.issuer import Audience

AUDIENCES: "Mapping[str, Audience]" = {"telemetry": "headgate-telemetry", "platform": "headgate-platform"}
EXAMPLES = """
    headgate collector config
    headgate collector config gateway --with kafka > collector.yaml
    headgate collector validate
    headgate collector run
"""
EXAMPLES_RUN = """
    headgate collector run
    headgate collector run agent
    headgate collector run gateway --with load_balancing
    headgate collector run local -- --set service.telemetry.logs.level=debug
"""
EXAMPLES_KEYS = """
    headgate collector keys
    headgate collector token spiffe://headgate/gateway/model --audience platform
"""

Overlay = Annotated[str | None, typer.Option("--with", metavar="OVERLAY", help="Lay this file over it.")]
CATALOGUE = (
    Column(key="name", title="NAME", style="cyan"),
    Column(key="about", title="WHAT IT IS", shrink_to=24),
)
RESULTS = (
    Column(key="name", title="NAME", style="cyan"),
    Column(key="result", title="RESULT"),
    Column(key="detail", title="WHY", shrink_to=24),
)


def config(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Which to write; without one: which exist.")
    ] = None,
    overlay: Overlay = None,
    path: Annotated[bool, typer.Option("--path", help="Write where the files are instead.")] = False,
    as_json: Json = False,
) -> None:
    """Write a configuration, ready for any Collector 0.158 that has its components; without NAME list them."""
    from headgate_console.collector.catalogue import every_selection, select
    from headgate_console.collector.files import paths, text

    if name is not None:
        chosen = select(name, overlay)
        sys.stdout.write("".join(f"{file}\n" for file in paths(chosen)) if path else text(chosen))
        return
    rows = [{"name": one.label, "about": _about(one), "files": list(map(str, paths(one)))} for one in every_selection()]
    if as_json:
        screen().json(rows)
    else:
        screen().table(CATALOGUE, rows)


def _about(selection: "Selection") -> str:
    return selection.overlay.about if selection.overlay else selection.configuration.about


def validate(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which; all by default.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let the Collector check configurations, with the variables that are set; `gateway+kafka` is one with an overlay.

    Exit code 1 says that one is wrong, 2 that one which was named lacks a variable.
    """
    from headgate_console.collector.binary import find_binary
    from headgate_console.collector.catalogue import every_selection, select

    chosen = [select(name) for name in names] if names else list(every_selection())
    binary, folder = find_binary(os.environ), settings(context, data=data).data
    rows = [_validated(one, binary, folder) for one in chosen]
    if as_json:
        screen().json(rows)
    else:
        screen().table(RESULTS, rows)
    results = {row["result"] for row in rows}
    if "invalid" in results:
        raise typer.Exit(1)
    if names and "not set up" in results:
        raise typer.Exit(2)


def _validated(selection: "Selection", binary: Path, data: Path) -> dict[str, str]:
    from headgate_console.collector.binary import check
    from headgate_console.collector.files import missing, paths
    from headgate_console.collector.launch import environment_beside

    environment = environment_beside(data, os.environ)
    absent = missing(selection, environment)
    if absent:
        detail = "set " + ", ".join(variable.name for variable in absent)
        return {"name": selection.label, "result": "not set up", "detail": detail}
    problem = check(binary, paths(selection), environment)
    return {"name": selection.label, "result": "invalid" if problem else "valid", "detail": problem}


def run(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Which configuration.")] = "local",
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGUMENT...]", help="Further arguments for the Collector.")
    ] = None,
    overlay: Overlay = None,
    data: Data = None,
) -> None:
    """Start a Collector with a configuration; this process becomes it. Beside it: headgate up --behind-collector.

    Its queue on disk, keys and token are in the store's folder `collector`, unless HEADGATE_COLLECTOR_… names others.

    Where there are keys, `local` also takes what Headgate's own parts send, on 4319.
    """
    from headgate_console.collector.binary import arguments, find_binary
    from headgate_console.collector.catalogue import select
    from headgate_console.collector.launch import check_ports, prepare

    launch = prepare(select(name, overlay), os.environ, data=settings(context, data=data).data)
    binary = find_binary(os.environ)
    check_ports(launch)
    queue = launch.environment["HEADGATE_COLLECTOR_DATA"]
    screen().say(f"Starting {binary} with {' + '.join(launch.selection.files)}; its queue on disk is {queue}.")
    Path(queue).mkdir(parents=True, exist_ok=True, mode=0o700)
    sys.stderr.flush()
    command = [str(binary), *arguments(launch.files), *(more or ())]
    os.execve(binary, command, dict(launch.environment))  # noqa: S606 - that is what it is for


def keys(context: typer.Context, data: Data = None) -> None:
    """Make keys for tokens, and the Collector's own token at the receiver; said again, it rotates the keys.

    Tokens of earlier keys stay good: a Collector reads the file of public keys again when it changes.
    """
    from headgate_console.collector.launch import make_credentials

    public, token = make_credentials(settings(context, data=data).data)
    to = screen()
    to.show([str(public)])
    if token is not None:
        to.say(f"{token} holds the Collector's token at the receiver, of the role collector.")
    to.say("Next: headgate collector run, and tokens for senders: headgate collector token SUBJECT --audience platform")


def token(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(help="Whom it names, such as spiffe://headgate/gateway/model.")],
    audience: Annotated[
        Literal["telemetry", "platform"],
        typer.Option(help="What it is for: agents on 4317 and 4318 of a gateway, or Headgate's own parts on 4319."),
    ] = "telemetry",
    lifetime: Annotated[str, typer.Option(metavar="TIME", help="How long it is good.")] = "30d",
    data: Data = None,
) -> None:
    """Sign a token with the keys of `headgate collector keys`, and write it to stdout.

    An SDK drops its data at the first refusal: a token must live as long as the agent that holds it.
    """
    from headgate_console.collector.launch import FOLDER
    from headgate_processors.credentials.issuer import Issuer

    issuer = Issuer.open(settings(context, data=data).data / FOLDER)
    screen().show([issuer.token(subject, audience=AUDIENCES[audience], lifetime_s=_lifetime_s(lifetime))])


def _lifetime_s(text: str) -> float:
    lifetime_s = length("--lifetime", text).total_seconds()
    if lifetime_s < 1:
        message = "--lifetime: a token that is good for less than a second is good for nothing; say 12h or 30d"
        raise ConfigError(message)
    return lifetime_s


def register(app: typer.Typer) -> None:
    """Add the commands."""
    about = "Configure, check and start the OpenTelemetry Collector."
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=about)
    group.command(epilog=examples(EXAMPLES))(config)
    group.command(epilog=examples(EXAMPLES))(validate)
    group.command(epilog=examples(EXAMPLES_RUN))(run)
    group.command(epilog=examples(EXAMPLES_KEYS))(keys)
    group.command(epilog=examples(EXAMPLES_KEYS))(token)
    app.add_typer(group, name="collector", epilog=examples(EXAMPLES))
