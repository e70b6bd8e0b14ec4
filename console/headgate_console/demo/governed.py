"""The end of the demo: an agent that loops through the model gateway, its budget, and the stop that ends it."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from headgate_console.control.client import control_client
from headgate_console.control.surroundings import agent_environment
from headgate_console.errors import CommandError
from headgate_console.queries.opening import open_views
from headgate_console.queries.rows import fetch
from headgate_console.settings import load_settings
from headgate_processors.testing.model_server import ModelServer

AGENT = "headgate_console.demo.looping_agent"
KEY_VARIABLE = "DEMO_PROVIDER_KEY"
SEEN_S_MAX = 30.0


@contextmanager
def provider() -> Iterator[Mapping[str, str]]:
    """A scripted model provider; the variables that put it behind the model gateway of a `headgate up`."""
    with (
        resources.as_file(resources.files("headgate_console.demo") / "looping.yaml") as scenario,
        ModelServer(scenario) as model,
    ):
        upstreams = {"openai": {"base_url": f"{model.url}/v1", "api_key": f"env:{KEY_VARIABLE}"}}
        yield {"HEADGATE_GATEWAYS__MODEL__UPSTREAMS": json.dumps(upstreams), KEY_VARIABLE: "of the provider"}


@dataclass(slots=True)
class LoopingAgent:
    """The agent as a process; what it says is handed on as it comes."""

    process: "subprocess.Popen[str]"
    said: Callable[[str], None]
    streaming: threading.Event = field(default_factory=threading.Event)
    _listener: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._listener = threading.Thread(target=self._listen, name="demo-agent", daemon=True)
        self._listener.start()

    def ended(self) -> int:
        """Wait for its end; its exit code."""
        self._listener.join(SEEN_S_MAX)
        return self.process.wait(SEEN_S_MAX)

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.said(line.rstrip())
                if "begins to stream" in line:
                    self.streaming.set()
        self.streaming.set()


@contextmanager
def looping_agent(data: Path, said: Callable[[str], None]) -> Iterator[tuple[str, LoopingAgent]]:
    """Register the agent and start it, in the environment that `headgate instance create` prints; its id, and itself.

    Raises:
        CommandError: control cannot be reached.
    """
    settings = load_settings({"data": data}).settings
    client = control_client(settings)
    manifest = (resources.files("headgate_console.demo") / "fixer.yaml").read_text(encoding="utf-8")
    made = client.post("/v1/instances", body={"manifest": manifest, "source": "fixer.yaml", "user": "ada"})
    addresses = json.loads((data / "control" / "addresses.json").read_text(encoding="utf-8"))
    variables = agent_environment(
        instance_id=made["instance_id"],
        gateway_key=made["gateway_key"],
        telemetry_token=made["telemetry_token"],
        control=addresses["control"],
        gateway=addresses["model"],
        otlp=addresses["otlp"],
    )
    process = subprocess.Popen(  # noqa: S603 - our own module, no shell
        [sys.executable, "-m", AGENT], stdout=subprocess.PIPE, text=True, env={**os.environ, **variables}
    )
    try:
        yield made["instance_id"], LoopingAgent(process, said)
    finally:
        process.kill()
        process.wait()


def wait_until_seen(data: Path, instance_id: str) -> None:
    """Wait until the views tell of the denial, and of the calls before it.

    Raises:
        CommandError: they did not in time.
    """
    settings = load_settings({"data": data}).settings
    deadline = time.monotonic() + SEEN_S_MAX
    query = (
        "SELECT (SELECT count(*) FROM decisions WHERE instance_id = ?1 AND code = 'stopped') AS denied,"
        " (SELECT count(*) FROM decisions WHERE instance_id = ?1 AND decision) AS allowed,"
        " (SELECT count(*) FROM model_calls WHERE instance_id = ?1) AS calls"
    )
    while time.monotonic() < deadline:
        with open_views(settings, only=("decisions", "model_calls")) as views:
            found = fetch(views, query, [instance_id])[0]
        if found["denied"] and found["calls"] >= found["allowed"]:
            return
        time.sleep(0.2)
    message = "the decisions did not reach the store; see headgate doctor"
    raise CommandError(message)
