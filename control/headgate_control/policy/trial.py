"""A golden case tried: the state it speaks of, what `decide` says in it, and where that is not what is expected."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from headgate_control.budgets.amount import MS_PER_S, Amount, Limits, nano_usd
from headgate_control.budgets.budget import Budget
from headgate_control.budgets.ledger import Ledger
from headgate_control.decide.core import Moment, Snapshot, decide
from headgate_control.decide.decision import Decision, Logged
from headgate_control.decide.service import with_books
from headgate_control.identity.instance import Instance
from headgate_control.manifests.everything import everything
from headgate_control.manifests.grant import Grant
from headgate_control.manifests.spec import API_VERSION, ManifestFile
from headgate_control.policy.cases import Case, CaseAmount, CaseBudget, CaseStop
from headgate_control.policy.engine import PolicyEngine, PolicyFacts, SessionFacts
from headgate_control.request import Request, Resource, Subject
from headgate_control.stops.stop import Stop, parse_key
from headgate_control.stops.stop_set import StopSet

NOW_UNIX_NANO = 1_796_000_000_000_000_000
DECISION_ID = "dec-case"
_HOUR_NS = 3_600 * 1_000_000_000
_NOBODY = {"id", "registered", "expired", "ancestors"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The state that a case speaks of; `spent` is by the ids of its budgets."""

    request: Request
    snapshot: Snapshot
    moment: Moment
    budgets: Sequence[Budget]
    spent: Mapping[str, Amount]
    estimate: Amount | None

    def whole_moment(self) -> Moment:
        """The moment with what the budgets say to the estimate, or to what the request says of itself."""
        instance = self.snapshot.registered(self.request.subject)
        if instance is None:
            return self.moment
        return with_books(self.request, instance, self.moment, books(self).look, self.estimate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as expected."""

    what: str
    expected: object
    actual: object

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected!r}, got {self.actual!r}"


def setting(case: Case, policy: PolicyEngine, *, grant: Grant | None = None) -> Setting:
    """The state of a case, under another manifest than its own if one is given.

    Raises:
        ConfigError: a stop has no such scope.
    """
    grant = grant or _grant(case)
    budgets = [_budget(place, one) for place, one in enumerate(case.budgets)]
    session = case.request.context.get("session")
    snapshot = Snapshot(
        stops=StopSet.of(map(_stop, range(1, len(case.stops) + 1), case.stops), epoch=len(case.stops)),
        instances={one.instance_id: one for one in _instances(case, grant)},
        grants={grant.digest: grant},
        policy=policy,
        directory=case.directory.directory(),
    )
    facts = case.facts.model_dump(exclude={"session"})
    moment = Moment(
        at_unix_nano=NOW_UNIX_NANO,
        session=session if isinstance(session, str) else None,
        policy=PolicyFacts(session=SessionFacts(**case.facts.session.model_dump()), **facts),
        is_stale=case.stale,
    )
    return Setting(
        request=_request(case),
        snapshot=snapshot,
        moment=moment,
        budgets=budgets,
        spent={budget.budget_id: _amount(one.spent) for budget, one in zip(budgets, case.budgets, strict=True)},
        estimate=_amount(case.estimate) if case.estimate is not None else None,
    )


def decided(tried: Setting) -> Logged:
    """What is decided, as it is logged."""
    return Logged(
        decision_id=DECISION_ID,
        time_unix_nano=NOW_UNIX_NANO,
        request=tried.request,
        decision=decide(tried.request, tried.snapshot, tried.whole_moment()),
        enforcement_point="test",
        latency_ns=0,
    )


def differences(case: Case, logged: Logged) -> Iterator[Difference]:
    """Where a decision and its row are not what a case expects."""
    yield from _of_decision(case, logged.decision)
    row = logged.row()
    for column, expected in case.row.items():
        if row[column] != expected:
            yield Difference(what=f"row.{column}", expected=expected, actual=row[column])


def _of_decision(case: Case, decision: Decision) -> Iterator[Difference]:
    wanted = case.expect
    if wanted.effect != decision.effect:
        told = f"{decision.effect} ({decision.code or 'no code'}: {decision.reason})"
        yield Difference(what="effect", expected=wanted.effect, actual=told)
    for what, expected, actual in (
        ("code", wanted.code, decision.code),
        ("reason", wanted.reason, decision.reason),
        ("policies", wanted.policies, sorted(decision.policy_ids)),
        ("tiers", wanted.tiers, list(decision.tiers)),
    ):
        if expected is not None and (sorted(expected) if what == "policies" else expected) != actual:
            yield Difference(what=what, expected=expected, actual=actual)


def _request(case: Case) -> Request:
    told = case.request.resource
    resource = Resource(type=told.type, id=told.id, properties=told.properties)
    return Request(
        subject=Subject(type="agent_instance", id=case.instance.id),
        action=case.request.action,
        resource=resource.as_tool() if case.request.action == "tools/call" else resource,
        context=case.request.context,
    )


def _grant(case: Case) -> Grant:
    if case.manifest is None:
        return everything()
    head = {"apiVersion": API_VERSION, "kind": "AgentManifest", "metadata": {"name": "case"}}
    file = ManifestFile.model_validate({**head, "spec": case.manifest})
    return Grant((file,))


def _instances(case: Case, grant: Grant) -> Iterable[Instance]:
    """The instance and those that launched it; nobody where it is not registered."""
    told = case.instance
    line = [told.id, *told.ancestors]
    own = Instance(
        instance_id=told.id,
        manifest_digest=grant.digest,
        root=line[-1],
        created_unix_nano=NOW_UNIX_NANO - _HOUR_NS,
        expires_unix_nano=NOW_UNIX_NANO if told.expired else None,
        parent=line[1] if told.ancestors else None,
        **told.model_dump(exclude=_NOBODY),
    )
    parents = [*told.ancestors[1:], None]
    above = [
        replace(own, instance_id=one, parent=parent, state="running", expires_unix_nano=None)
        for one, parent in zip(told.ancestors, parents if told.ancestors else [], strict=True)
    ]
    return [own, *above] if told.registered else above


def _stop(epoch: int, stop: CaseStop) -> Stop:
    return Stop(
        stop_id=f"stop-{epoch}",
        key=parse_key(stop.scope, stop.id),
        mode=stop.mode,
        reason=stop.reason,
        author="case",
        accepted_unix_nano=NOW_UNIX_NANO - _HOUR_NS,
        epoch=epoch,
    )


def _budget(place: int, budget: CaseBudget) -> Budget:
    return Budget(
        budget_id=f"bud-{place + 1}",
        place=(budget.scope, budget.id),
        window=budget.window,
        mode=budget.mode,
        limits=Limits(
            nano_usd=nano_usd(budget.usd) if budget.usd is not None else None,
            tokens=budget.tokens,
            calls=budget.calls,
            duration_ms=budget.seconds * MS_PER_S if budget.seconds is not None else None,
        ),
    )


def _amount(amount: CaseAmount) -> Amount:
    return Amount(
        nano_usd=nano_usd(amount.usd),
        tokens=amount.tokens,
        calls=amount.calls,
        duration_ms=amount.seconds * MS_PER_S,
    )


def books(tried: Setting) -> Ledger:
    """The budgets of a case as they stand."""
    found = Ledger()
    for budget in tried.budgets:
        found.set(budget)
        found.restore(budget.budget_id, budget.turn(NOW_UNIX_NANO), tried.spent[budget.budget_id])
    return found
