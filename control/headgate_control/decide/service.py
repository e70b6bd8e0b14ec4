"""The shell around the pure decision: it reserves, writes the log, and answers. What cannot be logged is a deny."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from headgate_control.audit.chain import Record
from headgate_control.audit.log import AuditLog
from headgate_control.budgets.amount import NOTHING, Amount
from headgate_control.budgets.budget import Place
from headgate_control.budgets.ledger import Answer
from headgate_control.budgets.port import Budgets
from headgate_control.budgets.question import Question, question_of
from headgate_control.decide.core import READS, Moment, Snapshot, decide
from headgate_control.decide.decision import Code, Decision, Logged
from headgate_control.decide.warned import Warned
from headgate_control.identity.instance import Instance, new_id
from headgate_control.limits.limit import Limit
from headgate_control.limits.limiter import Limiter
from headgate_control.request import Request
from headgate_processors.errors import TransientError


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a call may cost at most, and how long its reservation stands without being settled or topped up."""

    amount: Amount
    lifetime_ns: int


class Look(Protocol):
    """The books, where they are at hand. Where they are not, what they say is heard when a reservation is made."""

    def __call__(
        self, places: Sequence[Place], question: Question, *, at_unix_nano: int, instead_of: str | None = None
    ) -> Answer:
        """What would become of a reservation, without one."""
        ...


class DecisionService:
    """Decides for one enforcement point. For one event loop."""

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        budgets: Budgets,
        log: AuditLog,
        *,
        enforcement_point: str,
        clock: Callable[[], int] = time.time_ns,
        limits: Callable[[], Mapping[str, Limit]] = dict,
        look: Look | None = None,
    ) -> None:
        self._snapshot, self._budgets, self._log, self._clock = snapshot, budgets, log, clock
        self._point = enforcement_point
        self._limiter, self._look, self._warned = Limiter(limits), look, Warned(enforcement_point)

    async def __call__(
        self,
        request: Request,
        moment: Moment,
        estimate: Estimate | None = None,
        *,
        heard: Callable[[Logged], None] = lambda _: None,
        instead_of: Logged | None = None,
    ) -> Logged:
        """Decide, reserve and log; a deny is durable when this returns, an allow is written.

        A call that is to go on elsewhere is decided `instead_of` the decision that let it in: allowed, it has given
        back what it held by that one, and counts as one call; denied, it still has it.

        Who was allowed with an estimate says when it is over, by `ended`. `heard` is told of the decision as soon as it
        is written, whether its caller waits for the answer or not.
        """
        logged, record = await self._decided(request, moment, estimate, instead_of)
        heard(logged)
        if record is not None and not logged.decision.allowed:
            # A deny that is not durable is a deny all the same.
            with suppress(TransientError):
                await asyncio.to_thread(self._log.sync, record)
        return logged

    def ended(self, logged: Logged, *, tokens: int | None = None) -> None:
        """What was allowed is over, and open no more; it has used `tokens`, all of its estimate where None."""
        self._limiter.ended(logged.decision_id, tokens=tokens)

    async def _decided(
        self, request: Request, moment: Moment, estimate: Estimate | None, instead_of: Logged | None
    ) -> tuple[Logged, Record | None]:
        began, snapshot = time.perf_counter_ns(), self._snapshot()
        instance = snapshot.registered(request.subject)
        if instance is not None and estimate is not None:
            held = instead_of.reservation_id if instead_of is not None else None
            moment = with_books(request, instance, moment, self._look, estimate.amount, instead_of=held)
        logged = Logged(
            decision_id=new_id("dec"),
            time_unix_nano=self._clock(),
            request=request,
            decision=decide(request, snapshot, moment),
            enforcement_point=self._point,
            latency_ns=0,
        )
        if logged.decision.allowed and instance is not None and estimate is not None:
            logged = await self._counted(logged, instance, moment, estimate, instead_of)
        elif logged.decision.allowed:
            self._warned(moment.passed, at_unix_nano=moment.at_unix_nano)
        logged = replace(logged, latency_ns=time.perf_counter_ns() - began)
        try:
            return logged, self._log.append({"kind": "decision", **logged.row()})
        except TransientError as error:
            return await self._unlogged(logged, error), None

    async def _counted(
        self, logged: Logged, instance: Instance, moment: Moment, estimate: Estimate, instead_of: Logged | None
    ) -> Logged:
        """The decision after its limits, and then the reservation: what is not let in is not open."""
        places = budget_places(logged.request, instance, moment)
        before = instead_of.decision_id if instead_of is not None else None
        over = self._limiter.take(
            logged.decision_id,
            places,
            at_unix_nano=moment.at_unix_nano,
            tokens=estimate.amount.tokens,
            instead_of=before,
        )
        if over is not None:
            return replace(logged, decision=_denied(logged.decision, "rate", over))
        reserved = logged
        try:
            reserved = await self._reserved(logged, places, moment, estimate, instead_of)
        finally:
            if reserved.reservation_id is None:
                self.ended(logged, tokens=0)
        if before is not None and reserved.reservation_id is not None:
            self._limiter.handed_over(logged.decision_id, places, instead_of=before)
        return reserved

    async def _reserved(
        self,
        logged: Logged,
        places: Sequence[Place],
        moment: Moment,
        estimate: Estimate,
        instead_of: Logged | None,
    ) -> Logged:
        """The decision after the reservation: what does not fit is denied, what passes a soft budget is warned of."""
        try:
            answer = await self._budgets.reserve(
                logged.decision_id,
                places,
                estimate.amount,
                at_unix_nano=moment.at_unix_nano,
                expires_unix_nano=moment.at_unix_nano + estimate.lifetime_ns,
                instead_of=instead_of.reservation_id if instead_of is not None else None,
            )
        except TransientError as error:
            return replace(logged, decision=_denied(logged.decision, "error", str(error)))
        if answer.refused is not None:
            return replace(logged, decision=_denied(logged.decision, "budget", str(answer.refused)))
        self._warned(answer.warnings, at_unix_nano=moment.at_unix_nano)
        warned = replace(logged.decision, warnings=tuple(map(str, answer.warnings)))
        return replace(logged, decision=warned, reservation_id=logged.decision_id)

    async def _unlogged(self, logged: Logged, error: TransientError) -> Logged:
        self.ended(logged, tokens=0)
        if logged.reservation_id is not None:
            # Nobody will use it: it is free again, or at the latest when it expires.
            with suppress(TransientError, KeyError):
                await self._budgets.settle(logged.reservation_id, NOTHING)
        return replace(logged, decision=_denied(logged.decision, "error", str(error)), reservation_id=None)


def budget_places(request: Request, instance: Instance, moment: Moment) -> Sequence[Place]:
    """Whose budgets a request spends."""
    model = request.resource.id if request.resource.type == "model" else None
    every: Sequence[tuple[str, str | None]] = (
        ("platform", ""),
        ("team", instance.team),
        ("user", instance.user),
        ("workflow", instance.workflow),
        ("task_class", instance.task_class),
        ("model", model),
        ("session", moment.session),
        ("instance", instance.instance_id),
    )
    return [(scope, target) for scope, target in every if target is not None]  # type: ignore[misc]


def with_books(
    request: Request,
    instance: Instance,
    moment: Moment,
    look: Look | None,
    amount: Amount | None = None,
    *,
    instead_of: str | None = None,
) -> Moment:
    """The moment with the budgets that a request of `amount`, or of what it says itself, does not fit into.

    Raises:
        ValueError: it says what it may cost, and that is no number.
    """
    if look is None:
        return moment
    question = (
        question_of(request.action, request.context, is_read=request.action in READS)
        if amount is None
        else Question(amount=amount)
    )
    places = budget_places(request, instance, moment)
    answer = look(places, question, at_unix_nano=moment.at_unix_nano, instead_of=instead_of)
    return replace(moment, excess=moment.excess or answer.refused, passed=answer.warnings)


def _denied(decision: Decision, code: Code, reason: str) -> Decision:
    return replace(decision, effect="deny", code=code, reason=reason, policy_ids=())
