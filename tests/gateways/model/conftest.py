"""A site with two instances, a real gateway before a scripted provider, and a real client."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from headgate_control.audit.log import AuditLog
from headgate_control.budgets.amount import Limits
from headgate_control.budgets.budget import Budget
from headgate_control.budgets.owner import BudgetOwner
from headgate_control.budgets.port import LocalBudgets
from headgate_control.decide.service import DecisionService
from headgate_control.identity.launch import Launch, launch
from headgate_control.manifests.grant import Grant
from headgate_control.manifests.load import parse_manifest
from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.engine import PolicyEngine
from headgate_control.state import ControlState
from headgate_control.stops.commands import stop
from headgate_control.stops.stop import Mode, parse_key
from headgate_control.store.opening import open_sqlite
from headgate_gateways.model.application import application, provider_client
from headgate_gateways.model.bodies import Bodies
from headgate_gateways.model.call_facts import CallFacts
from headgate_gateways.model.cost import Conservative, Pricing
from headgate_gateways.model.gateway import ModelGateway
from headgate_gateways.model.open_calls import OpenCalls
from headgate_gateways.model.routing import Routing
from headgate_gateways.model.telling import Telling
from headgate_gateways.model.unfinished import Unfinished
from headgate_gateways.model.upstream import Upstream
from headgate_gateways.serving import listening
from headgate_processors.enrich.price import PriceBook
from headgate_processors.testing.model_server import ModelServer

PROVIDER_KEY = "sk-the-gateways-own"
MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: fixer, team: payments, workflow: fix-tests}
spec:
  models:
    - {provider: openai, model: "gpt-5*"}
    - {provider: openai, model: "text-*"}
    - {provider: anthropic, model: "claude-*"}
  budgets: [{usd: 5, tokens: 100000}]
"""


class Site:
    """Control, one gateway and a scripted provider; `instances` and `keys` are of two agents."""

    def __init__(self, folder: Path, server: ModelServer) -> None:
        self.folder, self.provider = folder, server.url
        self.server = server
        self.store = open_sqlite(folder / "control.db", writer="control-1")
        policy = PolicyEngine(bundle_of({"a.cedar": '@id("all") permit(principal, action, resource);'}))
        self.state = ControlState(self.store, policy)
        self.instances: list[str] = []
        self.keys: list[str] = []
        self._launch(parse_manifest(MANIFEST, {}, source="manifest"), "ada", "bob")
        self.owner = BudgetOwner.open(folder / "budgets", self.state.now.budgets.values())
        self.log = AuditLog.open(folder / "decisions", "gateway-1")
        self.calls = OpenCalls(calls_max=100)
        self.prices, self.unpriced = PriceBook.load(), Conservative()
        self.spans, self.logs = InMemorySpanExporter(), InMemoryLogRecordExporter()
        self.telling = Telling(self.spans, self.logs)
        self.routing = Routing()
        self.body_s = 60.0
        self.facts, self.bodies = CallFacts(), Bodies()
        self.more: dict[str, Upstream] = {}
        self.unfinished: Unfinished | None = None

    def _launch(self, grant: Grant, *names: str) -> None:
        for name in names:
            made = launch(self.store, self.state.refresh().snapshot, Launch(grant=grant, launched_by=name))
            self.instances.append(made.instance.instance_id)
            self.keys.append(made.gateway_key)
        self.state.refresh()

    def join(self, grant: Grant, *, launched_by: str) -> None:
        """Another agent, by its own manifest."""
        self._launch(grant, launched_by)
        for budget in self.state.now.budgets.values():
            if budget.place == ("instance", self.instances[-1]):
                self.owner.set(budget)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """The address of the gateway while it is served."""
        client = provider_client()
        upstreams = {
            "openai": Upstream(
                name="openai", kind="openai", base_url=f"{self.provider}/v1", api_key=lambda: PROVIDER_KEY
            ),
            "anthropic": Upstream(
                name="anthropic", kind="anthropic", base_url=self.provider, api_key=lambda: PROVIDER_KEY
            ),
        }
        budgets = LocalBudgets(self.owner)
        gateway = ModelGateway(
            upstreams={**upstreams, **self.more},
            state=lambda: self.state.now,
            service=DecisionService(
                lambda: self.state.now.snapshot,
                budgets,
                self.log,
                enforcement_point="gateway-1",
                limits=lambda: self.state.now.limits,
            ),
            budgets=budgets,
            pricing=Pricing(book=self.prices, unpriced=self.unpriced),
            client=client,
            calls=self.calls,
            teller=self.telling,
            routing=self.routing,
            body_s=self.body_s,
            facts=self.facts,
            bodies=self.bodies,
            unfinished=self.unfinished,
        )
        try:
            async with listening(application(gateway), "127.0.0.1", 0) as address:
                yield f"http://{address}"
        finally:
            await client.close()

    def run(self, steps: Callable[["Agent"], Any], *, key: int = 0) -> Any:
        """What an agent does through the gateway."""

        async def go() -> Any:
            async with self.agent(key=key) as agent:
                return await steps(agent)

        return asyncio.run(go())

    @asynccontextmanager
    async def agent(self, *, key: int = 0) -> AsyncIterator["Agent"]:
        """An agent and the gateway that it calls."""
        async with self.served() as address, aiohttp.ClientSession(auto_decompress=False) as client:
            yield Agent(self, address, client, self.keys[key])

    async def stop(self, scope: str, target: str | None, *, mode: Mode = "stop") -> int:
        """Stop something; how many open calls it cut."""
        stop(self.store, parse_key(scope, target), mode=mode, author="ada", reason="it loops")
        stops = self.state.refresh().snapshot.stops
        return await self.calls.cut(lambda facts: stops.matching(facts, at_unix_nano=0))

    def budget(self, place: str = "instance") -> Budget:
        """The budget of the first agent."""
        return next(one for one in self.state.now.budgets.values() if one.place == (place, self.instances[0]))

    def limit(self, **limits: int) -> None:
        """Let the first agent spend no more than this."""
        self.owner.set(replace(self.budget(), limits=Limits(**limits)))

    def told(self) -> list[ReadableSpan]:
        """The spans that the gateway has told, the oldest first."""
        self.telling.flush()
        return list(self.spans.get_finished_spans())

    def decisions(self) -> list[ReadableLogRecord]:
        """The decisions that it has told."""
        self.telling.flush()
        return list(self.logs.get_finished_logs())

    def close(self) -> None:
        """Let go of everything."""
        self.telling.close()
        self.log.close()
        self.owner.close()
        self.store.close()


class Agent:
    """Calls the gateway as an agent would."""

    def __init__(self, site: Site, address: str, client: aiohttp.ClientSession, key: str) -> None:
        self.site, self.address, self.client, self.key = site, address, client, key

    def chat(self, **body: Any) -> Any:
        """A call of chat completions, as a context of its response."""
        return self.post("/openai/v1/chat/completions", {"model": "gpt-5-mini", "messages": _SAY, **body})

    def messages(self, **body: Any) -> Any:
        """A call of Anthropic's messages."""
        given = {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": _SAY, **body}
        return self.post("/anthropic/v1/messages", given, headers={"x-api-key": self.key})

    def post(self, path: str, body: Any, *, headers: dict[str, str] | None = None) -> Any:
        """A POST with the agent's key."""
        shown = headers if headers is not None else {"authorization": f"Bearer {self.key}"}
        return self.client.post(self.address + path, json=body, headers=shown)

    def get(self, path: str) -> Any:
        """A GET with the agent's key."""
        return self.client.get(self.address + path, headers={"authorization": f"Bearer {self.key}"})


_SAY = [{"role": "user", "content": "Say something."}]


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """A provider that takes the gateway's key alone."""
    with ModelServer("multi_step", keys=[PROVIDER_KEY]) as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, server: ModelServer) -> Iterator[Site]:
    """A fresh site before the provider."""
    with closing(Site(tmp_path, server)) as made:
        yield made
