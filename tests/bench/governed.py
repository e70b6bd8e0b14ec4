"""`headgate up` with a provider behind its model gateway, and one agent that may call it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet import headgate_up

from headgate_console.control.client import ControlClient, control_client
from headgate_console.settings import load_settings
from headgate_processors.testing.processes import descendants

LISTENERS = {"otlp-grpc", "console", "control", "model-gateway"}
PROCESS = "serve.control"
MODEL = "gpt-5-mini"
TEAM, WORKFLOW, USER = "payments", "fix-tests", "ada"
MANIFEST = f"""
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {{name: fixer, team: {TEAM}, workflow: {WORKFLOW}}}
spec:
  models: [{{provider: openai, model: "gpt-5*"}}]
  budgets: [{{scope: instance, window: total, usd: 1000000, mode: hard}}]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Governed:
    """A site that runs: `gateway` and `control` are addresses; `main_pid` is above all, `pid` is control's own."""

    data: Path
    main_pid: int
    pid: int
    gateway: str
    control: str
    client: ControlClient
    instance_id: str
    key: str = field(repr=False)


@contextmanager
def governed_up(data: Path, *, provider: str, policies: Path | None = None) -> Iterator[Governed]:
    """The site before the provider at this address, by the policies of a folder."""
    upstreams = {"openai": {"base_url": f"http://{provider}/v1", "api_key": "env:BENCH_KEY"}}
    variables = {"HEADGATE_GATEWAYS__MODEL__UPSTREAMS": json.dumps(upstreams), "BENCH_KEY": "of the provider"}
    if policies is not None:
        variables["HEADGATE_POLICY__DIR"] = str(policies)
    with headgate_up(data, variables=variables, names=LISTENERS) as running:
        client = control_client(load_settings({"data": data}).settings)
        made: dict[str, Any] = client.post(
            "/v1/instances", body={"manifest": MANIFEST, "source": "bench", "user": USER}
        )
        yield Governed(
            data=data,
            main_pid=running.process.pid,
            pid=descendants(running.process.pid, command=PROCESS)[0],
            gateway=running.listeners["model-gateway"],
            control=running.listeners["control"],
            client=client,
            instance_id=made["instance_id"],
            key=made["gateway_key"],
        )
