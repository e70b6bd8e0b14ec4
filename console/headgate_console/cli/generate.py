"""`headgate generate`: as many sessions as wanted, made from those of real agents."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from headgate_console.cli.options import Data, Json, examples, length, settings
from headgate_console.cli.progress import progress
from headgate_console.cli.screen import Screen, screen
from headgate_console.render.numbers import plural, size
from headgate_processors.errors import ConfigError

EXAMPLES = """
    headgate generate --spans 10000 --endpoint http://127.0.0.1:4317
    headgate generate --spans 1000000 --over 7d --data big-store
    headgate generate --sessions 100 --late 0.02 --doubled 0.05 --out load.otlp --truth truth.jsonl
    headgate generate --spans 5000 --mix loop=5 --mix codex=0 --data headgate-data
"""
SPANS = 10_000

Spans = Annotated[
    int | None, typer.Option(min=1, metavar="N", help=f"End with the session that makes it N spans; {SPANS:,}.")
]
Sessions = Annotated[int | None, typer.Option(min=1, metavar="N", help="End after N sessions.")]
Seed = Annotated[int, typer.Option(metavar="S", help="The same seed gives the same sessions.")]
Mix = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=X", help="Take an agent or a scenario X times as often: `codex=0`, `loop=5`."),
]
Late = Annotated[float, typer.Option(min=0, max=1, metavar="SHARE", help="Share of records up to a minute late.")]
Doubled = Annotated[float, typer.Option(min=0, max=1, metavar="SHARE", help="Share of records sent twice.")]
Missing = Annotated[float, typer.Option(min=0, max=1, metavar="SHARE", help="Share of records never sent.")]
ClockSkew = Annotated[str, typer.Option(metavar="TIME", help="How far a sender's clock may be off, either way.")]
RequestSpans = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Requests of N records, as a Collector's; else as SDKs send.")
]
Rate = Annotated[
    float | None, typer.Option(min=1, metavar="R", help="At most R spans a second; else as fast as they are taken.")
]
InFlight = Annotated[int, typer.Option(min=1, max=256, metavar="N", help="Requests under way at once.")]
Over = Annotated[str, typer.Option(metavar="TIME", help="With --data and --out: the time over which they happened.")]
IsDerived = Annotated[
    bool, typer.Option("--derive/--no-derive", help="With --data: derive the sessions; else `headgate derive` does.")
]
ToUrl = Annotated[str | None, typer.Option(metavar="URL", help="Send as OTLP to URL: gRPC, or HTTP on port 4318.")]
Out = Annotated[
    Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write OTLP that `headgate replay` reads.")
]
TruthFile = Annotated[
    Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write what each session holds, as JSON lines.")
]


def generate(
    context: typer.Context,
    spans: Spans = None,
    sessions: Sessions = None,
    seed: Seed = 1,
    mix: Mix = None,
    late: Late = 0.0,
    doubled: Doubled = 0.0,
    missing: Missing = 0.0,
    clock_skew: ClockSkew = "0 s",
    request_spans: RequestSpans = None,
    rate: Rate = None,
    in_flight: InFlight = 8,
    over: Over = "1 d",
    is_derived: IsDerived = True,
    endpoint: ToUrl = None,
    data: Data = None,
    out: Out = None,
    truth: TruthFile = None,
    as_json: Json = False,
) -> None:
    """Make sessions in volume: shaped and sized as those of real agents, with ids, times and words of their own.

    They are sent as OTLP, written to a file, or put straight into a store.

    The last skips what a receiver does: each recorded session is decoded once, and its rows are made anew.

    Ends when all is acknowledged (--endpoint), or when every session is derived (--data).
    """
    from headgate_console.generating import Delivery
    from headgate_console.queries.opening import nanoseconds
    from headgate_processors.generate.plan import SPANS_A_SECOND, PlanConfig

    if sum(place is not None for place in (endpoint, data, out)) != 1:
        message = "say where the load goes: one of --endpoint URL, --data DIR and --out FILE."
        raise ConfigError(message)
    config = PlanConfig(
        seed=seed,
        spans=SPANS if spans is None and sessions is None else spans,
        sessions=sessions,
        rate=rate or SPANS_A_SECOND,
        over_ns=None if endpoint is not None else nanoseconds(length("--over", over)),
        mix=dict(map(_part, mix or ())),
        late=late,
        doubled=doubled,
        missing=missing,
        clock_skew_ns=nanoseconds(length("--clock-skew", clock_skew)),
    )
    delivery = Delivery(
        config=config,
        request_records=request_spans,
        rate=rate,
        in_flight=in_flight,
        truth=truth,
        is_derived=is_derived,
    )
    done = _deliver(context, screen(), delivery, endpoint=endpoint, data=data, out=out)
    if as_json:
        screen().json([done])
    else:
        screen().show(_lines(done, data=data))
    if done["failed"]:
        raise typer.Exit(1)


def _deliver(
    context: typer.Context, to: Screen, delivery: Any, *, endpoint: str | None, data: Path | None, out: Path | None
) -> dict[str, Any]:
    from headgate_console.generating import fill_load, send_load, write_load

    bars = partial(progress, to)
    if endpoint is not None:
        return send_load(delivery, endpoint, bars).row()
    if out is not None:
        return write_load(delivery, out, bars).row()
    return fill_load(delivery, settings(context, data=data), bars).row()


def _lines(done: dict[str, Any], *, data: Path | None) -> list[str]:
    made = f"{plural(done['sessions'], 'session')}, {plural(done['spans'], 'span')}"
    made += f", {plural(done['logs'], 'log record')}"
    each = f"{done['spans'] / max(done['duration_s'], 1e-9):,.0f} spans a second, seed {done['seed']}"
    lines = [f"made      {made} in {done['duration_s']:.1f} s: {each}"]
    if done["requests"]:
        lines.append(f"requests  {done['requests']:,}, {size(done['body_bytes'])}")
    if done["acknowledged"] or done["failed"]:
        lines.append(
            f"sent      {done['acknowledged']:,} acknowledged, {plural(done['retries'], 'retry', 'retries')}, "
            f"{done['failed']:,} refused, {plural(done['rejected_records'], 'single record')} refused"
        )
    if done["derived_sessions"]:
        lines.append(f"derived   {plural(done['derived_sessions'], 'session')}: headgate sessions --data {data}")
    return [*lines, *(f"  {reason}" for reason in done["reasons"][:10])]


def _part(text: str) -> tuple[str, float]:
    name, _, factor = text.rpartition("=")
    try:
        times = float(factor)
    except ValueError:
        times = -1.0
    if not name or not 0 <= times < float("inf"):
        message = f"--mix {text!r}: expected NAME=X with X of 0 or more, such as codex=0 or loop=5"
        raise ConfigError(message)
    return name, times


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("generate", epilog=examples(EXAMPLES))(generate)
