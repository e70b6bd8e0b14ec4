"""`make demo`: starts Headgate, sends it what real agents sent, and shows what it tells of them."""

import argparse
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from headgate_console.cli.app import app
from headgate_console.cli.screen import Screen, screen
from headgate_console.demo.collector import in_front
from headgate_console.demo.fleet import running, send_recordings, wait_until_derived
from headgate_console.demo.governed import looping_agent, provider, wait_until_seen
from headgate_console.errors import CommandError
from headgate_console.queries.opening import open_views
from headgate_console.queries.rows import fetch
from headgate_console.settings import load_settings
from headgate_processors.errors import HeadgateError

if TYPE_CHECKING:
    import duckdb

INTERESTING = {
    "timeline": "len(agent_names) DESC, tool_call_count DESC",
    "loop": "tool_error_count DESC",
}
STREAMING_S_MAX = 30.0
STORE_MARK = "store.json"


def main() -> None:
    """Run the demo; what it made stays in its folder, to be looked at."""
    parser = argparse.ArgumentParser(prog="python -m headgate_console.demo", description=main.__doc__)
    parser.add_argument("--data", type=Path, default=Path("demo-data"), metavar="DIR", help="the demo's folder")
    data = parser.parse_args().data
    try:
        _make_room(data)
        _show(screen(), data)
    except HeadgateError as error:
        sys.stderr.write(f"headgate: {error}\n")
        sys.exit(1)


def _make_room(data: Path) -> None:
    """Remove what an earlier demo left; never a folder that is something else."""
    if data.exists() and any(data.iterdir()) and not (data / STORE_MARK).exists():
        message = f"{data} is no folder of a demo: give another one with --data."
        raise CommandError(message)
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)


def _show(to: Screen, data: Path) -> None:
    to.show([_title("Headgate: what your agents did, what it cost, and who they were"), ""])
    with (
        provider() as variables,
        running(data, data / "up.log", variables) as listeners,
        in_front(listeners["otlp-grpc"], data) as collector,
    ):
        to.show([f"Started on {listeners['otlp-grpc']} (OTLP/gRPC) and {listeners['otlp-http']} (OTLP/HTTP)."])
        way = (
            f"through the OpenTelemetry Collector on {collector}"
            if collector
            else "straight to it, without a Collector"
        )
        to.show([f"Sending what ten real, unmodified agents sent, as OTLP over gRPC, {way}:"])
        sent = send_recordings(f"grpc://{collector or listeners['otlp-grpc']}")
        to.show([f"  {line}" for line in sent.splitlines()])
        sessions = wait_until_derived(data)
        to.show([f"  stitched  {sessions} sessions"])
        picked = _pick(data)
        _step(to, "The fleet: which agents ran, for whom", ["sessions"], data)
        _step(to, "One session: an agent and its sub-agent, in order", ["session", picked["timeline"][:12]], data)
        _step(to, "The ledger: every tool call, in words", ["ledger", "--limit", "12"], data)
        groups = [part for name in ("team", "workflow", "model") for part in ("--by", name)]
        _step(to, "The bill: by team, workflow and model, and what has no price", ["cost", *groups], data)
        _govern(to, data)
    to.show(_next(data, picked))


def _govern(to: Screen, data: Path) -> None:
    """An agent that loops is watched, paid from its budget, and stopped in the middle of an answer."""
    title = "An agent behind the model gateway, with a manifest, a budget of $0.20 and a key: it loops"
    to.show(["", _title(title), ""])
    with looping_agent(data, lambda line: to.show([f"  {line}"])) as (instance_id, agent):
        agent.streaming.wait(STREAMING_S_MAX)
        _step(to, "Its budget runs down; the answer that streams is reserved for", ["budget", "show"], data)
        reason = ["--reason", "loops on one failing test"]
        _step(
            to,
            "Stop it: its stream, the provider's connection, and whatever it tries next",
            ["stop", "instance", instance_id, *reason],
            data,
        )
        agent.ended()
    wait_until_seen(data, instance_id)
    _step(to, "The receipt: who it was, what it spent, what was decided", ["instance", "show", instance_id], data)
    _step(to, "Every decision, the last first", ["decisions", "--instance", instance_id, "--limit", "4"], data)


def _pick(data: Path) -> dict[str, str]:
    with open_views(load_settings({"data": data}).settings) as views:
        return {name: _first(views, order) for name, order in INTERESTING.items()}


def _first(views: "duckdb.DuckDBPyConnection", order: str) -> str:
    row = fetch(views, f"SELECT session_id FROM sessions ORDER BY {order}, session_id LIMIT 1")[0]
    return str(row["session_id"])


def _step(to: Screen, title: str, arguments: list[str], data: Path) -> None:
    to.show(["", _title(title), Text(f"$ {_headgate()} {shlex.join(arguments)} --data {data}", "cyan"), ""])
    sys.stdout.flush()
    app([*arguments, "--data", str(data)], prog_name="headgate", standalone_mode=False)
    sys.stdout.flush()
    sys.stderr.flush()


def _title(text: str) -> Text:
    return Text(text, "bold")


def _headgate() -> str:
    """The command as one would type it here."""
    beside = Path(sys.executable).with_name("headgate")
    try:
        return str(beside.relative_to(Path.cwd()))
    except ValueError:
        return "headgate"


def _next(data: Path, picked: dict[str, str]) -> list[Text | str]:
    command, loop = _headgate(), picked["loop"][:12]
    commands = {
        f"session {loop} --data {data}": "an agent that fails at the same thing again and again",
        f"ledger --action command --data {data}": "what was run on a machine, by whom",
        f'sql "FROM model_calls" --data {data}': "any question, in SQL",
        f"doctor --data {data}": "what Headgate could not read, count or price, and what to do",
        "up": "take telemetry of your own agents on 4317 and 4318",
    }
    lines: list[Text | str] = ["", _title("Try next")]
    for arguments, what in commands.items():
        lines += [Text(f"  {command} {arguments}", "cyan"), f"      {what}"]
    lines += ["  For an agent of yours: docs/guides/connect-an-agent.md. Everything of this demo is in " + f"{data}/."]
    return lines


if __name__ == "__main__":
    main()
