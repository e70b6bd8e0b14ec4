"""Real agents behind the model gateway, pointed there by environment variables alone: governed, metered, stopped."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headgate_analytics import open_views
from headgate_console.testing.up import listeners
from headgate_processors.testing.model_server import ModelServer, load_scenario
from headgate_processors.testing.recorder import Endpoints, Ran, install, load_agent, run_agent
from headgate_processors.testing.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
AGENTS = ROOT / "tests" / "recordings" / "recorder"
PREFIXES = ROOT / "build" / "agents"
HEADGATE = [sys.executable, "-m", "headgate_console"]
END_S = 30.0
MORE = ROOT / "tests" / "live" / "governed"
NAMES = ("openai-agents", "anthropic-sdk", "claude-code", "codex-cli", "langchain-anthropic", "vercel-ai")
SILENT = {"vercel-ai"}
PARTS = {"otlp-grpc", "otlp-http", "control", "model-gateway"}
MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: fixer, team: payments, workflow: fix-tests}
spec:
  models: [{provider: "*", model: "*"}]
  budgets: [{scope: instance, window: total, usd: 50, mode: hard}]
"""
pytestmark = [pytest.mark.slow, pytest.mark.e2e]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """`headgate up` with the model gateway in front of a scripted model server."""

    folder: Path
    model: ModelServer
    addresses: Mapping[str, str]

    def headgate(self, *arguments: str) -> Any:
        """What a command writes as JSON."""
        command = [*HEADGATE, *arguments, "--data", str(self.folder / "store"), "--json"]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def query(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query over the views."""
        with open_views(self.folder / "store") as connection:
            rows: list[dict[str, Any]] = connection.sql(sql).to_arrow_table().to_pylist()
            return rows

    def run(self, name: str, variables: Mapping[str, str], folder: Path) -> Ran:
        """Run an agent as the recorder does, in the environment that `instance create` printed."""
        agent = load_agent(MORE if (MORE / "agents" / f"{name}.yaml").exists() else AGENTS, name)
        grpc, http = (f"http://{self.addresses[part]}" for part in ("otlp-grpc", "otlp-http"))
        scripts = os.pathsep.join(str(one / "scripts") for one in (MORE, AGENTS))
        return run_agent(
            agent,
            load_scenario("multi_step"),
            prefix=install(agent, PREFIXES),
            folder=folder,
            model=self.model,
            endpoints=Endpoints(grpc=grpc, http=http),
            variables={**variables, "PYTHONPATH": scripts},
        )


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site on free ports."""
    workspace = str(tmp_path / "agent" / "workspace")
    with ModelServer(load_scenario("multi_step"), variables={"workspace": workspace}) as model:
        upstreams = {
            "openai": {"base_url": f"{model.url}/v1", "api_key": "env:SCRIPTED_KEY"},
            "anthropic": {"base_url": model.url, "api_key": "env:SCRIPTED_KEY"},
        }
        variables = {
            "SCRIPTED_KEY": "sk-of-the-provider",
            "HEADGATE_GATEWAYS__MODEL__UPSTREAMS": json.dumps(upstreams),
            "HEADGATE_GATEWAYS__MODEL__LISTEN": "127.0.0.1:0",
            "HEADGATE_CONTROL__LISTEN": "127.0.0.1:0",
        }
        ports = [word for name in ("grpc", "http", "console", "platform") for word in (f"--{name}", "127.0.0.1:0")]
        with (tmp_path / "up.err").open("w") as errors:
            process = subprocess.Popen(
                [*HEADGATE, "up", "--data", str(tmp_path / "store"), *ports],
                env={**os.environ, **variables},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        try:
            addresses = listeners(process, PARTS, said=tmp_path / "up.err")
            yield Site(folder=tmp_path, model=model, addresses=addresses)
        finally:
            _end(process)


@pytest.mark.parametrize("name", NAMES)
def test_an_agent_is_governed_metered_and_stopped_by_environment_alone(name: str, site: Site) -> None:
    """Every call is decided, told by two witnesses in one session, paid from the budget; after a stop none passes."""
    manifest = site.folder / "fixer.yaml"
    manifest.write_text(MANIFEST, encoding="utf-8")
    made = site.headgate("instance", "create", "--manifest", str(manifest), "--user", "ada")
    ran = site.run(name, made["environment"], site.folder / "agent")
    assert not ran.failed, ran.output
    totals = site.model.journal.totals()
    calls = "FROM model_calls WHERE operation <> 'embeddings' AND error_type IS NULL"
    figures = (
        f"SELECT count(*) AS calls, sum(input_tokens)::BIGINT AS input_tokens, "
        f"count(*) FILTER (WHERE list_contains(witnesses, 'gateway')) AS seen_by_gateway, "
        f"count(*) FILTER (WHERE list_contains(witnesses, 'client')) AS seen_by_client, "
        f"count(DISTINCT session_id) AS sessions, count(decision_id) AS decided, "
        f"count(*) FILTER (WHERE identity_source = 'verified' AND instance_id = '{made['instance_id']}') AS verified "
        f"{calls}"
    )
    expected = {
        "calls": totals.model_calls,
        "input_tokens": totals.usage.input_tokens,
        "seen_by_gateway": totals.model_calls,
        "seen_by_client": 0 if name in SILENT else totals.model_calls,
        "sessions": 1,
        "decided": totals.model_calls,
        "verified": totals.model_calls,
    }
    assert expected == eventually(site, figures, expected)
    spent = site.headgate("budget", "show")[0]
    assert spent["settled_tokens"] == totals.usage.input_tokens + totals.usage.output_tokens
    stopped = site.headgate("stop", "instance", made["instance_id"], "--reason", "enough")
    assert [one["enforcement_point"] for one in stopped["effects"]] == ["model-gateway"]
    before = len(site.model.journal.exchanges())
    site.run(name, made["environment"], site.folder / "again")
    assert len(site.model.journal.exchanges()) == before
    denied = {"effect": "deny", "code": "stopped"}
    query = "SELECT effect, code FROM decisions ORDER BY time DESC LIMIT 1"
    assert denied == eventually(site, query, denied)


def eventually(site: Site, sql: str, expected: Mapping[str, Any]) -> dict[str, Any]:
    """The first row of a query once it is as expected, or as it is when it never was."""
    found: dict[str, Any] = {}

    def is_so() -> bool:
        nonlocal found
        rows = site.query(sql)
        found = rows[0] if rows else {}
        return found == expected

    with contextlib.suppress(TimeoutError):
        wait_until(is_so)
    return found


def _end(process: "subprocess.Popen[str]") -> None:
    """Ask it to end; then nothing of its group lives on."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
