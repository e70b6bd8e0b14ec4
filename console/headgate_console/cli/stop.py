"""`headgate stop | pause | resume | stops`: end what agents do, and see what is ended."""

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headgate_console.cli.options import Data, Json, examples, length, settings
from headgate_console.cli.screen import Screen, screen, utf8_stdout
from headgate_console.errors import CommandError
from headgate_console.render.records import rfc3339
from headgate_console.render.table import Column
from headgate_processors.errors import ConfigError

if TYPE_CHECKING:
    from headgate_console.settings import Settings

STOP_EXAMPLES = """
    headgate stop instance ai-01KB0EXAMPLE --reason "loops on one test"
    headgate stop tool github/create_pull_request --reason "reviewers are away" --expires 2h
    headgate stop platform --reason "incident 42"
"""
PAUSE_EXAMPLES = """
    headgate pause team payments --reason "release"
    headgate pause workflow fix-tests --reason "budget review" --expires 30m
"""
RESUME_EXAMPLES = """
    headgate resume team payments --reason "released"
    headgate resume platform
"""
STOPS_EXAMPLES = """
    headgate stops
    headgate stops --all
    headgate stops --json
"""
NS_PER_S = 1_000_000_000
ScopeName = Annotated[
    str,
    typer.Argument(
        metavar="SCOPE",
        help="`instance`, `session`, `workflow`, `team`, `tool`, `model`, `identity`, `mcp-server` or `platform`.",
    ),
]
Target = Annotated[
    str | None,
    typer.Argument(
        metavar="ID", help="Whose; a tool as `[server/]tool`, a model as `provider/model`.", show_default=False
    ),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is shown to whoever is denied.")]
Expires = Annotated[
    str | None, typer.Option("--expires", metavar="TIME", help="After how long it ends by itself, such as `2h`.")
]
Every = Annotated[bool, typer.Option("--all", help="Those that ended as well, the last 200, from the store.")]
_STOPS = (
    Column(key="scope", title="SCOPE", style="cyan"),
    Column(key="target", title="ID", shrink_to=12),
    Column(key="mode", title="MODE"),
    Column(key="reason", title="REASON", shrink_to=12),
    Column(key="author", title="BY", rank=1),
    Column(key="accepted_time", title="SINCE", rank=2),
    Column(key="expires_time", title="UNTIL", rank=1, format=lambda value: value or "it is resumed"),
    Column(key="stop_id", title="STOP ID"),
)
_RECORDED = (
    *_STOPS[:5],
    Column(key="accepted_time", title="SINCE"),
    Column(key="state", title="STATE"),
    Column(key="effect_ms", title="IN EFFECT AFTER", rank=1, format=lambda value: f"{value:.1f} ms"),
    Column(key="cut", title="CUT", rank=1),
    _STOPS[-1],
)
_EFFECTS = (
    Column(key="enforcement_point", title="ENFORCEMENT POINT", style="cyan"),
    Column(key="effect_ms", title="IN EFFECT AFTER", format=lambda value: f"{value:.1f} ms"),
    Column(key="cut", title="CALLS CUT"),
)


def stop(
    context: typer.Context,
    scope: ScopeName,
    target: Target = None,
    reason: Reason = "",
    expires: Expires = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Deny every new call, cut those that run, and close their connections to providers.

    Waits for all enforcement points. Exit code 1 names those that did not answer within 5 s.
    """
    _commanded(context, data, scope, target, {"mode": "stop", "reason": reason}, expires=expires, as_json=as_json)


def pause(
    context: typer.Context,
    scope: ScopeName,
    target: Target = None,
    reason: Reason = "",
    expires: Expires = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Deny every new call, and let those that run come to their end."""
    _commanded(context, data, scope, target, {"mode": "pause", "reason": reason}, expires=expires, as_json=as_json)


def resume(
    context: typer.Context,
    scope: ScopeName,
    target: Target = None,
    reason: Reason = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """End a stop or a pause."""
    from headgate_console.control.client import control_client

    site = settings(context, data=data)
    client = control_client(site)
    held = {one["target"] for one in client.get("/v1/stops")["stops"] if one["scope"] == scope}
    named = {"id": target} if target in held else _named(site, scope, target)
    called = next((name for name in (named["id"], named.get("session_key")) if name in held), named["id"])
    whole, answer = client.command("/v1/stops/resume", {"scope": scope, "id": called, "reason": reason})
    to = screen()
    if as_json:
        _write(answer)
    else:
        ended = ", ".join(f"{one['mode']} of {one['reason']!r}" for one in answer["ended"])
        to.show([f"{scope} {target or ''}".strip() + f" may go on: ended {ended}."])
        to.table(_EFFECTS, answer["effects"])
    _silent(whole, answer)


def stops(context: typer.Context, every: Every = False, data: Data = None, as_json: Json = False) -> None:
    """List every stop and pause that holds; with `--all` those that ended too, and how fast they were in effect."""
    site, to = settings(context, data=data), screen()
    rows = _recorded(site) if every else _held(site)
    if as_json:
        to.json(rows)
    elif rows:
        to.table(_RECORDED if every else _STOPS, rows)
    else:
        to.say("Nothing was ever stopped or paused." if every else "Nothing is stopped or paused.")


def _held(site: "Settings") -> list[dict[str, Any]]:
    from headgate_console.control.client import control_client

    return [_timed(one) for one in control_client(site).get("/v1/stops")["stops"]]


def _recorded(site: "Settings") -> list[dict[str, Any]]:
    from headgate_console.queries.stopping import recorded_stops

    return [_timed(one) for one in recorded_stops(site)]


def _commanded(
    context: typer.Context,
    data: Any,
    scope: str,
    target: str | None,
    body: dict[str, object],
    *,
    expires: str | None,
    as_json: bool,
) -> None:
    from headgate_console.control.client import control_client

    lifetime_ns = None if expires is None else int(length("--expires", expires).total_seconds() * NS_PER_S)
    if lifetime_ns == 0:
        raise ConfigError("--expires 0s: it would be over at once. Expected a length such as 30m or 2h")
    site = settings(context, data=data)
    client, named = control_client(site), _named(site, scope, target)
    warning = named.pop("warning", None)
    whole, answer = client.command("/v1/stops", {"scope": scope, **named, "lifetime_ns": lifetime_ns, **body})
    answer["warning"] = answer["warning"] or warning
    if as_json:
        _write(_timed(answer))
    else:
        _show(screen(), answer)
    if answer["warning"] is not None:
        screen().say(answer["warning"])
    _silent(whole, answer)


def _named(site: "Settings", scope: str, target: str | None) -> dict[str, Any]:
    """What to tell control of whom it is about."""
    if scope != "session" or not target:
        return {"id": target}
    from headgate_console.queries.stopping import session_to_stop

    found = session_to_stop(site, target)
    return {"id": found.id, "session_key": found.session_key, "warning": found.warning}


def _show(to: Screen, answer: dict[str, Any]) -> None:
    done = "stopped" if answer["mode"] == "stop" else "paused"
    to.show(
        [f"{answer['scope']} {answer['target']}".strip() + f" is {done}: {answer['stop_id']}, epoch {answer['epoch']}."]
    )
    to.table(_EFFECTS, answer["effects"])
    to.say(f"It goes on with: headgate resume {answer['scope']} {answer['target']}".rstrip())


def _silent(whole: bool, answer: dict[str, Any]) -> None:
    if not whole:
        message = (
            f"no acknowledgement within 5 s from: {', '.join(answer['silent'])}. The stop holds; they may not know. "
            "Where one is gone for good, or was never a gateway: headgate gateway forget NAME"
        )
        raise CommandError(message)


def _timed(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its times as people read them beside the numbers."""
    return {**row, "accepted_time": _time(row["accepted_unix_nano"]), "expires_time": _time(row["expires_unix_nano"])}


def _time(unix_nano: int | None) -> str | None:
    return None if unix_nano is None else rfc3339(datetime.fromtimestamp(unix_nano // NS_PER_S, UTC))


def _write(answer: dict[str, Any]) -> None:
    import json

    json.dump(answer, utf8_stdout(), ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command, lines in (
        (stop, STOP_EXAMPLES),
        (pause, PAUSE_EXAMPLES),
        (resume, RESUME_EXAMPLES),
        (stops, STOPS_EXAMPLES),
    ):
        app.command(command.__name__, epilog=examples(lines))(command)
