"""One recording: agent, model and sink together, and the files that come of it."""

import getpass
import gzip
import json
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from headgate_processors.testing.model_server import ModelServer, Scenario, Totals
from headgate_processors.testing.recorder.agents import Agent
from headgate_processors.testing.recorder.install import versions
from headgate_processors.testing.recorder.run import Ran, run_agent
from headgate_processors.testing.recorder.sink import OtlpSink, Received

QUIET_S = 1.5
_QUIET_AT_MOST_S = 15.0
_GZIP_TIME = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What came of a run: how it ended, what was sent, and what was true."""

    ran: Ran
    requests: Sequence[Received]
    totals: Totals
    path: Path


def record(
    agent: Agent, scenario: Scenario, *, name: str, prefix: Path, out: Path, quiet_s: float = QUIET_S
) -> Recorded:
    """Run an agent and write `NAME.jsonl.gz`, `expected.json` and `versions.txt` into `out`.

    `expected.json` says what the model server's journal says; other scenarios in it stay. Paths and names of this
    machine are replaced by dummies. What comes within `quiet_s` of the end, and of each other, is part of it.
    """
    with tempfile.TemporaryDirectory(prefix="headgate-record-") as temporary:
        folder = Path(temporary).resolve()
        variables = {"workspace": str(folder / "workspace")}
        with OtlpSink() as sink, ModelServer(scenario, variables=variables) as model:
            ran = run_agent(agent, scenario, prefix=prefix, folder=folder, model=model, endpoints=sink.endpoints)
            sink.wait_until_quiet(quiet_s=quiet_s, at_most_s=_QUIET_AT_MOST_S)
            requests, totals = sink.received(), model.journal.totals()
        dummies = _dummies(folder, prefix)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.jsonl.gz"
    _write_requests(path, requests, dummies)
    _write_expected(out / "expected.json", name, totals)
    (out / "versions.txt").write_text(versions(agent, prefix), encoding="utf-8")
    return Recorded(ran=ran, requests=requests, totals=totals, path=path)


def expected_of(totals: Totals) -> dict[str, list[int | None]]:
    """The acceptable values of each figure, in the form of `expected.json`: a zero may also be unknown."""
    figures = {
        "model_calls": totals.model_calls,
        "input_tokens": totals.usage.input_tokens,
        "output_tokens": totals.usage.output_tokens,
        "cache_read_tokens": totals.usage.cache_read_tokens,
        "tool_calls": totals.tool_calls,
        "sessions": 1,
    }
    counts = {"model_calls", "tool_calls", "sessions"}
    return {name: [value] if value or name in counts else [None, 0] for name, value in figures.items()}


def _write_requests(path: Path, requests: Sequence[Received], dummies: Mapping[str, str]) -> None:
    with path.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=_GZIP_TIME) as file:
        for seq, one in enumerate(requests, start=1):
            text = orjson.dumps(one.as_line(seq)).decode()
            for real, dummy in dummies.items():
                text = text.replace(real, dummy)
            file.write(text.encode() + b"\n")


def _write_expected(path: Path, name: str, totals: Totals) -> None:
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[name] = expected_of(totals)
    lines = [f'  "{scenario}": {json.dumps(figures)}' for scenario, figures in sorted(known.items())]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _dummies(folder: Path, prefix: Path) -> dict[str, str]:
    """What names this machine, and what stands for it; longer ones first."""
    return {
        str(folder / "workspace"): "/srv/project",
        str(folder / "home"): "/home/dev",
        str(folder): "/tmp/run",  # noqa: S108
        str(prefix): "/opt/agent",
        f'"{socket.gethostname()}"': '"dev-machine"',
        f'"{getpass.getuser()}"': '"dev"',
    }
