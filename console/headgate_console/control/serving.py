"""Control and the model gateway, listening in one process."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from headgate_console.control.asked_facts import AskedFacts
from headgate_console.control.callers import kept_token
from headgate_console.control.drill import DrillRoutes
from headgate_console.control.follower import Follower
from headgate_console.control.listening import (
    SUPERVISOR,
    control_door,
    is_first_start,
    listening,
    model_door,
)
from headgate_console.control.parts import (
    DECISIONS,
    Parts,
    classes_of,
    foreign_tokens_of,
    routing_of,
    unpriced_of,
    upstreams_of,
)
from headgate_console.control.place import certificate_name
from headgate_console.control.platform import channel, pinned_of, platform_of
from headgate_console.control.policies import following
from headgate_console.control.rounds import Round, rounds
from headgate_console.control.running import Running
from headgate_control.budgets.port import LocalBudgets
from headgate_control.decide.decision import Logged
from headgate_control.decide.service import DecisionService
from headgate_control.feed.budget_routes import RemoteBudgetRoutes
from headgate_control.feed.feed import Feed
from headgate_control.feed.messages import BLIND_AFTER_S, STALE_AFTER_S
from headgate_control.feed.routes import FeedRoutes
from headgate_control.identity.credentials import Credentials
from headgate_control.identity.web_tokens import TokenVerifier
from headgate_control.room import Room
from headgate_control.server.application import ControlServer
from headgate_control.server.budget_routes import BudgetRoutes
from headgate_control.server.instance_routes import InstanceRoutes
from headgate_control.server.limit_routes import LimitRoutes
from headgate_control.server.stop_routes import StopRoutes
from headgate_control.server.token_routes import TokenRoutes
from headgate_gateways.model.application import application, provider_client
from headgate_gateways.model.call_facts import CallFacts
from headgate_gateways.model.cost import Pricing
from headgate_gateways.model.gateway import CALLS_MAX, ModelGateway
from headgate_gateways.model.left import tell_left
from headgate_gateways.model.named import trace_of
from headgate_gateways.model.open_calls import OpenCalls
from headgate_gateways.model.routing import Routing
from headgate_gateways.model.telling import Teller, Telling
from headgate_gateways.model.unfinished import Unfinished
from headgate_gateways.model.upstream import Upstream
from headgate_processors.enrich.price import PriceBook
from headgate_processors.errors import TransientError

if TYPE_CHECKING:
    from headgate_console.settings import Settings

POINT = "model-gateway"
BEHIND_HTTP_PORT = ":14318"
COLLECTOR_HTTP = "127.0.0.1:4318"
THREADS_MAX = 32
"""Waits for disks and the store at once: some that hang leave others for denials to become durable."""
_NS_PER_S = 1_000_000_000
_LOG = logging.getLogger("control")
Tell = Callable[[str, str, str], None]
"""Told for each listener: its name, `HOST:PORT`, and the setting that it comes from."""


async def serve(
    settings: "Settings",
    parts: Parts,
    tell: Tell,
    ready: Callable[[], None],
    stopping: threading.Event,
    *,
    more: Sequence[Round] = (),
) -> None:
    """Listen until `stopping` is set; `more` is done meanwhile."""
    doors = {"control": control_door(settings), "model": model_door(settings)}
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(provider_client())
        calls = OpenCalls(calls_max=CALLS_MAX)
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(THREADS_MAX))
        parts.room.state.listen(Follower(parts.room, calls, parts.place, point=POINT, loop=loop))
        parts.room.points.join(POINT)
        feed = stack.enter_context(closing(_feed(parts.room)))
        feed.start()
        foreign = foreign_tokens_of(settings)
        verifier = TokenVerifier(parts.signing.good)
        credentials = Credentials(lambda: parts.room.now, tokens=verifier, foreign=foreign)
        unfinished = Unfinished.open(parts.place.calls)
        telling = stack.enter_context(closing(_telling(settings, parts, unfinished)))
        teller = Running(teller=telling, room=parts.room)
        routing, addresses = routing_of(settings), dict[str, str]()
        upstreams, fallbacks = dict(upstreams_of(settings)), dict(routing.fallbacks)
        drills = DrillRoutes(
            room=parts.room,
            upstreams=upstreams,
            fallbacks=fallbacks,
            tries_again=routing.attempts_max > 1,
            gateway=addresses,
            certificate=doors["model"].certificate,
        )
        counted = CallFacts(classes_of(settings))
        gateway = _gateway(
            settings,
            parts,
            upstreams=upstreams,
            routing=replace(routing, fallbacks=fallbacks),
            client=client,
            calls=calls,
            teller=teller,
            credentials=credentials,
            facts=counted,
            unfinished=unfinished,
        )
        own = str(os.getppid())
        served = partial(listening, is_first=is_first_start(parts.place, own))
        addresses["model"] = await stack.enter_async_context(served(doors["model"], application(gateway)))
        asked = AskedFacts(
            counted=counted, headroom=parts.room.owner.headroom, policy=lambda: parts.room.now.snapshot.policy
        )
        control = _control(parts, feed, drills, teller, asked, public_url=settings.control.public_url)
        addresses["control"] = await stack.enter_async_context(served(doors["control"], control))
        secured = {certificate_name(name): str(door.certificate) for name, door in doors.items() if door.certificate}
        told = {**addresses, **secured, "otlp": _otlp(settings), "platform": platform_of(settings), SUPERVISOR: own}
        await asyncio.to_thread(parts.place.tell, told)
        await _read_again(parts, addresses["control"])
        tell("control", addresses["control"], "control.listen")
        tell("model-gateway", addresses["model"], "gateways.model.listen")
        ready()
        instances = parts.room.now.snapshot.instances
        tell_left(teller, unfinished, instances, folder=parts.place.logs, writer=DECISIONS)
        stack.callback(feed.close)
        async with following(settings, parts):
            await rounds(settings, parts, foreign, stopping, [teller.round(), *more])


async def _read_again(parts: Parts, address: str) -> None:
    """A start takes its time, and the first call is not to be stale for it."""
    with suppress(TransientError):
        await parts.room.refresh()
    with suppress(TransientError):
        await asyncio.to_thread(parts.held.listens, address)


def _older(room: Room, age_s: float) -> Callable[[], bool]:
    """Whether control's own state is older than that: stops may have been given that it has not heard of."""
    return lambda: room.age_ns() > age_s * _NS_PER_S


def _feed(room: Room) -> Feed:
    return Feed(room.store, room.state, room.points, is_blind=_older(room, BLIND_AFTER_S))


def _otlp(settings: "Settings") -> str:
    """Where agents send OTLP over HTTP: to the Collector where one is in front."""
    http = settings.receiver.http
    if http.endswith(BEHIND_HTTP_PORT):
        return COLLECTOR_HTTP
    return f"https://{http}" if settings.receiver.tls.cert_file is not None else http


def _control(
    parts: Parts, feed: Feed, drills: DrillRoutes, teller: Running, asked: AskedFacts, *, public_url: str | None
) -> web.Application:
    room = parts.room
    rooms = (
        StopRoutes(room=room),
        InstanceRoutes(room=room),
        BudgetRoutes(room=room),
        LimitRoutes(room=room),
        TokenRoutes(room=room, keys=parts.signing),
        FeedRoutes(feed=feed, doors=room.doors),
        drills,
        RemoteBudgetRoutes(owner=room.owner, doors=room.doors, clock=room.clock, heard=teller.reserved),
    )
    more = [route for one in rooms for route in one.routes()]

    def told(logged: Logged) -> None:
        instance = room.now.snapshot.instances.get(logged.request.subject.id)
        teller.decision(logged, instance, trace_of(None))

    server = ControlServer(
        service=_service(parts, "control"),
        snapshot=lambda: room.now.snapshot,
        doors=room.doors,
        clock=room.clock,
        told=told,
        more=more,
        is_stale=_older(room, STALE_AFTER_S),
        facts=asked,
        content=asked.content,
        tool_called=asked.tool_called,
        look=room.owner.look,
        public_url=public_url,
        refusals=parts.refusals,
    )
    return server.application()


def _telling(settings: "Settings", parts: Parts, unfinished: Unfinished | None) -> Telling:
    """What the gateway tells the store, as witness `gateway`."""
    token = kept_token(parts.keys, "gateway", parts.place.folder / "gateway.token")
    return Telling.for_endpoint(platform_of(settings), token, channel(pinned_of(settings)), unfinished=unfinished)


def _gateway(
    settings: "Settings",
    parts: Parts,
    *,
    upstreams: Mapping[str, Upstream],
    routing: Routing,
    client: aiohttp.ClientSession,
    calls: OpenCalls,
    teller: Teller,
    credentials: Credentials,
    facts: CallFacts,
    unfinished: Unfinished | None,
) -> ModelGateway:
    room = parts.room
    return ModelGateway(
        upstreams=upstreams,
        state=lambda: room.now,
        service=_service(parts, POINT),
        budgets=LocalBudgets(room.owner),
        pricing=Pricing(book=PriceBook.load(settings.prices.overrides), unpriced=unpriced_of(settings)),
        client=client,
        calls=calls,
        teller=teller,
        routing=routing,
        facts=facts,
        unfinished=unfinished,
        headroom=room.owner.headroom,
        credentials=credentials,
        clock=room.clock,
        is_stale=_older(room, STALE_AFTER_S),
    )


def _service(parts: Parts, point: str) -> DecisionService:
    room = parts.room
    return DecisionService(
        lambda: room.now.snapshot,
        LocalBudgets(room.owner),
        parts.decisions,
        enforcement_point=point,
        limits=lambda: room.now.limits,
        look=room.owner.look,
        clock=room.clock,
    )
