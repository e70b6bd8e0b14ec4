"""One `headgate up` for a whole module, with its model gateway in front of a scripted provider."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from headgate_analytics import open_views
from headgate_console.testing.commands import Run, runner
from headgate_console.testing.up import listeners
from headgate_processors.testing.model_server import ModelServer, parsed_scenario
from headgate_processors.testing.processes import descendants
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

HEADGATE = [sys.executable, "-m", "headgate_console"]
CONTROL = "headgate_console.serve.control"
PROVIDER_KEY = "sk-of-the-provider"
PARTS = {"otlp-grpc", "otlp-http", "otlp-platform", "console", "control", "model-gateway"}
END_S = 30.0
ANSWERS = """
turns: [{say: hello}]
usage: {input_tokens: 100, output_tokens: 10}
"""
STALLS = f"{ANSWERS}faults: [{{requests: [1], stall_s: 60, after_events: 1}}]\n"
MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {{name: fixer, team: {team}, workflow: fix-tests}}
spec:
  models: [{{provider: "*", model: "*"}}]
  tools: [{{tool: Bash}}]
  commands: ["pytest *"]
  budgets: [{{scope: instance, window: total, usd: 50, mode: hard}}]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSite:
    """A running `headgate up`, the provider behind it, and agents' calls through it."""

    folder: Path
    model: ModelServer
    process: "subprocess.Popen[str]"
    addresses: Mapping[str, str]
    secrets: list[str] = field(default_factory=list)

    @property
    def data(self) -> Path:
        """Folder of the store."""
        return self.folder / "store"

    def said(self) -> str:
        """What it wrote to its standard error."""
        return (self.folder / "up.err").read_text(encoding="utf-8")

    def url(self, part: str, path: str) -> str:
        """Where something is, on the listener of a part."""
        return f"http://{self.addresses[part]}{path}"

    def query(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query over the views."""
        with open_views(self.data) as connection:
            rows: list[dict[str, Any]] = connection.sql(sql).to_arrow_table().to_pylist()
            return rows

    def seen(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query as soon as there are some.

        Raises:
            TimeoutError: there are none in time.
        """
        wait_until(lambda: bool(self.query(sql)))
        return self.query(sql)

    def manifest(self, team: str = "payments") -> Path:
        """The file of a manifest for an agent of that team."""
        path = self.folder / f"{team}.yaml"
        path.write_text(MANIFEST.format(team=team), encoding="utf-8")
        return path

    def call(
        self, key: str, *, gateway: str | None = None, path: str = "/openai/v1", session: str | None = None, **more: Any
    ) -> httpx2.Response:
        """The answer to an agent's call of a model, read to its end."""
        body = {"model": "gpt-5", "max_completion_tokens": 50, "messages": [{"role": "user", "content": "hi"}], **more}
        where = f"http://{gateway or self.addresses['model-gateway']}{path}/chat/completions"
        headers = {"authorization": f"Bearer {key}", **({"x-session-id": session} if session is not None else {})}
        return httpx2.post(where, json=body, headers=headers, timeout=PATIENCE_S, trust_env=False)

    def ask(self, method: str, path: str, token: str | None, body: object = None) -> httpx2.Response:
        """What control answers whoever shows this token."""
        headers = {"authorization": f"Bearer {token}"} if token is not None else {}
        return httpx2.request(
            method, self.url("control", path), json=body, headers=headers, timeout=PATIENCE_S, trust_env=False
        )

    @property
    def admin(self) -> str:
        """The token of whoever may command."""
        return (self.data / "admin.token").read_text().strip()

    def control_pids(self) -> list[int]:
        """The processes of control: one, but for moments in which it is started again."""
        return descendants(self.process.pid, command=CONTROL)

    def kill_control(self) -> None:
        """End control as a crash would, and return when it listens where it did."""
        (pid,) = self.control_pids()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: pid not in self.control_pids())
        wait_until(self.is_answering)

    def is_answering(self) -> bool:
        """Whether control and its gateway take requests."""
        try:
            httpx2.get(self.url("model-gateway", "/"), trust_env=False)
            return self.ask("GET", "/v1/stops", self.admin).status_code == httpx2.codes.OK
        except httpx2.TransportError:
            return False


@contextmanager
def started(folder: Path, model: ModelServer, **more: str) -> Iterator[ControlSite]:
    """A `headgate up` on free ports; `more` are variables of its own."""
    upstreams = {
        "openai": {"base_url": f"{model.url}/v1", "api_key": "env:SCRIPTED_KEY"},
        "anthropic": {"base_url": model.url, "api_key": "env:SCRIPTED_KEY"},
    }
    variables = {
        "SCRIPTED_KEY": PROVIDER_KEY,
        "HEADGATE_GATEWAYS__MODEL__UPSTREAMS": json.dumps(upstreams),
        "HEADGATE_GATEWAYS__MODEL__LISTEN": "127.0.0.1:0",
        "HEADGATE_CONTROL__LISTEN": "127.0.0.1:0",
    }
    ports = [word for name in ("grpc", "http", "console", "platform") for word in (f"--{name}", "127.0.0.1:0")]
    with (folder / "up.err").open("a") as errors:
        process = subprocess.Popen(
            [*HEADGATE, "up", "--data", str(folder / "store"), *ports],
            env={**os.environ, **variables, **more},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    try:
        addresses = listeners(process, PARTS, said=folder / "up.err")
        yield ControlSite(folder=folder, model=model, process=process, addresses=addresses)
    finally:
        ended(process)


def ended(process: "subprocess.Popen[str]") -> None:
    """Ask a process to end; then nothing of its group lives on."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.fixture(scope="module")
def control_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlSite]:
    """A site that the tests of a module share; each takes agents and teams of its own."""
    with (
        ModelServer(parsed_scenario(ANSWERS)) as model,
        started(tmp_path_factory.mktemp("control"), model) as site,
    ):
        yield site


@pytest.fixture(autouse=True)
def _answering(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test had the provider play, the next one finds one that answers."""
    yield
    if "control_site" in request.fixturenames:
        request.getfixturevalue("control_site").model.play(parsed_scenario(ANSWERS))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, control_site: ControlSite) -> Run:
    """Run `headgate` on the folder of the site."""
    monkeypatch.chdir(control_site.folder)
    monkeypatch.setenv("HEADGATE_DATA", str(control_site.data))
    return runner(capsys)


Told = dict[str, Any]


@pytest.fixture
def told(run: Run) -> Callable[..., Any]:
    """Run a command that must succeed, and read the JSON that it writes."""

    def read(*arguments: str) -> Any:
        result = run(*arguments, "--json")
        assert 0 == result.code, result.err
        return json.loads(result.out)

    return read


@pytest.fixture
def agent(told: Callable[..., Any], control_site: ControlSite) -> Callable[..., Told]:
    """Registers an agent of a team: what `headgate instance create --json` says."""

    def create(team: str = "payments", *more: str) -> Told:
        made: Told = told("instance", "create", "--manifest", str(control_site.manifest(team)), *more)
        control_site.secrets.extend((made["gateway_key"], made["telemetry_token"]))
        return made

    return create


@pytest.fixture
def start_site() -> Callable[..., Any]:
    """Starts a site of a test's own."""
    return started


@contextmanager
def beside(site: ControlSite, name: str, token: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`headgate gateway model`, and where it listens."""
    upstreams = {"openai": {"base_url": f"{site.model.url}/v1", "api_key": "env:SCRIPTED_KEY"}}
    variables = {"SCRIPTED_KEY": PROVIDER_KEY, "HEADGATE_GATEWAYS__MODEL__UPSTREAMS": json.dumps(upstreams)}
    options = {
        "--control": site.url("control", ""),
        "--token-file": str(token),
        "--name": name,
        "--folder": str(site.folder / name),
        "--listen": "127.0.0.1:0",
        "--otlp": site.addresses["otlp-platform"],
    }
    with (site.folder / f"{name}.err").open("a") as errors:
        process = subprocess.Popen(
            [*HEADGATE, "gateway", "model", *(word for pair in options.items() for word in pair)],
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    try:
        told = listeners(process, {"model-gateway"}, said=site.folder / f"{name}.err")
        yield process, told["model-gateway"]
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def gateway_beside() -> Callable[..., Any]:
    """Starts a gateway of its own beside a site."""
    return beside


@pytest.fixture
def stalled_scenario() -> Any:
    """A provider whose first answer begins to stream and does not go on."""
    return parsed_scenario(STALLS)


@pytest.fixture
def headgate() -> list[str]:
    """How `headgate` is started as a process."""
    return HEADGATE
