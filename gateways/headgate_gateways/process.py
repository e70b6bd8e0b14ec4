"""A model gateway as a process of its own, against a control that is elsewhere.

It decides by what the feed has told it, has the chain of its decisions on its own disk, and asks control for budgets
alone. It starts without control too, from what it knew last: stale, so that nothing with effects passes until the feed
speaks.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from headgate_control.audit.log import AuditLog
from headgate_control.decide.service import DecisionService
from headgate_control.identity.credentials import Credentials
from headgate_control.identity.foreign_tokens import ForeignTokens
from headgate_gateways.link.address import ControlAddress
from headgate_gateways.link.budgets import RemoteBudgets
from headgate_gateways.link.link import ControlLink, LinkConfig
from headgate_gateways.link.unsettled import Unsettled
from headgate_gateways.model.application import application, provider_client
from headgate_gateways.model.call_facts import CallFacts, Classes
from headgate_gateways.model.cost import Conservative, Pricing
from headgate_gateways.model.gateway import CALLS_MAX, ModelGateway
from headgate_gateways.model.left import tell_left
from headgate_gateways.model.open_calls import OpenCalls
from headgate_gateways.model.routing import Routing
from headgate_gateways.model.telling import Silent, Teller
from headgate_gateways.model.unfinished import Unfinished
from headgate_gateways.model.upstream import Upstream
from headgate_gateways.promptness import be_prompt
from headgate_gateways.serving import listening
from headgate_processors.enrich.price import PriceBook

DUE_EVERY_S = 1.0
FIRST_S = 2.0
"""How long a start waits for control, so that agents are not refused in the first moments."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """`name`: what control and the log call it. `folder`: what it keeps; one process has it.

    `upstreams` by the door through which they are reached; `prices`: overrides of the price list, where there are any.
    `classes` finds what content holds, for policies that ask. `tls`: what it listens with; None is for this machine.
    `foreign` verifies tokens of the issuers that are believed here.
    """

    name: str
    control: ControlAddress
    folder: Path
    host: str
    port: int
    upstreams: Mapping[str, Upstream]
    prices: Path | None = None
    unpriced: Conservative = field(default_factory=Conservative)
    routing: Routing = field(default_factory=Routing)
    classes: Classes | None = None
    tls: ssl.SSLContext | None = None
    foreign: ForeignTokens | None = None

    @property
    def link(self) -> LinkConfig:
        """How it reads control's feed."""
        return LinkConfig(point=self.name, snapshot=self.folder / "control.json")

    @property
    def log(self) -> Path:
        """The folder of the chain of its decisions."""
        return self.folder / "log"


async def run_model_gateway(
    config: GatewayConfig,
    *,
    ready: Callable[[str], None],
    stopping: asyncio.Event,
    teller: Teller | None = None,
    unfinished: Unfinished | None = None,
) -> None:
    """Run until `stopping` is set; `ready` is told `HOST:PORT` once it listens.

    What a process before this one has left in `unfinished`, `teller` is told.

    Raises:
        ConfigError: it cannot listen there, control's certificate authority cannot be read, or a route names a door
            that is not there.
        StoreError: another process has its folder, or its log is damaged.
    """
    config.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with AsyncExitStack() as stack:
        log = stack.enter_context(closing(AuditLog.open(config.log, config.name)))
        unsettled = stack.enter_context(closing(Unsettled.open(config.folder / "unsettled.jsonl")))
        control = await stack.enter_async_context(config.control.client())
        provider = await stack.enter_async_context(provider_client())
        calls = OpenCalls(calls_max=CALLS_MAX)
        link = ControlLink(config.link, config.control, control, calls.cut)
        budgets = RemoteBudgets(config.control, control, unsettled)
        gateway = ModelGateway(
            upstreams=config.upstreams,
            state=lambda: link.state,
            service=DecisionService(
                lambda: link.state.snapshot,
                budgets,
                log,
                enforcement_point=config.name,
                clock=time.time_ns,
                limits=lambda: link.state.limits,
            ),
            budgets=budgets,
            pricing=Pricing(book=PriceBook.load(config.prices), unpriced=config.unpriced),
            client=provider,
            calls=calls,
            teller=teller or Silent(),
            is_stale=link.is_stale,
            routing=config.routing,
            credentials=Credentials(lambda: link.state, foreign=config.foreign),
            facts=CallFacts(config.classes),
            unfinished=unfinished,
        )
        await _serve(config, gateway, link, budgets, ready=ready, stopping=stopping)


async def _serve(
    config: GatewayConfig,
    gateway: ModelGateway,
    link: ControlLink,
    budgets: RemoteBudgets,
    *,
    ready: Callable[[str], None],
    stopping: asyncio.Event,
) -> None:
    """Listen, with the link and the settlements beside it; if one of them ends, everything does."""
    app = application(gateway)
    app.router.add_route("GET", "/readyz", _readiness(link))
    async with asyncio.TaskGroup() as group:
        beside = [group.create_task(link.run()), group.create_task(budgets.run())]
        if config.foreign is not None:
            beside.append(group.create_task(_keep_fresh(config.foreign)))
        try:
            if not await link.heard(wait_s=FIRST_S):
                _LOG.warning("control does not answer: this gateway begins with what it knew last, and is stale")
            async with listening(app, config.host, config.port, tls=config.tls) as address:
                be_prompt()
                ready(address)
                tell_left(
                    gateway.teller,
                    gateway.unfinished,
                    link.state.snapshot.instances,
                    folder=config.log,
                    writer=config.name,
                )
                await stopping.wait()
        finally:
            for task in beside:
                task.cancel()


async def _keep_fresh(foreign: ForeignTokens) -> None:
    """Fetch the keys of issuers when they are due, beside the calls."""
    while True:
        for problem in await asyncio.to_thread(foreign.refresh) if foreign.is_due() else ():
            _LOG.error("issuers: %s", problem)
        await asyncio.sleep(DUE_EVERY_S)


def _readiness(link: ControlLink) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def ready(_: web.Request) -> web.Response:
        """Whether calls can be allowed; if not, why."""
        problem = link.problem
        return web.Response(text="ok\n") if problem is None else web.Response(status=503, text=problem + "\n")

    return ready
