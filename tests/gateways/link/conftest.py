"""A control that can be ended and started again at its address, and gateways that are linked to it."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from headgate_control.audit.log import AuditLog
from headgate_control.budgets.owner import BudgetOwner
from headgate_control.decide.service import DecisionService
from headgate_control.feed.budget_routes import RemoteBudgetRoutes
from headgate_control.feed.feed import Feed, FeedConfig
from headgate_control.feed.routes import FeedRoutes
from headgate_control.identity.launch import Launch, launch
from headgate_control.manifests.load import parse_manifest
from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.engine import PolicyEngine
from headgate_control.room import Room
from headgate_control.server.answers import told_errors
from headgate_control.server.doors import Caller, Doors
from headgate_control.server.stop_routes import StopRoutes
from headgate_control.state import ControlState
from headgate_control.stops.points import EnforcementPoints
from headgate_control.store.opening import open_sqlite
from headgate_gateways.link.address import ControlAddress
from headgate_gateways.link.budgets import RemoteBudgets
from headgate_gateways.link.link import ControlLink, LinkConfig
from headgate_gateways.link.unsettled import Unsettled
from headgate_gateways.model.application import application, provider_client
from headgate_gateways.model.cost import Pricing
from headgate_gateways.model.gateway import ModelGateway
from headgate_gateways.model.open_calls import OpenCalls
from headgate_gateways.model.upstream import Upstream
from headgate_processors.enrich.price import PriceBook
from headgate_processors.testing.model_server import ModelServer
from headgate_processors.testing.ports import free_port

PROVIDER_KEY = "sk-the-gateways-own"
BEAT_S = 0.05
CALLERS = {"operator": Caller(role="operator", name="ada"), "gateway": Caller(role="gateway", name="remote-1")}
MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: fixer, team: payments, workflow: fix-tests}
spec:
  models: [{provider: openai, model: "gpt-5*"}]
  budgets: [{usd: 5, tokens: 100000}]
"""


class Site:
    """Control and its store, at one address whether it runs or not."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.store = open_sqlite(folder / "control.db", writer="control-1")
        self.state = ControlState(self.store, _engine())
        grant = parse_manifest(MANIFEST, {}, source="manifest")
        made = launch(self.store, self.state.refresh().snapshot, Launch(grant=grant, launched_by="ada"))
        self.state.refresh()
        self.instance, self.key = made.instance.instance_id, made.gateway_key
        self.owner = BudgetOwner.open(folder / "budgets", self.state.now.budgets.values())
        self.points = EnforcementPoints()
        self.feed: Feed | None = None
        self.is_blind = False
        self.routes: list[web.RouteDef] = []
        self.tls: ssl.SSLContext | None = None
        self.ca_file: Path | None = None

    @property
    def url(self) -> str:
        """Where control is."""
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    @property
    def address(self) -> ControlAddress:
        """The same, for a gateway."""
        return ControlAddress(url=self.url, token=lambda: "gateway", ca_file=self.ca_file)

    def room(self) -> Room:
        """Control as its commands see it, its state read from the store anew."""
        self.state, self.points = ControlState(self.store, _engine()), EnforcementPoints()
        doors = Doors(keys=lambda: self.state.now.keys, authenticate=CALLERS.get, clock=lambda: 1)
        return Room(
            store=self.store,
            state=self.state,
            owner=self.owner,
            points=self.points,
            doors=doors,
            telemetry_token=lambda _: "",
        )

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """While control runs. Each time it is another run of it."""
        room = self.room()
        config = FeedConfig(beat_every_s=BEAT_S)
        self.feed = Feed(room.store, room.state, room.points, config, is_blind=lambda: self.is_blind)
        self.feed.start()
        budgets = RemoteBudgetRoutes(owner=self.owner, doors=room.doors, clock=room.clock)
        app = web.Application(middlewares=[told_errors])
        feed = FeedRoutes(feed=self.feed, doors=room.doors)
        theirs = {(one.method, one.path) for one in self.routes}
        ours = [*feed.routes(), *budgets.routes(), *StopRoutes(room=room).routes()]
        kept = [one for one in ours if isinstance(one, web.RouteDef) and (one.method, one.path) not in theirs]
        app.add_routes([*self.routes, *kept])
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True, ssl_context=self.tls).start()
        try:
            yield
        finally:
            self.feed.close()
            await runner.cleanup()

    async def command(self, path: str, scope: str, target: str = "") -> tuple[int, Any]:
        """Stop or resume, as an operator would."""
        body = {"scope": scope, "id": target, "reason": "it loops"}
        async with (
            aiohttp.ClientSession(headers={"authorization": "Bearer operator"}) as client,
            client.post(f"{self.url}{path}", json=body) as response,
        ):
            return response.status, await response.json()

    def run(self, steps: Callable[[], Any]) -> Any:
        """Steps that may take a minute."""

        async def go() -> Any:
            async with asyncio.timeout(60):
                return await steps()

        return asyncio.run(go())

    def close(self) -> None:
        """Let go of everything."""
        self.owner.close()
        self.store.close()


class Gateway:
    """A gateway of its own beside control: nothing is shared but the wire. Its clock may be put forward."""

    def __init__(self, site: Site, name: str = "remote") -> None:
        self.site, self.name, self.folder = site, name, site.folder / name
        self.folder.mkdir(exist_ok=True)
        self.calls = OpenCalls(calls_max=100)
        self.ahead_ns = 0
        self.link: Any = None
        self.budgets: Any = None
        self.address = ""

    def clock(self) -> int:
        """Its own monotonic clock."""
        return time.monotonic_ns() + self.ahead_ns

    @property
    def config(self) -> LinkConfig:
        """How it reads the feed: with less patience than in earnest."""
        return LinkConfig(
            point=self.name,
            snapshot=self.folder / "control.json",
            silence_s=2.0,
            backoff_s=0.02,
            backoff_max_s=0.1,
            keep_every_s=0.01,
        )

    @asynccontextmanager
    async def linked(self) -> AsyncIterator[Any]:
        """While it runs, without doors of its own."""
        async with self.site.address.client() as client:
            self.link = ControlLink(self.config, self.site.address, client, self.calls.cut, clock=self.clock)
            with closing(Unsettled.open(self.folder / "unsettled.jsonl")) as unsettled:
                self.budgets = RemoteBudgets(self.site.address, client, unsettled)
                tasks = [asyncio.create_task(one.run()) for one in (self.link, self.budgets)]
                try:
                    yield self.link
                finally:
                    for task in tasks:
                        task.cancel()
                    for task in tasks:
                        with suppress(asyncio.CancelledError):
                            await task

    @asynccontextmanager
    async def served(self, provider: ModelServer) -> AsyncIterator[Any]:
        """While it runs before a provider, and agents call it at `address`."""
        async with self.linked() as link, provider_client() as client:
            upstream = Upstream(
                name="openai", kind="openai", base_url=f"{provider.url}/v1", api_key=lambda: PROVIDER_KEY
            )
            with closing(AuditLog.open(self.folder / "log", self.name)) as log:
                gateway = ModelGateway(
                    upstreams={"openai": upstream},
                    state=lambda: link.state,
                    service=DecisionService(
                        lambda: link.state.snapshot,
                        self.budgets,
                        log,
                        enforcement_point=self.name,
                        limits=lambda: link.state.limits,
                    ),
                    budgets=self.budgets,
                    pricing=Pricing(book=PriceBook.load()),
                    client=client,
                    calls=self.calls,
                    is_stale=link.is_stale,
                )
                runner = web.AppRunner(application(gateway), handler_cancellation=True, shutdown_timeout=0.2)
                await runner.setup()
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                self.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
                try:
                    yield link
                finally:
                    await runner.cleanup()

    @asynccontextmanager
    async def chat(self, **body: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """A call of the site's agent."""
        said = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Say something."}], **body}
        headers = {"authorization": f"Bearer {self.site.key}"}
        async with (
            aiohttp.ClientSession(headers=headers) as client,
            client.post(f"{self.address}/openai/v1/chat/completions", json=said) as response,
        ):
            yield response


def _engine() -> PolicyEngine:
    return PolicyEngine(bundle_of({"a.cedar": '@id("all") permit(principal, action, resource);'}))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A fresh site; control does not run yet."""
    with closing(Site(tmp_path)) as made:
        yield made


@pytest.fixture
def gateway(site: Site) -> Gateway:
    """A gateway of the site, which does not run yet."""
    return Gateway(site)


@pytest.fixture
def another(site: Site) -> Callable[[str], Gateway]:
    """More gateways of the site, or the same ones started again."""
    return lambda name: Gateway(site, name)


@pytest.fixture
def provider() -> Iterator[ModelServer]:
    """A provider that takes the gateway's key alone."""
    with ModelServer("multi_step", keys=[PROVIDER_KEY]) as made:
        yield made
