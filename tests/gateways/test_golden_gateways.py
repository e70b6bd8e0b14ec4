"""The golden cases of models through the HTTP of a gateway: beside control, and alone behind its feed and budgets."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from headgate_control.audit.log import AuditLog
from headgate_control.budgets.amount import NOTHING, Amount
from headgate_control.budgets.owner import BudgetOwner
from headgate_control.budgets.port import Budgets, LocalBudgets
from headgate_control.decide.service import DecisionService, Look
from headgate_control.feed.budget_routes import RemoteBudgetRoutes
from headgate_control.feed.feed import Feed, FeedConfig
from headgate_control.feed.messages import records_of
from headgate_control.feed.routes import FeedRoutes
from headgate_control.identity.gateway_key import new_key
from headgate_control.manifests.load import parse_manifest
from headgate_control.policy.bundle import load_bundle
from headgate_control.policy.cases import Case, CaseFacts, load_cases
from headgate_control.policy.engine import PolicyEngine
from headgate_control.policy.trial import NOW_UNIX_NANO, Setting, decided, setting
from headgate_control.server.answers import told_errors
from headgate_control.server.doors import Caller, Doors
from headgate_control.state import ControlState, State
from headgate_control.stops.points import EnforcementPoints
from headgate_control.store.opening import open_sqlite
from headgate_control.store.record import Change
from headgate_control.testing.golden import last_row, named, spend, verdict
from headgate_gateways.link.address import ControlAddress
from headgate_gateways.link.budgets import RemoteBudgets
from headgate_gateways.link.link import ControlLink, LinkConfig
from headgate_gateways.link.unsettled import Unsettled
from headgate_gateways.model.application import application, provider_client
from headgate_gateways.model.asked import Asked
from headgate_gateways.model.call_facts import CallFacts
from headgate_gateways.model.cost import Pricing
from headgate_gateways.model.gateway import ModelGateway
from headgate_gateways.model.open_calls import OpenCalls
from headgate_gateways.model.refusal import code_of
from headgate_gateways.model.upstream import Upstream
from headgate_processors.enrich.price import PriceBook
from headgate_processors.testing.model_server import ModelServer

GOLDEN = Path(__file__).parents[1] / "control" / "golden"
ENGINE = PolicyEngine(load_bundle(GOLDEN))
CALLERS = {"gateway": Caller(role="gateway", name="gateway-1")}
PRICES = PriceBook.load()
EVERY_MODEL = parse_manifest(
    """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: every-model}
spec: {models: [{provider: "*", model: "*"}]}
""",
    {},
    source="manifest",
)
"""What stands in a store, and goes through a feed, in place of a case's own manifest that grants everything."""
SAY = {"messages": [{"role": "user", "content": "Say something."}]}


def is_call(case: Case) -> bool:
    """Whether an agent can ask it by calling a model, and all that decides it is known to its gateway.

    A gateway estimates every call itself, so whoever has budgets has an estimate too.
    """
    asked, known = case.request, CaseFacts(content_classes=case.facts.content_classes)
    is_plain = not asked.resource.properties and not asked.context.keys() - {"session"}
    is_estimated = not case.budgets or case.estimate is not None
    return asked.action == "model.call" and is_plain and is_estimated and case.facts == known


CASES = [case for file in load_cases(GOLDEN).values() for case in file.cases if is_call(case)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated(Pricing):
    """The prices of the list, and the estimate of a case."""

    most: Amount

    def estimate(self, provider: str, asked: Asked, at_unix_nano: int) -> Amount:
        """What the case says that the call may cost."""
        return self.most


class Wire:
    """A gateway in the state of a case, and the key of the instance that calls it."""

    def __init__(self, folder: Path, case: Case, provider: ModelServer) -> None:
        self.folder, self.case, self.provider = folder, case, provider
        self.tried: Setting = setting(case, ENGINE, grant=EVERY_MODEL if case.manifest is None else None)
        self.key, kept = new_key(
            self.tried.request.subject.id, created_unix_nano=NOW_UNIX_NANO - 1, expires_unix_nano=None
        )
        budgets = {one.budget_id: one for one in self.tried.budgets}
        self.state = State(snapshot=self.tried.snapshot, keys={kept.key_id: kept}, budgets=budgets)
        self.owner = BudgetOwner.open(folder / "budgets", self.tried.budgets)
        self.log = AuditLog.open(folder / "decisions", "gateway-1")
        spend(self.owner, self.tried)

    @asynccontextmanager
    async def served(
        self, state: Callable[[], State], budgets: Budgets, look: Look | None = None
    ) -> AsyncIterator[str]:
        """Where the gateway answers; its books are at hand where it can `look` into them."""
        async with provider_client() as client:
            names = {"openai", self.case.request.resource.id.partition("/")[0]}
            gateway = ModelGateway(
                upstreams={
                    name: Upstream(name=name, kind="openai", base_url=f"{self.provider.url}/v1", api_key=lambda: "sk")
                    for name in names
                },
                state=state,
                service=DecisionService(
                    lambda: state().snapshot,
                    budgets,
                    self.log,
                    enforcement_point="gateway-1",
                    clock=lambda: NOW_UNIX_NANO,
                    look=look,
                ),
                budgets=budgets,
                pricing=Estimated(book=PRICES, most=self.tried.estimate or NOTHING),
                client=client,
                calls=OpenCalls(calls_max=10),
                clock=lambda: NOW_UNIX_NANO,
                is_stale=lambda: self.case.stale,
                facts=CallFacts(lambda _: tuple(self.case.facts.content_classes)),
            )
            runner = web.AppRunner(application(gateway), handler_cancellation=True)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            try:
                yield f"http://127.0.0.1:{runner.addresses[0][1]}"
            finally:
                await runner.cleanup()

    async def called(self, address: str) -> tuple[int, Any, str | None]:
        """Status, answer and warning of the call of the case."""
        provider, _, model = self.case.request.resource.id.partition("/")
        session = self.case.request.context.get("session")
        headers = {"authorization": f"Bearer {self.key}", **({"x-session-id": session} if session else {})}
        async with (
            aiohttp.ClientSession(headers=headers) as client,
            client.post(f"{address}/{provider}/v1/chat/completions", json={"model": model, **SAY}) as response,
        ):
            return response.status, await response.json(), response.headers.get("x-headgate-warning")

    def close(self) -> None:
        """Let go of everything."""
        self.log.close()
        self.owner.close()


@pytest.fixture(scope="module")
def provider() -> Iterator[ModelServer]:
    """A provider that answers whatever model is asked for."""
    with ModelServer("multi_step") as made:
        yield made


@pytest.fixture
def wire(tmp_path: Path, case: Case, provider: ModelServer) -> Iterator[Wire]:
    """A gateway in the state of the case."""
    with closing(Wire(tmp_path, case, provider)) as made:
        yield made


def check(wire: Wire, status: int, answer: Any, warning: str | None) -> None:
    """The answer and the row say what was decided in process."""
    logged = decided(wire.tried)
    made = logged.decision
    refused = (403, code_of(made.code), made.reason, None)
    error = answer.get("error", {})
    expected = (200, None, None, "; ".join(made.warnings) or None) if made.allowed else refused
    assert expected == (status, error.get("code"), error.get("message"), warning)
    assert verdict(logged) == last_row(wire.folder / "decisions")


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_gateway_beside_control_says_the_same(wire: Wire) -> None:
    """In the provider's own shape, with the same row."""

    async def go() -> tuple[int, Any, str | None]:
        async with wire.served(lambda: wire.state, LocalBudgets(wire.owner), wire.owner.look) as address:
            return await wire.called(address)

    check(wire, *asyncio.run(go()))


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_gateway_alone_says_the_same(wire: Wire) -> None:
    """By what the feed of control has told it, and the books that control keeps."""

    async def go() -> tuple[int, Any, str | None]:
        async with (
            asyncio.timeout(30),
            linked(wire) as (link, budgets),
            wire.served(lambda: link.state, budgets) as address,
        ):
            return await wire.called(address)

    check(wire, *asyncio.run(go()))


@asynccontextmanager
async def linked(wire: Wire) -> AsyncIterator[tuple[ControlLink, RemoteBudgets]]:
    """A link to a control that has the state of the case in its store, and the budgets there."""
    with closing(open_sqlite(wire.folder / "control.db", writer="control-1")) as store:
        records: Iterable[dict[str, Any]] = records_of(wire.state)
        store.change(
            [Change(kind=one["kind"], id=one["id"], body=one["body"]) for one in records],
            author="case",
            action="case",
            reason="case",
        )
        state, points = ControlState(store, ENGINE), EnforcementPoints()
        doors = Doors(keys=lambda: state.now.keys, authenticate=CALLERS.get, clock=lambda: NOW_UNIX_NANO)
        with closing(Feed(store, state, points, FeedConfig(beat_every_s=0.05))) as feed:
            feed.start()
            async with _control(feed, doors, wire.owner) as url, _link(wire, url) as made:
                yield made


@asynccontextmanager
async def _control(feed: Feed, doors: Doors, owner: BudgetOwner) -> AsyncIterator[str]:
    budgets = RemoteBudgetRoutes(owner=owner, doors=doors, clock=lambda: NOW_UNIX_NANO)
    app = web.Application(middlewares=[told_errors])
    app.add_routes([*FeedRoutes(feed=feed, doors=doors).routes(), *budgets.routes()])
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        feed.close()
        await runner.cleanup()


@asynccontextmanager
async def _link(wire: Wire, url: str) -> AsyncIterator[tuple[ControlLink, RemoteBudgets]]:
    async with AsyncExitStack() as stack:
        address = ControlAddress(url=url, token=lambda: "gateway")
        client = await stack.enter_async_context(address.client())
        unsettled = stack.enter_context(closing(Unsettled.open(wire.folder / "unsettled.jsonl")))
        config = LinkConfig(point="gateway-1", snapshot=wire.folder / "control.json", backoff_s=0.02)
        calls = OpenCalls(calls_max=10)
        link = ControlLink(config, address, client, calls.cut)
        budgets = RemoteBudgets(address, client, unsettled, clock=lambda: NOW_UNIX_NANO)
        tasks = [asyncio.create_task(one.run()) for one in (link, budgets)]
        try:
            assert await link.heard(wait_s=20)
            yield link, budgets
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
