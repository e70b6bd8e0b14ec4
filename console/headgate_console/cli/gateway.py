"""`headgate gateway model`: a model gateway as a process of its own, on this or another machine."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from headgate_console.cli.options import Data, examples, load, settings
from headgate_console.cli.screen import screen

HELP = "Run a gateway beside the one of `headgate up`, or on another machine."
EXAMPLES = """
    headgate gateway model --control https://control.example:7410 --token-file gateway.token --name eu-1
    headgate gateway model --control http://127.0.0.1:7410 --token-file gateway.token --listen 127.0.0.1:7421
"""


def model(
    context: typer.Context,
    control: Annotated[str, typer.Option(metavar="URL", help="Where control listens.")],
    token_file: Annotated[
        Path, typer.Option("--token-file", metavar="FILE", help="Its token: headgate token create --role gateway.")
    ],
    name: Annotated[str, typer.Option(metavar="NAME", help="What control and the log call it.")] = "gateway-1",
    folder: Annotated[Path, typer.Option(metavar="DIR", help="What it keeps.")] = Path("headgate-gateway"),
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where agents call models.")] = None,
    otlp: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="The platform listener that it tells of its calls; past this machine, with TLS."
        ),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            "--ca-file", metavar="FILE", help="Who signed the certificates of control and of that listener, in PEM."
        ),
    ] = None,
) -> None:
    """Decide and meter model calls here, by what control's feed says; without the feed nothing with effects passes.

    It starts without control too, from what it knew last. Providers come from `gateways.model.upstreams`.
    """
    from headgate_console.control.remote import RemoteGateway, run

    chosen = load(context, gateways__model__listen=listen).settings
    remote = RemoteGateway(control=control, token_file=token_file, name=name, folder=folder, otlp=otlp, ca_file=ca_file)
    run(chosen, remote, ready=_ready)


def forget(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `headgate stop` calls it.")],
    data: Data = None,
) -> None:
    """Wait for a gateway no more that is gone for good; one that comes back joins again."""
    from headgate_console.control.client import control_client

    control_client(settings(context, data=data)).post("/v1/feed/leave", body={"point": name})
    screen().show([f"{name} is forgotten: stops do not wait for it any more."])


def _ready(address: str) -> None:
    sys.stdout.write(f"ready model-gateway {address}\n")
    sys.stdout.flush()


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=HELP)
    group.command("model", epilog=examples(EXAMPLES))(model)
    group.command("forget", epilog=examples("headgate gateway forget eu-1"))(forget)

    @group.callback()
    def gateways() -> None:
        """Run a gateway beside the one of `headgate up`, or on another machine."""

    app.add_typer(group, name="gateway", epilog=examples(EXAMPLES))
