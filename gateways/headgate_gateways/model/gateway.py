"""The gateway: who calls, whether it may, and the call itself, from the reservation to the settlement."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import aiohttp
from aiohttp import web

from headgate_control.budgets.amount import NOTHING, Amount
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
from headgate_gateways.model.meter import LIFETIME_NS, Meter
from headgate_gateways.model.named import session_of, trace_of
from headgate_gateways.model.open_calls import OpenCalls
from headgate_gateways.model.passing import Passing
from headgate_gateways.model.refusal import DECISION_HEADER, STATUS, code_of, refusal
from headgate_gateways.model.telling import Silent, Teller
from headgate_gateways.model.told import ToldCall, is_told_as_span
from headgate_gateways.model.upstream import FREE, Upstream
from headgate_gateways.model.usage import Usage
from headgate_processors.errors import TransientError

BODY_BYTES_MAX = 32 << 20
CALLS_MAX = 4_096


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
    teller: Teller = field(default_factory=Silent)
    clock: Callable[[], int] = time.time_ns
    is_stale: Callable[[], bool] = lambda: False

    async def __call__(self, http: web.Request) -> web.StreamResponse:
        """Answer a request to a door."""
        began = self.clock()
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
        inbound = Inbound(
            http=http,
            upstream=upstream,
            target=target,
            asked=asked,
            body=body,
            session=session_of(http.headers, asked.body if asked is not None else {}),
            trace=trace_of(http.headers.get("traceparent")),
            began_unix_nano=began,
        )
        logged, moment = await self._decided(inbound, key)
        if not logged.decision.allowed:
            code = code_of(logged.decision.code)
            self._tell(inbound, logged, None, NOTHING, error_type=code)
            return _refused(upstream, STATUS, code, logged.decision.reason, logged.decision_id)
        return await self._passed(inbound, logged, moment)

    async def _decided(self, inbound: Inbound, key: GatewayKey) -> tuple[Logged, Moment]:
        now, asked, name = self.clock(), inbound.asked, inbound.upstream.name
        resource = Resource(type="provider", id=name)
        if asked is not None:
            resource = Resource(type="model", id=f"{name}/{asked.model}")
        request = Request(
            subject=Subject(type="agent_instance", id=key.instance_id),
            action="model.list" if asked is None else "model.call",
            resource=resource,
            context={"session": inbound.session, **inbound.trace.written()},
        )
        moment = Moment(at_unix_nano=now, session=inbound.session, identities=(key.key_id,), is_stale=self.is_stale())
        estimate = None
        if asked is not None and asked.operation not in FREE:
            estimate = Estimate(amount=self.pricing.estimate(name, asked, now), lifetime_ns=LIFETIME_NS)
        logged = await self.service(request, moment, estimate)
        self.teller.decision(logged, self.state().snapshot.instances.get(key.instance_id), inbound.trace)
        return logged, moment

    async def _passed(self, inbound: Inbound, logged: Logged, moment: Moment) -> web.StreamResponse:
        """Pass the call on; whatever becomes of it, its upstream is closed and its reservation settled."""
        snapshot, instance_id = self.state().snapshot, logged.request.subject.id
        facts = places(logged.request, snapshot.instances.get(instance_id), snapshot.lineage(instance_id), moment)
        call = self.calls.opened(facts)
        # What was stopped between the decision and this line is cut like any open call.
        stop = snapshot.stops.matching(facts, at_unix_nano=moment.at_unix_nano)
        if stop is not None and stop.mode == "stop":
            call.cut("stopped", stop.reason)
        meter = self._meter(inbound, logged)
        passing = Passing(inbound, self.client, call, decision_id=logged.decision_id, meter=meter)
        began_ns = time.perf_counter_ns()
        try:
            return await passing.run()
        finally:
            self.calls.closed(call)
            self.service.ended(logged)
            amount = self._cost(logged, inbound, passing, time.perf_counter_ns() - began_ns)
            self._tell(inbound, logged, passing, amount, error_type=passing.error_type)
            # What cannot be booked stays reserved, and is spent in full when it expires.
            with suppress(TransientError, KeyError):
                if logged.reservation_id is not None:
                    await self.budgets.settle(logged.reservation_id, amount)

    def _meter(self, inbound: Inbound, logged: Logged) -> Meter | None:
        asked, name, at = inbound.asked, inbound.upstream.name, logged.time_unix_nano
        if logged.reservation_id is None or asked is None:
            return None

        def price(usage: Usage, answered: str | None) -> Amount:
            return self.pricing.amount(name, asked.model, usage, answered=answered, at_unix_nano=at, duration_ns=0)

        return Meter(
            self.budgets,
            price,
            reservation_id=logged.reservation_id,
            reserved=self.pricing.estimate(name, asked, at),
            input_tokens=asked.input_tokens_max,
            output_tokens=asked.output_tokens_reserved,
            clock=self.clock,
        )

    def _cost(self, logged: Logged, inbound: Inbound, passing: Passing, duration_ns: int) -> Amount:
        if inbound.asked is None or not passing.was_answered:
            return NOTHING
        usage = passing.usage
        if usage.input_tokens is None:
            usage = replace(usage, input_tokens=inbound.asked.input_tokens_max)
        return self.pricing.amount(
            inbound.upstream.name,
            inbound.asked.model,
            usage,
            answered=passing.reader.model,
            at_unix_nano=logged.time_unix_nano,
            duration_ns=duration_ns,
        )

    def _tell(
        self, inbound: Inbound, logged: Logged, passing: Passing | None, cost: Amount, *, error_type: str | None
    ) -> None:
        asked = inbound.asked
        if asked is None or not is_told_as_span(asked.operation):
            return
        told = ToldCall(
            trace=inbound.trace,
            decision_id=logged.decision_id,
            operation=asked.operation,
            provider=inbound.upstream.name,
            request_model=asked.model,
            began_unix_nano=inbound.began_unix_nano,
            ended_unix_nano=max(self.clock(), inbound.began_unix_nano),
            instance=self.state().snapshot.instances.get(logged.request.subject.id),
            session=inbound.session,
            is_stream=asked.is_stream,
            error_type=error_type,
        )
        self.teller.call(told if passing is None else passing.told(told, cost))

    def _key(self, http: web.Request) -> GatewayKey | None:
        shown = http.headers.get("x-api-key") or http.headers.get("authorization", "").removeprefix("Bearer ").strip()
        key = self.state().keys.get(key_id_of(shown) or "")
        return key if key is not None and key.is_good(shown, self.clock()) else None


def _refused(upstream: Upstream, status: int, code: str, message: str, decision_id: str | None = None) -> web.Response:
    headers = {DECISION_HEADER: decision_id} if decision_id is not None else {}
    return web.Response(
        status=status, body=refusal(upstream.kind, code, message), headers=headers, content_type="application/json"
    )
