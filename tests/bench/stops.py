"""How long a stop takes: `headgate drill`, and a call of an agent stopped in each scope in turn."""

import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callers import Caller, is_whole, request
from endpoints import ENDLESS, endpoint
from figures import Figure, Section
from governed import TEAM, USER, WORKFLOW, Governed, governed_up
from times import spread

SESSION = "bench"
NS_PER_MS = 1e6
SHARES = (0.5, 0.99, 1.0)
SILENT_S = 10.0
MEASURES = {
    "effect_ms": "effect, acknowledged",
    "client_ended_ms": "end of the client's call",
    "upstream_closed_ms": "upstream closed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """One stop: until it was acknowledged, its upstream closed before that, and until its client saw an end."""

    effect_ns: int
    client_ended_ns: int


def measure_stops(runs: int, folder: Path) -> Section:
    """`runs` of each phase by the drill, and as many spread over the scopes."""
    with endpoint("provider") as provider, governed_up(folder / "stops", provider=provider) as site:
        rows = _drilled(site, runs)
        targets = {
            "instance": site.instance_id,
            "session": SESSION,
            "workflow": WORKFLOW,
            "team": TEAM,
            "model": f"openai/{ENDLESS}",
            "identity": USER,
            "platform": None,
        }
        scopes = [list(targets)[number % len(targets)] for number in range(runs)]
        stopped = [_stopped(site, scope, targets[scope]) for scope in scopes]
    figures: list[Figure] = []
    for phase in dict.fromkeys(row["phase"] for row in rows):
        for measure, what in MEASURES.items():
            times_ns = [int(row[measure] * NS_PER_MS) for row in rows if row["phase"] == phase]
            figures += spread(f"{phase}: {what}", times_ns, "ms", shares=SHARES)
    across = f"in {len(set(scopes))} scopes"
    figures += spread(f"{across}: effect, acknowledged", [one.effect_ns for one in stopped], "ms", shares=SHARES)
    ended = [one.client_ended_ns for one in stopped]
    figures += spread(f"{across}: end of the client's call", ended, "ms", shares=SHARES)
    return Section(
        title="From a stop to its effect",
        text=(
            f"`headgate drill`, {runs} calls of each phase: streaming, stalled before the first byte, and in a retry. "
            f"Then {runs} calls of an agent that stream, stopped by "
            f"{', '.join(targets)} in turn; the client's end is seen from another process, the answer to the command "
            "included. A gateway acknowledges when the upstream is closed."
        ),
        figures=figures,
    )


def _drilled(site: Governed, runs: int) -> list[dict[str, Any]]:
    """What the command writes.

    Raises:
        RuntimeError: something of a stop did not happen.
    """
    command = [sys.executable, "-m", "headgate_console", "drill", "--runs", str(runs), "--json"]
    done = subprocess.run([*command, "--data", str(site.data)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"headgate drill ended with {done.returncode}: {done.stderr}")
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def _stopped(site: Governed, scope: str, target: str | None) -> Stopped:
    """A call that streams, stopped.

    Raises:
        RuntimeError: it was not cut, somebody was silent, or its client did not end.
    """
    body = {"model": ENDLESS, "stream": True, "max_tokens": 100_000, "messages": [{"role": "user", "content": "go"}]}
    asked = request(site.gateway, "/openai/v1/chat/completions", site.key, body, **{"x-session-id": SESSION})
    named: dict[str, object] = {"scope": scope, "reason": "bench", **({"id": target} if target is not None else {})}
    with Caller(site.gateway) as caller:
        caller.send(asked)
        answer = bytearray()
        while b"some words" not in answer:
            piece = caller.read()
            if not piece:
                raise RuntimeError(f"the call did not begin to stream: {bytes(answer[:1_000])!r}")
            answer += piece
        ended_ns: list[int] = []
        reader = threading.Thread(target=_until_over, args=(caller, answer, ended_ns), daemon=True)
        reader.start()
        began_ns = time.perf_counter_ns()
        is_told, said = site.client.command("/v1/stops", named)
        reader.join(SILENT_S)
    site.client.command("/v1/stops/resume", named)
    cut = sum(one["cut"] for one in said["effects"])
    if not is_told or not cut or not ended_ns:
        raise RuntimeError(f"a stop of {scope} {target} did not do all that it should: {said}")
    effect_ms = max(one["effect_ms"] for one in said["effects"])
    return Stopped(effect_ns=int(effect_ms * NS_PER_MS), client_ended_ns=ended_ns[0] - began_ns)


def _until_over(caller: Caller, answer: bytearray, ended_ns: list[int]) -> None:
    """Read to the end of an answer, and note when that was."""
    tail = bytearray(answer)
    while True:
        piece = caller.read()
        if not piece or piece.endswith(b"0\r\n\r\n") or is_whole(tail):
            ended_ns.append(time.perf_counter_ns())
            return
        tail = bytearray(piece[-64:])
