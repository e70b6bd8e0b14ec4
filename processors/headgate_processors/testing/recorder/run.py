"""Runs an agent once: in a fresh home and workspace, with nothing of our own environment, and not for ever."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headgate_processors.testing.model_server import ModelServer, Scenario
from headgate_processors.testing.recorder.agents import Agent
from headgate_processors.testing.recorder.install import executables

_POLL_S = 0.05
_END_S = 5.0
_OUTPUT_CHARS = 4000
# Nobody answers there: what an agent sends anywhere but to loopback fails at once.
_NOWHERE = "http://127.0.0.1:9"
RESOURCE = "deployment.environment.name=recorded,agent.instance.id=agt-0001,team=payments"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where telemetry goes, as URLs."""

    grpc: str
    http: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a run ended.

    `exit_code` is negative when a signal ended it; `killed` and `may_fail` say that the scenario wanted it so.
    """

    exit_code: int
    duration_s: float
    output: str
    killed: bool = False
    timed_out: bool = False
    may_fail: bool = False

    @property
    def failed(self) -> bool:
        """Whether it ended otherwise than it should."""
        return self.timed_out or (self.exit_code != 0 and not (self.killed or self.may_fail))


def run_agent(
    agent: Agent,
    scenario: Scenario,
    *,
    prefix: Path,
    folder: Path,
    model: ModelServer,
    endpoints: Endpoints,
    service: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> Ran:
    """Run the agent on the tasks of a scenario; `folder` gets its `home`, its `workspace` and its `output.txt`.

    `variables` are set in its environment in place of what stands there.

    Every process that it started is gone at the end.
    """
    place = prepare(scenario, folder)
    words = {
        "model_url": model.url,
        "otlp_grpc": endpoints.grpc,
        "otlp_http": endpoints.http,
        "scripts": str(agent.scripts),
        "prefix": str(prefix),
        **{name: str(path) for name, path in place.items()},
    }
    environment = _environment(agent, scenario, prefix, words, service or agent.name) | dict(variables or {})
    for name, text in agent.files.items():
        path = place["home"] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_filled(text, words), encoding="utf-8")
    ends_at = time.monotonic() + agent.time_limit_s
    ran: Ran | None = None
    for command, task in _commands(agent, scenario):
        filled = [_filled(word, {**words, "task": task}) for word in command]
        ran = _run(filled, environment, folder, ends_at=ends_at, should_die=_killer(scenario, model))
        if ran.exit_code != 0:
            break
    assert ran is not None
    return replace(ran, may_fail=scenario.agent_may_fail)


def prepare(scenario: Scenario, folder: Path) -> dict[str, Path]:
    """The fresh home and workspace of a run."""
    place = {"home": folder / "home", "workspace": folder / "workspace"}
    for path in place.values():
        path.mkdir(parents=True, exist_ok=True)
    for name, text in scenario.files.items():
        (place["workspace"] / name).write_text(text, encoding="utf-8")
    return place


def _commands(agent: Agent, scenario: Scenario) -> list[tuple[Sequence[str], str]]:
    first: tuple[Sequence[str], str] = (agent.command, scenario.task)
    later = scenario.tasks_after if agent.command_after else ()
    return [first, *((agent.command_after, task) for task in later)]


def _environment(
    agent: Agent, scenario: Scenario, prefix: Path, words: Mapping[str, str], service: str
) -> dict[str, str]:
    path = [*map(str, executables(prefix)), os.environ.get("PATH", os.defpath)]
    return {
        "PATH": os.pathsep.join(path),
        "HOME": words["home"],
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "PYTHONPATH": words["scripts"],
        "HTTP_PROXY": _NOWHERE,
        "HTTPS_PROXY": _NOWHERE,
        "http_proxy": _NOWHERE,
        "https_proxy": _NOWHERE,
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "RECORDER_TASKS": json.dumps([scenario.task, *scenario.tasks_after]),
        "OPENAI_BASE_URL": f"{words['model_url']}/v1",
        "OPENAI_API_KEY": "sk-dummy",
        "ANTHROPIC_BASE_URL": words["model_url"],
        "ANTHROPIC_API_KEY": "sk-ant-dummy",
        "OTEL_SERVICE_NAME": service,
        "OTEL_RESOURCE_ATTRIBUTES": RESOURCE,
        "OTEL_EXPORTER_OTLP_ENDPOINT": words["otlp_grpc"],
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_METRIC_EXPORT_INTERVAL": "5000",
        "OTEL_BSP_SCHEDULE_DELAY": "1000",
        **{name: _filled(text, words) for name, text in agent.environment.items()},
    }


def _run(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    *,
    ends_at: float,
    should_die: Callable[[], bool],
) -> Ran:
    began = time.monotonic()
    printed = folder / "output.txt"
    with printed.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603
            command,
            cwd=folder / "workspace",
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    killed = timed_out = False
    try:
        while process.poll() is None and not (killed or timed_out):
            killed, timed_out = should_die(), time.monotonic() > ends_at
            time.sleep(_POLL_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return Ran(
        exit_code=process.wait(_END_S),
        duration_s=time.monotonic() - began,
        output=printed.read_text(encoding="utf-8", errors="replace")[-_OUTPUT_CHARS:],
        killed=killed,
        timed_out=timed_out,
    )


def _killer(scenario: Scenario, model: ModelServer) -> Callable[[], bool]:
    """Says when the scenario wants the agent dead."""
    kill = scenario.kill
    reached_at: list[float] = []

    def should_die() -> bool:
        if kill is None:
            return False
        if not reached_at and len(model.journal.exchanges()) >= kill.after_requests:
            reached_at.append(time.monotonic())
        return bool(reached_at) and time.monotonic() >= reached_at[0] + kill.wait_s

    return should_die


def _filled(text: str, words: Mapping[str, str]) -> str:
    for name, word in words.items():
        text = text.replace(f"{{{name}}}", word)
    return text
