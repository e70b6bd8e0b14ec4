"""One decision taken apart: what each step said, and which policies were looked at. The verdict is that of `decide`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from headgate_control.decide.core import READS, Moment, Snapshot, decide, places, unregistered, with_lower
from headgate_control.decide.decision import Decision
from headgate_control.identity.instance import Instance
from headgate_control.policy.engine import Outcome, PolicyEngine
from headgate_control.request import Request

Verdict = Literal["passed", "denied", "approval", "not asked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step says, whatever those before it said."""

    step: str
    verdict: Verdict
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A policy that could match, and whether it determined what the policies say."""

    policy_id: str
    effect: Literal["permit", "forbid"]
    determined: bool
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision and what led to it; `policies` of all that there are, those that could match."""

    decision: Decision
    steps: Sequence[Step]
    looked_at: Sequence[Looked]
    policies: int


def explain(request: Request, snapshot: Snapshot, moment: Moment) -> Explanation:
    """Why `request` is allowed or not, at this moment, by this snapshot."""
    instance = snapshot.registered(request.subject)
    steps = [_stops(request, snapshot, moment, instance), _feed(request, moment), _identity(request, instance, moment)]
    looked: Sequence[Looked] = ()
    if instance is not None:
        steps += [*_manifest(request, snapshot, instance), _budget(moment)]
    if instance is not None and snapshot.policy is not None:
        asked = snapshot.asked(request, instance)
        facts = replace(moment.policy, approved_tiers=with_lower(moment.policy.approved_tiers))
        outcome = snapshot.policy(asked, facts)
        steps.append(_policy(outcome, facts.approved_tiers))
        looked = list(_looked(snapshot.policy, asked, outcome))
    elif snapshot.policy is None:
        steps.append(Step(step="policy", verdict="denied", told="there is no policy: an empty set denies all"))
    count = len(snapshot.policy.bundle.policies) if snapshot.policy is not None else 0
    return Explanation(decision=decide(request, snapshot, moment), steps=steps, looked_at=looked, policies=count)


def _stops(request: Request, snapshot: Snapshot, moment: Moment, instance: Instance | None) -> Step:
    facts = places(request, instance, snapshot.lineage(request.subject.id), moment)
    stop = snapshot.stops.matching(facts, at_unix_nano=moment.at_unix_nano)
    if stop is not None:
        said = f"{stop.mode} of {' '.join(filter(None, stop.key))} ({stop.stop_id}): {stop.reason}"
        return Step(step="stops", verdict="denied", told=said)
    told = f"none of {len(list(snapshot.stops))} stops and pauses is about it"
    return Step(step="stops", verdict="passed", told=told)


def _feed(request: Request, moment: Moment) -> Step:
    if moment.is_stale and request.action not in READS:
        return Step(step="feed", verdict="denied", told="stops were not heard of for too long")
    told = "stops were not heard of for too long, but it only reads" if moment.is_stale else "stops are heard of"
    return Step(step="feed", verdict="passed", told=told)


def _identity(request: Request, instance: Instance | None, moment: Moment) -> Step:
    if instance is None:
        return Step(step="identity", verdict="denied", told=unregistered(request.subject))
    if not instance.is_living(moment.at_unix_nano):
        told = f"it is {instance.state}" if instance.state not in {"created", "running"} else "it has expired"
        return Step(step="identity", verdict="denied", told=told)
    return Step(step="identity", verdict="passed", told=f"{instance.instance_id} is {instance.state}")


def _manifest(request: Request, snapshot: Snapshot, instance: Instance) -> Iterator[Step]:
    grant = snapshot.grants.get(instance.manifest_digest)
    if grant is None:
        yield Step(step="manifest", verdict="denied", told=f"{instance.manifest_digest} is not known here")
        return
    ruling = grant.ruling(request)
    if not ruling.granted:
        yield Step(step="manifest", verdict="denied", told=ruling.reason)
    elif ruling.approval != "none":
        told = f"{grant.metadata.name} grants it after an approval of tier {ruling.approval}"
        yield Step(step="manifest", verdict="approval", told=told)
    else:
        yield Step(step="manifest", verdict="passed", told=f"{grant.metadata.name} grants it")


def _budget(moment: Moment) -> Step:
    if moment.excess is not None:
        return Step(step="budget", verdict="denied", told=str(moment.excess))
    return Step(step="budget", verdict="passed", told="no hard budget is known to be in its way")


def _policy(outcome: Outcome, approved: Sequence[str]) -> Step:
    named = ", ".join(policy.policy_id for policy in outcome.policies)
    if outcome.allowed:
        return Step(step="policy", verdict="passed", told=f"permitted by {named}")
    if outcome.tiers and not set(outcome.tiers) & set(approved):
        told = f"forbidden by {named} until an approval of tier {', '.join(outcome.tiers)}"
        return Step(step="policy", verdict="approval", told=told)
    told = f"forbidden by {named}" if named else "; ".join(outcome.errors) or "no policy permits it"
    return Step(step="policy", verdict="denied", told=told)


def _looked(policy: PolicyEngine, asked: Request, outcome: Outcome) -> Iterator[Looked]:
    determined = {one.policy_id for one in outcome.policies}
    try:
        chosen = policy.looked_at(asked)
    except ValueError:
        return
    for one in chosen:
        yield Looked(
            policy_id=one.policy_id,
            effect="permit" if one.permits else "forbid",
            determined=one.policy_id in determined,
            reason=one.reason,
        )
