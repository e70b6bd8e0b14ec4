"""`headgate up`: everything that runs."""

import sys
from typing import Annotated

import typer

from headgate_console.cli.options import Data, examples, load

EXAMPLES = """
    headgate up
    headgate up --data /var/lib/headgate --grpc 127.0.0.1:5317
    headgate up --behind-collector
"""
BEHIND_PLATFORM = "127.0.0.1:14319"
BEHIND_COLLECTOR = {"grpc": "127.0.0.1:14317", "http": "127.0.0.1:14318", "platform": BEHIND_PLATFORM}


def up(
    context: typer.Context,
    data: Data = None,
    grpc: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Take OTLP over gRPC here; port 0 picks a free one.")
    ] = None,
    http: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Take OTLP over HTTP here; port 0 picks a free one.")
    ] = None,
    platform: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Take OTLP of Headgate's own parts here, with a token; or `none`."),
    ] = None,
    console: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Answer /healthz, /readyz and /metrics here.")
    ] = None,
    behind_collector: Annotated[
        bool, typer.Option("--behind-collector", help="Listen on 14317 and 14318: a Collector has 4317, 4318 and 4319.")
    ] = False,
) -> None:
    """Receive what agents send and keep sessions, calls and costs current, until SIGTERM or Ctrl-C.

    Prints `ready NAME HOST:PORT` for each listener. Point an agent at it with
    OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318.
    """
    from headgate_console.serve.up import serve

    behind = BEHIND_COLLECTOR if behind_collector else {}
    loaded = load(
        context,
        data=data,
        receiver__grpc=grpc or behind.get("grpc"),
        receiver__http=http or behind.get("http"),
        receiver__platform=platform or behind.get("platform"),
        console__listen=console,
    )
    raise typer.Exit(serve(loaded, out=_out, say=_say))


def _out(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("up", epilog=examples(EXAMPLES))(up)
