"""`headgate drill`: stop a real call, and see how long everything takes."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from headgate_console.cli.options import Data, Json, examples, settings
from headgate_console.cli.screen import screen
from headgate_console.errors import CommandError
from headgate_console.render.table import Column

EXAMPLES = """
    headgate drill
    headgate drill --runs 100
    headgate drill --json
"""
_MS = ("effect_ms", "client_ended_ms", "upstream_closed_ms")
_COLUMNS = (
    Column(key="phase", title="CALL", style="cyan"),
    Column(key="what", title="TIME FROM THE STOP TO"),
    Column(key="p50", title="P50", align="right"),
    Column(key="p99", title="P99", align="right"),
    Column(key="max", title="MAX", align="right"),
)
_WHAT = {
    "effect_ms": "its acknowledgement",
    "client_ended_ms": "the agent's end of the call",
    "upstream_closed_ms": "the provider's connection closed",
}


def drill(
    context: typer.Context,
    runs: Annotated[int, typer.Option(metavar="N", min=1, max=200, help="Calls to stop, of each kind.")] = 10,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Start an agent of its own, stop it in the middle of a call, and time what happens; nobody else is touched.

    One kind of call streams, one waits for its first byte, one is tried again after its provider refused it. Exit code
    1 says that something did not happen.
    """
    from headgate_console.control.client import control_client

    client = control_client(settings(context, data=data))
    rows: list[dict[str, Any]] = []
    for batch in _batches(runs):
        rows += client.post("/v1/drill", body={"runs": batch})["runs"]
    to = screen()
    if as_json:
        to.json(rows)
    else:
        to.table(_COLUMNS, list(_summed(rows)))
        good = sum(map(_is_good, rows))
        to.show([f"{good} of {len(rows)} calls ended at both ends, with the next one denied."])
    if not all(map(_is_good, rows)):
        silent = sorted({name for row in rows for name in row["silent"]})
        message = "a stop did not do all that it should" + (f"; silent: {', '.join(silent)}" if silent else "")
        raise CommandError(message)


def _batches(runs: int) -> Iterable[int]:
    """Few at a time, so that no request takes long."""
    return [min(10, runs - done) for done in range(0, runs, 10)]


def _is_good(row: dict[str, Any]) -> bool:
    return bool(row["next_call_denied"]) and all(row[name] is not None for name in _MS)


def _summed(rows: Sequence[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for phase in dict.fromkeys(row["phase"] for row in rows):
        for name in _MS:
            found = sorted(row[name] for row in rows if row["phase"] == phase and row[name] is not None)
            if found:
                at = {"p50": _at(found, 0.5), "p99": _at(found, 0.99), "max": found[-1]}
                yield {"phase": phase, "what": _WHAT[name], **{key: f"{value:.1f} ms" for key, value in at.items()}}


def _at(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed."""
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 100 * len(ordered)) // 100) - 1))]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("drill", epilog=examples(EXAMPLES))(drill)
