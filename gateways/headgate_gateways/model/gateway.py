"""The gateway: who calls, whether it may, and the call itself, from the reservation to the settlement."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace

import aiohttp
from aiohttp import web

from headgate_control.budgets.amount import NOTHING, Amount, Limits
from headgate_control.budgets.budget import Place
from headgate_control.budgets.port import Budgets
from headgate_control.decide.core import Moment, decide, places
from headgate_control.decide.decision import Logged, warning_headers
from headgate_control.decide.service import DecisionService, Estimate, budget_places
from headgate_control.identity.credentials import Credentials, Identified
from headgate_control.request import Request
from headgate_control.state import State
from headgate_control.stops.stop import Facts
from headgate_gateways.model.asked import SHORT_BYTES_MAX, Asked, BadCallError, parse_call
from headgate_gateways.model.bodies import Bodies
from headgate_gateways.model.cache import Kept
from headgate_gateways.model.call_facts import CallFacts
from headgate_gateways.model.cost import Pricing
from headgate_gateways.model.inbound import Inbound, credential_of
from headgate_gateways.model.lengths import Lengths
from headgate_gateways.model.meter import LIFETIME_NS, Meter
from headgate_gateways.model.named import request_hash, retries_of, session_of, trace_of
from headgate_gateways.model.open_calls import OpenCall, OpenCalls
from headgate_gateways.model.passing import More, Passing
from headgate_gateways.model.refusal import DECISION_HEADER, FROM_CACHE, STATUS, code_of, no_door, refusal
from headgate_gateways.model.router import Routed, Router
from headgate_gateways.model.routing import Routing
from headgate_gateways.model.seldom import Seldom
from headgate_gateways.model.standing import Standing, skipped
from headgate_gateways.model.telling import Silent, Teller
from headgate_gateways.model.told import ToldCall, is_told_as_span, told_from_cache
from headgate_gateways.model.unfinished import Entry, Unfinished
from headgate_gateways.model.upstream import FREE, Operation, Target, Upstream
from headgate_gateways.model.usage import Usage
from headgate_processors.errors import TransientError

BODY_BYTES_MAX = 32 << 20
CALLS_MAX = 4_096
_LOG = logging.getLogger(__name__)
BODY_S = 60.0
_UNAFFORDABLE = frozenset({"budget", "rate"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelGateway:
    """A model gateway; `upstreams` by the door through which they are reached. For one event loop.

    `credentials` None knows gateway keys alone. `headroom` says what budgets still have, where the books are at hand.
    `unfinished` keeps what the next process tells of calls when this one is killed.
    """

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
    routing: Routing = field(default_factory=Routing)
    body_s: float = BODY_S
    credentials: Credentials | None = None
    facts: CallFacts = field(default_factory=CallFacts)
    bodies: Bodies = field(default_factory=Bodies)
    lengths: Lengths = field(default_factory=Lengths)
    headroom: Callable[[Iterable[Place], int], Limits] | None = None
    unfinished: Unfinished | None = None
    refused: Seldom = field(default_factory=Seldom)
    router: Router = field(init=False)
    known: Credentials = field(init=False)

    def __post_init__(self) -> None:
        """Check the routing.

        Raises:
            ConfigError: it names a door that is not there.
        """
        router = Router(upstreams=self.upstreams, pricing=self.pricing, routing=self.routing)
        object.__setattr__(self, "router", router)
        object.__setattr__(self, "known", self.credentials or Credentials(self.state, clock=self.clock))

    async def __call__(self, http: web.Request) -> web.StreamResponse:
        """Answer a request to a door."""
        began, door, path = self.clock(), http.match_info["door"], http.match_info["path"]
        upstream = self.upstreams.get(door)
        target = upstream.target(http.method, path) if upstream is not None else None
        # Clients of HTTP/2 offer it on plain connections, and go on as they began where nobody takes it up.
        is_websocket = "websocket" in http.headers.get("upgrade", "").lower()
        if upstream is None or is_websocket:
            return web.Response(status=404, text="not found\n") if is_websocket else no_door()
        if target is None:
            return _refused(upstream, 404, "unknown_path", f"expected one of {upstream.known}")
        caller = self.known.told(credential_of(http), "gateway")
        if isinstance(caller, str):
            if (times := self.refused.count()) is not None:
                _LOG.warning("%d calls without a good credential, the last to %s from %s", times, door, http.remote)
            return _refused(upstream, 401, "unauthenticated", caller)
        if self.calls.is_full:
            return _refused(upstream, 503, "overloaded", "as many calls run as may: try again later")
        if (http.content_length or 0) > BODY_BYTES_MAX:
            return _refused(upstream, 413, "too_large", f"a body may have {BODY_BYTES_MAX} bytes")
        size = _size_of(http)
        if not self.bodies.take(caller.instance_id, size):
            return _refused(upstream, 503, "overloaded", "open calls are as large as may: try again later")
        try:
            try:
                async with asyncio.timeout(self.body_s):
                    body = await http.read()
            except TimeoutError:
                return _refused(upstream, 408, "too_slow", f"the body did not come within {self.body_s:g} seconds")
            self.bodies.give_back(caller.instance_id, size - len(body))
            size = len(body)
            return await self._read(http, upstream, target, body, caller=caller, began=began)
        finally:
            self.bodies.give_back(caller.instance_id, size)

    async def _read(
        self, http: web.Request, upstream: Upstream, target: Target, body: bytes, *, caller: Identified, began: int
    ) -> web.StreamResponse:
        """Answer a call whose body is here."""
        try:
            return await self._answered(await self._inbound(http, upstream, target, body, began), caller)
        except BadCallError as error:
            return _refused(upstream, 400, "bad_request", str(error))

    async def _inbound(self, http: web.Request, upstream: Upstream, target: Target, body: bytes, began: int) -> Inbound:
        """The call of a request.

        Raises:
            BadCallError: its body is none.
        """
        asked = await self._parsed(upstream, target.operation, body) if target.operation != "models" else None
        return Inbound(
            http=http,
            door=http.match_info["door"],
            path=http.match_info["path"],
            upstream=upstream,
            target=target,
            asked=asked,
            body=body if asked is None or asked.rewritten is None else asked.rewritten,
            session=session_of(http.headers, asked.body if asked is not None else {}),
            trace=trace_of(http.headers.get("traceparent")),
            began_unix_nano=began,
        )

    async def _parsed(self, upstream: Upstream, operation: Operation, body: bytes) -> Asked:
        """The call of a body; a long one is read in a thread, so that nobody waits for it."""
        if len(body) <= SHORT_BYTES_MAX:
            asked = parse_call(operation, body)
        else:
            asked = await self.facts.aside(lambda: parse_call(operation, body))
        if asked.before is None:
            return asked
        return self.pricing.continued(upstream.name, asked, self.lengths.of(asked.before))

    async def _answered(self, inbound: Inbound, caller: Identified) -> web.StreamResponse:
        content = await self.facts.content(self.state().snapshot.policy, inbound.body)
        now, snapshot = self.clock(), self.state().snapshot
        shown = (caller.credential_id, *((caller.user,) if caller.user is not None else ()))
        moment = Moment(at_unix_nano=now, session=inbound.session, identities=shown, is_stale=self.is_stale())
        instance = snapshot.instances.get(caller.instance_id)

        def is_allowed(other: Inbound) -> bool:
            seen, _ = self._seen(other, caller.instance_id, moment, content)
            return decide(other.request(caller.instance_id), snapshot, seen).allowed

        routed = self.router.routed(inbound, instance, is_allowed, now)
        kept = self.router.found(routed, now)
        objection = self._of_another(inbound, snapshot.lineage(caller.instance_id)) or routed.objection
        if objection is not None:
            moment = replace(moment, objection=objection)
        seen, estimate = self._seen(routed.inbound, caller.instance_id, moment, content, is_free=kept is not None)
        logged = await self._decided(routed.inbound, caller.instance_id, seen, estimate)
        if routed.from_model is not None and logged.decision.code in _UNAFFORDABLE:
            routed = routed.unchanged(skipped(routed.inbound, logged))
            content = await self.facts.content(self.state().snapshot.policy, inbound.body)
            moment = replace(moment, at_unix_nano=self.clock(), is_stale=self.is_stale())
            seen, estimate = self._seen(inbound, caller.instance_id, moment, content)
            logged = await self._decided(inbound, caller.instance_id, seen, estimate)
        if not logged.decision.allowed:
            code = code_of(logged.decision.code)
            spared = estimate if moment.objection is not None and logged.decision.reason == moment.objection else None
            self._tell(routed, logged, error_type=code, spared=spared)
            return _refused(inbound.upstream, STATUS, code, logged.decision.reason, logged.decision_id)
        if kept is not None:
            self._tell(routed, logged, kept=kept)
            headers = {DECISION_HEADER: logged.decision_id, **FROM_CACHE}
            return web.Response(body=kept.body, headers={**headers, "content-type": kept.content_type})
        return await self._passed(routed, logged, moment, estimate)

    def _seen(
        self, inbound: Inbound, instance_id: str, moment: Moment, content: tuple[str, ...], *, is_free: bool = False
    ) -> tuple[Moment, Estimate | None]:
        """The moment as policies see it, of a call to where it goes; and what is to be reserved for it there."""
        estimate = self._estimate(inbound, moment.at_unix_nano) if not is_free else None
        instance, left = self.state().snapshot.instances.get(instance_id), Limits()
        if instance is not None and self.headroom is not None:
            whose = budget_places(inbound.request(instance_id), instance, moment)
            left = self.headroom(whose, moment.at_unix_nano)
        amount = estimate.amount if estimate is not None else None
        facts = self.facts.of((instance_id, inbound.session), content, amount, left)
        objection = moment.objection or (self._unpriced(inbound, moment) if estimate is not None else None)
        return replace(moment, policy=facts, objection=objection), estimate

    def _of_another(self, inbound: Inbound, lineage: Sequence[str]) -> str | None:
        """Why a call may not go on from a conversation that is of none of its own line."""
        if inbound.asked is None or inbound.asked.before is None:
            return None
        owners = [one for one in self.lengths.owners(inbound.asked.before) if one not in lineage]
        return "the conversation that it goes on from is of another instance" if owners else None

    def _unpriced(self, inbound: Inbound, moment: Moment) -> str | None:
        """Why a model whose price nobody knows is not called, where it is not."""
        asked = inbound.asked
        return self.pricing.objection(inbound.upstream.name, asked.model, moment.at_unix_nano) if asked else None

    def _estimate(self, inbound: Inbound, at_unix_nano: int) -> Estimate | None:
        """What is to be reserved for a call; None for what is free."""
        asked = inbound.asked
        if asked is None or asked.operation in FREE:
            return None
        amount = self.pricing.estimate(inbound.upstream.name, asked, at_unix_nano)
        return Estimate(amount=amount, lifetime_ns=LIFETIME_NS)

    async def _decided(
        self,
        inbound: Inbound,
        instance_id: str,
        moment: Moment,
        estimate: Estimate | None,
        instead_of: Logged | None = None,
    ) -> Logged:
        """The decision for a call, with its estimate reserved."""
        instance = self.state().snapshot.instances.get(instance_id)

        def heard(logged: Logged) -> None:
            self.teller.decision(logged, instance, inbound.trace)

        request = inbound.request(instance_id)
        return await self.service(request, moment, estimate, heard=heard, instead_of=instead_of)

    async def _passed(
        self, routed: Routed, logged: Logged, moment: Moment, estimate: Estimate | None
    ) -> web.StreamResponse:
        """Pass the call on; whatever becomes of it, its upstream is closed and its reservation settled."""
        call = self.calls.opened(self._facts(logged.request, moment))
        self._cut_if_stopped(call, moment)
        standing = Standing(logged=logged, skipped=list(routed.skipped))
        passing = Passing(
            routed.inbound,
            self.client,
            call,
            decision_id=logged.decision_id,
            more=self._more(routed.inbound, call, standing, moment),
            backoff_s=self.router.routing.backoff_ms / 1_000,
            keeps=routed.key is not None,
        )
        passing.meter = standing.meter = self._meter(logged, passing, estimate)
        passing.warned = lambda: warning_headers(standing.logged.decision)
        passing.entry = standing.entry = self._entry(routed, logged, estimate)
        began_ns = time.perf_counter_ns()
        try:
            return await passing.run()
        finally:
            self.calls.closed(call)
            amount: Amount | None = None
            try:
                amount = self._cost(standing.logged, passing, time.perf_counter_ns() - began_ns)
                self._over(routed, standing, passing, amount, is_counted=estimate is not None)
            finally:
                # Whatever fails on the way here, it is open no more and booked.
                await self._settled(standing, amount)

    def _over(self, routed: Routed, standing: Standing, passing: Passing, amount: Amount, *, is_counted: bool) -> None:
        """Tell of a call that has ended, and learn from it."""
        logged, routed = standing.logged, replace(routed, skipped=tuple(standing.skipped))
        self._tell(routed, logged, passing, amount, error_type=passing.error_type, entry=standing.entry)
        self._learn(routed, passing, amount, logged.request.subject.id)
        if is_counted:
            self.facts.ended(
                (logged.request.subject.id, routed.inbound.session),
                cost=amount,
                failed_attempts=passing.failed_attempts,
                is_error=passing.error_type is not None,
            )

    async def _settled(self, standing: Standing, amount: Amount | None) -> None:
        """Book what a call has cost. What is not known or cannot be booked is spent in full when it expires."""
        self.service.ended(standing.logged, tokens=amount.tokens if amount is not None else None)
        for reservation_id, spent in standing.settlements(amount) if amount is not None else ():
            with suppress(TransientError, KeyError):
                await self.budgets.settle(reservation_id, spent)

    def _more(self, inbound: Inbound, call: OpenCall, standing: Standing, moment: Moment) -> More:
        """The same call to the next provider that it may go to; stops may be about that one."""
        others = self.router.fallbacks(inbound)

        async def following() -> tuple[Inbound, str] | None:
            for other in others:
                again = replace(moment, at_unix_nano=self.clock(), is_stale=self.is_stale())
                found = await self._moved(other, standing, again)
                if found.decision.allowed:
                    call.facts = self._facts(found.request, again)
                    self._cut_if_stopped(call, again)
                    return other, found.decision_id
                standing.skipped.append(skipped(other, found))
            return None

        return following

    async def _moved(self, other: Inbound, standing: Standing, moment: Moment) -> Logged:
        """The decision for a call to another provider: what it may cost there is reserved in place of what it has."""
        instance_id = standing.logged.request.subject.id
        content = await self.facts.content(self.state().snapshot.policy, other.body)
        async with standing.meter.still if standing.meter is not None else nullcontext():
            seen, estimate = self._seen(other, instance_id, moment, content)
            if estimate is not None and standing.meter is not None:
                # Time that has passed is spent there too.
                spent_ms = max(estimate.amount.duration_ms, standing.meter.reserved.duration_ms)
                estimate = replace(estimate, amount=replace(estimate.amount, duration_ms=spent_ms))
            found = await self._decided(other, instance_id, seen, estimate, standing.logged)
            if found.decision.allowed:
                standing.moved(found, estimate.amount if estimate is not None else None, other)
        return found

    def _cut_if_stopped(self, call: OpenCall, moment: Moment) -> None:
        """What was stopped between its decision and its opening is cut like any open call."""
        stop = self.state().snapshot.stops.matching(call.facts, at_unix_nano=moment.at_unix_nano)
        if stop is not None and stop.mode == "stop":
            call.cut("stopped", stop.reason)

    def _facts(self, request: Request, moment: Moment) -> Facts:
        snapshot, instance_id = self.state().snapshot, request.subject.id
        return places(request, snapshot.instances.get(instance_id), snapshot.lineage(instance_id), moment)

    def _meter(self, logged: Logged, passing: Passing, estimate: Estimate | None) -> Meter | None:
        asked, at = passing.inbound.asked, logged.time_unix_nano
        if logged.reservation_id is None or asked is None or estimate is None:
            return None

        def price(usage: Usage, answered: str | None) -> Amount:
            name = passing.inbound.upstream.name
            return self.pricing.amount(name, asked.model, usage, answered=answered, at_unix_nano=at, duration_ns=0)

        return Meter(
            self.budgets,
            price,
            reservation_id=logged.reservation_id,
            reserved=estimate.amount,
            input_tokens=asked.input_tokens_max,
            output_tokens=asked.output_tokens_reserved,
            clock=self.clock,
        )

    def _cost(self, logged: Logged, passing: Passing, duration_ns: int) -> Amount:
        """What it has cost; of what a provider has got and not answered, the input."""
        asked = passing.inbound.asked
        if asked is None or asked.operation in FREE or not passing.may_cost:
            return NOTHING
        usage = passing.usage
        if usage.input_tokens is None:
            usage = replace(usage, input_tokens=asked.input_tokens_max)
        return self.pricing.amount(
            passing.inbound.upstream.name,
            asked.model,
            usage,
            answered=passing.reader.model,
            at_unix_nano=logged.time_unix_nano,
            duration_ns=duration_ns,
        )

    def _learn(self, routed: Routed, passing: Passing, cost: Amount, owner: str) -> None:
        """Remember how fast it was, how long its conversation is, and its answer where a rule says so."""
        inbound, now = passing.inbound, self.clock()
        reader, usage = passing.reader, passing.usage
        if inbound.target.operation == "responses" and reader.response_id:
            is_told = usage.source == "reported"
            self.lengths.add(
                reader.response_id,
                cost.tokens if is_told else None,
                owner=owner,
                output_tokens=(usage.output_tokens or 0) if is_told else None,
                item_ids=reader.item_ids,
            )
        if inbound.asked is not None and passing.was_answered and passing.first_chunk_ns is not None:
            name, model = inbound.upstream.name, inbound.asked.model
            self.router.latencies.add(name, model, passing.first_chunk_ns, at_unix_nano=now)
        # What another provider answered in its place is not this one's answer.
        whole = passing.whole() if inbound is routed.inbound else None
        if whole is not None:
            kept = Kept(
                content_type=whole[0],
                body=whole[1],
                usage=passing.usage,
                model=passing.reader.model,
                finish_reasons=passing.reader.finish_reasons,
                cost_nano_usd=cost.nano_usd,
                expires_unix_nano=now,
            )
            self.router.keep(routed, kept, now)

    def _tell(
        self,
        routed: Routed,
        logged: Logged,
        passing: Passing | None = None,
        cost: Amount = NOTHING,
        *,
        kept: Kept | None = None,
        error_type: str | None = None,
        spared: Estimate | None = None,
        entry: Entry | None = None,
    ) -> None:
        told = self._told(routed, logged, error_type)
        if told is None:
            return
        if spared is not None:
            told = replace(told, saved_nano_usd=spared.amount.nano_usd)
        if kept is not None:
            told = told_from_cache(told, kept)
        if passing is not None:
            told = passing.told(replace(told, saved_nano_usd=self._saved(routed, passing, cost, logged)), cost)
        if entry is not None:
            entry.over(told)
        self.teller.call(told)

    def _told(self, routed: Routed, logged: Logged, error_type: str | None = None) -> ToldCall | None:
        """What is told of a call whatever becomes of it; None of what is no model's call."""
        inbound, asked, retries = routed.inbound, routed.inbound.asked, retries_of(routed.inbound.http.headers)
        if asked is None or not is_told_as_span(asked.operation):
            return None
        # What has gone well at once, and below no span of an agent, is nobody's other attempt.
        is_alone = error_type is None and not retries and inbound.trace.parent_span_id is None
        return ToldCall(
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
            routed_from_model=routed.from_model,
            skipped=routed.skipped,
            retry_count=retries,
            request_hash=None if is_alone else request_hash(routed.asked_as.body, credential_of(inbound.http)),
        )

    def _entry(self, routed: Routed, logged: Logged, estimate: Estimate | None) -> Entry | None:
        """The place of a call that begins, in what another process tells when this one is killed."""
        told = self._told(routed, logged) if self.unfinished is not None else None
        if self.unfinished is None or told is None:
            return None
        reserved = estimate.amount.nano_usd if estimate is not None else 0
        return self.unfinished.begun(told, instance_id=logged.request.subject.id, reserved_nano_usd=reserved)

    def _saved(self, routed: Routed, passing: Passing, cost: Amount, logged: Logged) -> int | None:
        """What the model that was asked for would have cost beyond what this one did; less than nothing is a loss."""
        before = routed.asked_as
        if routed.from_model is None or not passing.was_answered or before.asked is None:
            return None
        would = self.pricing.amount(
            before.upstream.name, before.asked.model, passing.usage, at_unix_nano=logged.time_unix_nano, duration_ns=0
        )
        return would.nano_usd - cost.nano_usd


def _size_of(http: web.Request) -> int:
    """The bytes of a body that comes, as many as there may be where nobody knows before it is here."""
    if not http.can_read_body:
        return 0
    length = http.content_length
    return BODY_BYTES_MAX if length is None or "content-encoding" in http.headers else length


def _refused(upstream: Upstream, status: int, code: str, message: str, decision_id: str | None = None) -> web.Response:
    headers = {DECISION_HEADER: decision_id} if decision_id is not None else {}
    return web.Response(
        status=status,
        body=refusal(upstream.kind, code, message, status=status),
        headers=headers,
        content_type="application/json",
    )
