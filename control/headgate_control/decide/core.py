"""The decision: stops, then identity, manifest, budget, policy, approval. The first step that objects ends it.

Pure: it reads a snapshot and the facts it is given, writes nothing, and gives the same answer again.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from headgate_control.budgets.ledger import Excess
from headgate_control.decide.decision import Code, Decision
from headgate_control.identity.directory import Directory
from headgate_control.identity.instance import Instance
from headgate_control.manifests.grant import Grant
from headgate_control.manifests.rulings import Ruling
from headgate_control.manifests.spec import TIERS, Tier
from headgate_control.policy.engine import Outcome, PolicyEngine, PolicyFacts
from headgate_control.request import Request, Subject
from headgate_control.stops.stop import Facts
from headgate_control.stops.stop_set import StopSet

LINEAGE_MAX = 32
AGENT_INSTANCE = "agent_instance"
_OF_THE_DIRECTORY = frozenset({"agent.send", "credential.use"})
READS: frozenset[str] = frozenset({"model.list", "resources/read", "file.read", "memory.read"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What there is to decide by. A change of any of it gives another snapshot.

    `grants` are by their digest. `policy` None means that no bundle was ever good, which denies all.
    """

    stops: StopSet = field(default_factory=StopSet)
    instances: Mapping[str, Instance] = field(default_factory=dict)
    grants: Mapping[str, Grant] = field(default_factory=dict)
    policy: PolicyEngine | None = None
    directory: Directory = field(default_factory=Directory)
    _subjects: dict[str, Subject] = field(default_factory=dict, init=False, repr=False, compare=False)

    def registered(self, subject: Subject) -> Instance | None:
        """The instance that a subject is; None where nobody knows it, or it is something else than an instance."""
        return self.instances.get(subject.id) if subject.type == AGENT_INSTANCE else None

    def subject(self, instance: Instance) -> Subject:
        """An instance as policies see it."""
        found = self._subjects.get(instance.instance_id)
        if found is None:
            properties = {
                "environment": environment_of(self.directory, instance),
                **instance.properties(),
                "lineage": self.lineage(instance.instance_id),
                "identity_source": "verified",
                "around": self.directory.around(instance.properties()),
            }
            found = Subject(type=AGENT_INSTANCE, id=instance.instance_id, properties=properties)
            self._subjects[instance.instance_id] = found
        return found

    def asked(self, request: Request, instance: Instance) -> Request:
        """The request as policies see it. What its caller said of its subject counts for nothing: its record does.

        What the directory knows of the resource goes before what its caller said of it.
        """
        facts, resource = self.directory.facts(*entries_of(request)), request.resource
        if facts:
            resource = replace(resource, properties={**resource.properties, **facts})
        return replace(request, subject=self.subject(instance), resource=resource)

    def idle(self, instance: Instance) -> Facts:
        """Everything that a stop may be about, of an instance that calls nothing at this moment."""
        return Facts(
            lineage=self.lineage(instance.instance_id),
            workflow=instance.workflow,
            team=instance.team,
            identities=[one for one in (instance.user, instance.launched_by) if one is not None],
        )

    def lineage(self, instance_id: str) -> tuple[str, ...]:
        """The instance and those that launched it, the nearest first."""
        found: list[str] = []
        current: str | None = instance_id
        while current is not None and current not in found and len(found) < LINEAGE_MAX:
            found.append(current)
            record = self.instances.get(current)
            current = record.parent if record is not None else None
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What is known of this one request beside itself.

    `excess` is the hard budget that it does not fit into, if one is known before it is reserved, and `passed` are the
    soft ones. `is_stale`: the enforcement point has not heard of stops for too long. `objection` is what it has against
    the request by rules of its own, such as a call that is too large. `identities` are the credential by which it was
    known, and more that a stop may name.
    """

    at_unix_nano: int
    session: str | None = None
    identities: tuple[str, ...] = ()
    policy: PolicyFacts = field(default_factory=PolicyFacts)
    excess: Excess | None = None
    passed: tuple[Excess, ...] = ()
    is_stale: bool = False
    objection: str | None = None


def decide(request: Request, snapshot: Snapshot, moment: Moment) -> Decision:
    """Whether `request` is allowed, at this moment, by this snapshot."""
    instance = snapshot.registered(request.subject)
    stopped = _stop(request, snapshot, moment, instance)
    if stopped is not None:
        return stopped
    if instance is None:
        return _denied(snapshot, "identity", unregistered(request.subject))
    if not instance.is_living(moment.at_unix_nano):
        over = "has expired" if instance.state in {"created", "running"} else f"is {instance.state}"
        return _denied(snapshot, "identity", f"instance {instance.instance_id!r} {over}", instance)
    ruling = _manifest(request, snapshot, instance)
    if not ruling.granted:
        return _denied(snapshot, "manifest", ruling.reason, instance)
    if moment.excess is not None:
        return _denied(snapshot, "budget", str(moment.excess), instance)
    if moment.objection is not None:
        return _denied(snapshot, "policy", moment.objection, instance)
    if snapshot.policy is None:
        return _denied(snapshot, "policy", "there is no policy: an empty set denies all", instance)
    approved = with_lower(moment.policy.approved_tiers)
    outcome = snapshot.policy(snapshot.asked(request, instance), replace(moment.policy, approved_tiers=approved))
    decision = _policy(snapshot, instance, ruling, outcome, approved)
    return replace(decision, warnings=tuple(map(str, moment.passed))) if decision.allowed else decision


def environment_of(directory: Directory, instance: Instance) -> str | None:
    """Where an instance works: as was said when it was launched, else as its resource or its repository says."""
    places = (directory.facts(name) for name in (instance.resource, instance.repo) if name is not None)
    return instance.environment or next((one["environment"] for one in places if "environment" in one), None)


def entries_of(request: Request) -> tuple[str, ...]:
    """The names under which the directory may know the resource of a request, the nearest first."""
    name, server = request.named, request.resource.text("server")
    if request.action == "net.connect":
        return name, name.rpartition(":")[0]
    if request.action in {"tools/call", "resources/read"}:
        return (name,) if server is None else (name, server)
    return (name,) if request.action in _OF_THE_DIRECTORY else ()


def unregistered(subject: Subject) -> str:
    """Why a subject that is no registered instance is denied."""
    if subject.type != AGENT_INSTANCE:
        return f"the subject is a {subject.type!r}: only an {AGENT_INSTANCE!r} is decided about"
    return f"no instance {subject.id!r} is registered"


def places(request: Request, instance: Instance | None, lineage: tuple[str, ...], moment: Moment) -> Facts:
    """What a request is part of, for stops."""
    is_model = request.resource.type == "model" or request.action == "model.call"
    provider, _, model = request.resource.id.partition("/") if is_model else ("", "", "")
    is_tool = request.resource.type == "tool" or request.action == "tools/call"
    user = (instance.user, instance.launched_by) if instance is not None else ()
    return Facts(
        lineage=lineage,
        session=moment.session,
        trace_id=_text(request.context.get("trace_id")),
        workflow=instance.workflow if instance is not None else None,
        team=instance.team if instance is not None else None,
        tool=request.resource.id if is_tool else None,
        mcp_server=request.resource.id if request.resource.type == "mcp_server" else request.resource.text("server"),
        provider=provider or None,
        model=model or None,
        identities=tuple(dict.fromkeys(one for one in (*user, *moment.identities) if one is not None)),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _stop(request: Request, snapshot: Snapshot, moment: Moment, instance: Instance | None) -> Decision | None:
    facts = places(request, instance, snapshot.lineage(request.subject.id), moment)
    stop = snapshot.stops.matching(facts, at_unix_nano=moment.at_unix_nano)
    if stop is not None:
        code: Code = "stopped" if stop.mode == "stop" else "paused"
        scope, target = stop.key
        reason = f"{scope} {target} is {code}: {stop.reason}" if target else f"the {scope} is {code}: {stop.reason}"
        return _denied(snapshot, code, reason, instance, stop_id=stop.stop_id)
    if moment.is_stale and request.action not in READS:
        reason = "this enforcement point has not heard of stops for too long, so it lets nothing with effects pass"
        return _denied(snapshot, "stale", reason, instance)
    return None


def _manifest(request: Request, snapshot: Snapshot, instance: Instance) -> Ruling:
    grant = snapshot.grants.get(instance.manifest_digest)
    if grant is None:
        return Ruling(granted=False, reason=f"the manifest {instance.manifest_digest} is not known here")
    return grant.ruling(request)


def _policy(
    snapshot: Snapshot, instance: Instance, ruling: Ruling, outcome: Outcome, approved: Collection[str]
) -> Decision:
    ids = tuple(policy.policy_id for policy in outcome.policies)
    tiers = _missing(ruling.approval, outcome.tiers, approved)
    lifts = bool(outcome.tiers) and not set(outcome.tiers) & set(approved)
    if not outcome.allowed and not lifts:
        told = [policy.reason or policy.policy_id for policy in outcome.policies] or list(outcome.errors)
        return _denied(snapshot, "policy", "; ".join(told) or "no policy permits it", instance, policy_ids=ids)
    if tiers:
        return Decision(
            effect="require_approval",
            code="approval",
            reason=f"an approval is needed: {', '.join(tiers)}",
            policy_ids=ids,
            policy_digest=_digest(snapshot),
            manifest_digest=instance.manifest_digest,
            stop_epoch=snapshot.stops.epoch,
            tiers=tiers,
        )
    return Decision(
        effect="allow",
        reason="; ".join(policy.reason or policy.policy_id for policy in outcome.policies),
        policy_ids=ids,
        policy_digest=_digest(snapshot),
        manifest_digest=instance.manifest_digest,
        stop_epoch=snapshot.stops.epoch,
    )


def _missing(manifest: Tier, policy: Iterable[str], approved: Collection[str]) -> tuple[str, ...]:
    """The approvals that the manifest and the policies ask for and that are not given."""
    asked = dict.fromkeys((*policy, *((manifest,) if manifest != "none" else ())))
    return tuple(tier for tier in asked if tier not in approved)


def with_lower(tiers: Iterable[str]) -> tuple[str, ...]:
    """The tiers, and those below them: who may approve much may approve little."""
    given = set(tiers)
    highest = max((place for place, tier in enumerate(TIERS) if tier in given), default=0)
    return tuple(sorted(given | set(TIERS[1 : highest + 1])))


def _denied(
    snapshot: Snapshot,
    code: Code,
    reason: str,
    instance: Instance | None = None,
    *,
    policy_ids: tuple[str, ...] = (),
    stop_id: str | None = None,
) -> Decision:
    return Decision(
        effect="deny",
        code=code,
        reason=reason,
        policy_ids=policy_ids,
        policy_digest=_digest(snapshot),
        manifest_digest=instance.manifest_digest if instance is not None else None,
        stop_id=stop_id,
        stop_epoch=snapshot.stops.epoch,
    )


def _digest(snapshot: Snapshot) -> str | None:
    return snapshot.policy.bundle.digest if snapshot.policy is not None else None
