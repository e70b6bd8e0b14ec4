"""The gateway: who calls, whether it may, and the call itself, from the reservation to the settlement."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import aiohttp
from aiohttp import web

from headgate_control.budgets.amount import NOTHING
from headgate_control.budgets.port import Budgets
from headgate_control.decide.core import Moment, places
from headgate_control.decide.decision import Logged
from headgate_control.decide.service import DecisionService, Estimate
from headgate_control.identity.gateway_key import GatewayKey, key_id_of
from headgate_control.request import Request, Resource, Subject
from headgate_control.state import State
from headgate_gateways.model.asked import BadCallError, parse_call
from headgate_gateways.model.cost import Pricing
from headgate_gateways.model.inbound import Inbound
from headgate_gateways.model.open_calls import OpenCalls
from headgate_gateways.model.passing import Passing
from headgate_gateways.model.refusal import DECISION_HEADER, STATUS, code_of, refusal
from headgate_gateways.model.upstream import FREE, Upstream
from headgate_processors.errors import TransientError

BODY_BYTES_MAX = 32 << 20
CALLS_MAX = 4_096
RESERVED_NS = 15 * 60 * 1_000_000_000
_SESSION_HEADERS = ("x-claude-code-session-id", "session_id", "session-id", "x-session-id")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelGateway:
    """A model gateway; `upstreams` by the door through which they are reached. For one event loop."""

    upstreams: Mapping[str, Upstream]
    state: Callable[[], State]
    service: DecisionService
    budgets: Budgets
    pricing: Pricing
    client: aiohttp.ClientSession
    calls: OpenCalls
    clock: Callable[[], int] = time.time_ns
    is_stale: Callable[[], bool] = lambda: False

    async def __call__(self, http: web.Request) -> web.StreamResponse:
        """Answer a request to a door."""
        upstream = self.upstreams.get(http.match_info["door"])
        target = upstream.target(http.method, http.match_info["path"]) if upstream is not None else None
        if upstream is None or target is None or "upgrade" in http.headers:
            return web.Response(status=404, text="not found\n")
        key = self._key(http)
        if key is None:
            return _refused(upstream, 401, "unauthenticated", "no gateway key, or a wrong or expired one")
        if self.calls.is_full:
            return _refused(upstream, 503, "overloaded", "as many calls run as may: try again later")
        body = await http.read()
        try:
            asked = parse_call(target.operation, body) if target.operation != "models" else None
        except BadCallError as error:
            return _refused(upstream, 400, "bad_request", str(error))
        inbound = Inbound(http=http, upstream=upstream, target=target, asked=asked, body=body)
        logged, moment = await self._decided(inbound, key)
        if not logged.decision.allowed:
            code = code_of(logged.decision.code)
            return _refused(upstream, STATUS, code, logged.decision.reason, logged.decision_id)
        return await self._passed(inbound, logged, moment)

    async def _decided(self, inbound: Inbound, key: GatewayKey) -> tuple[Logged, Moment]:
        now, session, asked, name = self.clock(), _session(inbound.http), inbound.asked, inbound.upstream.name
        resource = Resource(type="provider", id=name)
        if asked is not None:
            resource = Resource(type="model", id=f"{name}/{asked.model}")
        request = Request(
            subject=Subject(type="agent_instance", id=key.instance_id),
            action="model.list" if asked is None else "model.call",
            resource=resource,
            context={"session": session, **_trace(inbound.http)},
        )
        moment = Moment(at_unix_nano=now, session=session, identities=(key.key_id,), is_stale=self.is_stale())
        estimate = None
        if asked is not None and asked.operation not in FREE:
            estimate = Estimate(amount=self.pricing.estimate(name, asked, now), lifetime_ns=RESERVED_NS)
        return await self.service(request, moment, estimate), moment

    async def _passed(self, inbound: Inbound, logged: Logged, moment: Moment) -> web.StreamResponse:
        """Pass the call on; whatever becomes of it, its upstream is closed and its reservation settled."""
        snapshot, instance_id = self.state().snapshot, logged.request.subject.id
        facts = places(logged.request, snapshot.instances.get(instance_id), snapshot.lineage(instance_id), moment)
        call = self.calls.opened(facts)
        # What was stopped between the decision and this line is cut like any open call.
        stop = snapshot.stops.matching(facts, at_unix_nano=moment.at_unix_nano)
        if stop is not None and stop.mode == "stop":
            call.cut("stopped", stop.reason)
        passing = Passing(inbound, self.client, call, decision_id=logged.decision_id)
        began_ns = time.perf_counter_ns()
        try:
            return await passing.run()
        finally:
            self.calls.closed(call)
            await self._settle(logged, inbound, passing, time.perf_counter_ns() - began_ns)

    async def _settle(self, logged: Logged, inbound: Inbound, passing: Passing, duration_ns: int) -> None:
        if logged.reservation_id is None or inbound.asked is None:
            return
        amount = NOTHING
        if passing.was_answered:
            usage = passing.usage()
            if usage.input_tokens is None:
                usage = replace(usage, input_tokens=inbound.asked.input_tokens_max)
            amount = self.pricing.amount(
                inbound.upstream.name,
                inbound.asked.model,
                usage,
                answered=passing.model,
                at_unix_nano=logged.time_unix_nano,
                duration_ns=duration_ns,
            )
        # What cannot be booked stays reserved, and is spent in full when it expires.
        with suppress(TransientError, KeyError):
            await self.budgets.settle(logged.reservation_id, amount)

    def _key(self, http: web.Request) -> GatewayKey | None:
        shown = http.headers.get("x-api-key") or http.headers.get("authorization", "").removeprefix("Bearer ").strip()
        key = self.state().keys.get(key_id_of(shown) or "")
        return key if key is not None and key.is_good(shown, self.clock()) else None


def _refused(upstream: Upstream, status: int, code: str, message: str, decision_id: str | None = None) -> web.Response:
    headers = {DECISION_HEADER: decision_id} if decision_id is not None else {}
    return web.Response(
        status=status, body=refusal(upstream.kind, code, message), headers=headers, content_type="application/json"
    )


def _session(http: web.Request) -> str | None:
    """The session that the agent names in its own header; a claim, as all that it says."""
    return next((value[:512] for name in _SESSION_HEADERS if (value := http.headers.get(name))), None)


def _trace(http: web.Request) -> dict[str, str]:
    parts = http.headers.get("traceparent", "").split("-")
    return {"trace_id": parts[1], "span_id": parts[2]} if len(parts) == 4 and len(parts[1]) == 32 else {}
