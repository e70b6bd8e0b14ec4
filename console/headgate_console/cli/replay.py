"""`headgate replay`: recorded telemetry, ingested here or sent as real OTLP."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headgate_console.cli.options import Data, Json, examples, settings
from headgate_console.cli.progress import progress
from headgate_console.cli.screen import Screen, screen
from headgate_console.render.numbers import plural, size
from headgate_processors.errors import ConfigError

if TYPE_CHECKING:
    from headgate_console.settings import Settings
    from headgate_processors.replay.requests import ReplayItem

EXAMPLES = """
    headgate replay recordings/ --data headgate-data
    headgate replay traces.jsonl.gz --endpoint http://127.0.0.1:4317
    headgate replay traces.jsonl --session-suffix again
"""
SHOWN_MAX = 10
LARGE_BYTES = 32 << 20
PACKED = frozenset({".gz", ".zst"})
PACKED_TIMES = 10


def replay(
    context: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH…", help="Files or folders: OTLP as JSON lines or protobuf, gzip or zstd too."),
    ],
    data: Data = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="Send as OTLP to URL instead: gRPC, or HTTP on port 4318.")
    ] = None,
    suffix: Annotated[
        str | None,
        typer.Option("--session-suffix", metavar="TEXT", help="Replay as other sessions: TEXT changes every id."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Replay recorded OTLP into a store, through the whole pipeline, or to an endpoint as real OTLP.

    Ends when every session, call and timeline is current; with --endpoint, when all is acknowledged.
    Prints what was read, kept and refused, and why; refusals are exit code 1.
    """
    if endpoint is not None and data is not None:
        message = "--data and --endpoint exclude each other: a store is written, or OTLP is sent."
        raise ConfigError(message)
    to, items = screen(), _items(paths, suffix)
    if endpoint is not None:
        complete = _send(to, items, endpoint, as_json=as_json)
    else:
        complete = _ingest(to, paths, items, settings(context, data=data), as_json=as_json)
    if not complete:
        raise typer.Exit(1)


def _items(paths: list[Path], suffix: str | None) -> Iterator["ReplayItem"]:
    from headgate_processors.replay.files import read_requests
    from headgate_processors.replay.suffix import read_suffixed

    return read_requests(paths) if suffix is None else read_suffixed(paths, suffix)


def _send(to: Screen, items: Iterator["ReplayItem"], endpoint: str, *, as_json: bool) -> bool:
    from headgate_processors.replay.sender import send

    with progress(to, "requests") as bar:
        report = send(items, endpoint, progress=lambda r: bar(r.acknowledged + r.failed + r.refused, None))
    read = report.acknowledged + report.failed + report.refused
    reasons = [*map(str, report.refusals), *report.reasons, *report.messages, *filter(None, [report.given_up])]
    if as_json:
        counts = {"requests": read, "acknowledged": report.acknowledged, "failed": report.failed}
        counts |= {"refused": report.refused, "rejected_records": report.rejected_records, "retries": report.retries}
        to.json([{**counts, "body_bytes": report.body_bytes, "reasons": reasons}])
        return report.is_complete
    refused = plural(report.refused + report.failed, "request")
    to.show(
        [
            f"read      {plural(read, 'request')}, {size(report.body_bytes)}",
            f"sent      {report.acknowledged:,} acknowledged, {plural(report.retries, 'retry', 'retries')}",
            f"refused   {refused}, {plural(report.rejected_records, 'single record')}",
        ]
    )
    _why(to, reasons)
    return report.is_complete


def _ingest(to: Screen, paths: list[Path], items: Iterator["ReplayItem"], chosen: "Settings", *, as_json: bool) -> bool:
    from headgate_console.ingest import ingest_requests
    from headgate_console.wiring import build_intake, open_deriver, open_preparer, open_store, workers_of

    workers = workers_of(chosen) if _is_large(paths) else 0
    with open_deriver(chosen) as deriver:
        with (
            closing(open_store(chosen)) as store,
            open_preparer(chosen, workers=workers) as preparer,
            progress(to, "requests") as bar,
        ):
            intake = build_intake(chosen, store, preparer)
            report = ingest_requests(items, intake.ingest, progress=lambda r: bar(r.requests, None))
        with progress(to, "sessions") as bar:
            derived = deriver.run(report=bar)
    reasons = [*report.refusals, *report.reasons]
    if as_json:
        counts = {"requests": report.requests, "refused": report.refused, "records": report.records}
        counts |= {"stored": report.stored, "rejected_records": report.rejected, "body_bytes": report.body_bytes}
        to.json([{**counts, "sessions": derived.sessions, "reasons": reasons}])
        return report.is_complete
    repeated = report.records - report.stored - report.rejected
    to.show(
        [
            f"read      {plural(report.requests, 'request')}, {size(report.body_bytes)}",
            f"kept      {plural(report.stored, 'record')}" + (f", {repeated:,} were there already" if repeated else ""),
            f"refused   {plural(report.refused, 'request')}, {plural(report.rejected, 'single record')}",
            f"derived   {plural(derived.sessions, 'session')}: headgate sessions --data {chosen.data}",
        ]
    )
    _why(to, reasons)
    return report.is_complete


def _is_large(paths: list[Path]) -> bool:
    """Whether decode workers save more time than they take to start."""
    from headgate_processors.replay.files import replay_files

    sizes = (path.stat().st_size * (PACKED_TIMES if path.suffix in PACKED else 1) for path in replay_files(paths))
    return sum(sizes) >= LARGE_BYTES


def _why(to: Screen, reasons: list[str]) -> None:
    for reason in reasons[:SHOWN_MAX]:
        to.say(f"  {reason}")
    if len(reasons) > SHOWN_MAX:
        to.say(f"  and {len(reasons) - SHOWN_MAX} more reasons")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay", epilog=examples(EXAMPLES))(replay)
