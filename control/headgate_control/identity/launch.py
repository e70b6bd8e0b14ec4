"""Launching instances: the record, its manifest and its gateway key, in one change."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from headgate_control.budgets.budget import Budget
from headgate_control.budgets.rules import limits_of
from headgate_control.decide.core import Snapshot
from headgate_control.identity.gateway_key import GatewayKey, new_key
from headgate_control.identity.instance import LIVING, Instance, new_id
from headgate_control.kinds import BUDGET, GATEWAY_KEY, INSTANCE, LIMIT, MANIFEST, write_budget, write_grant
from headgate_control.limits.limit import Limit
from headgate_control.manifests.grant import Grant
from headgate_control.manifests.limits import held_by
from headgate_control.manifests.spec import TIERS, BudgetRule
from headgate_control.stops.stop import Facts
from headgate_control.store.port import ControlStore
from headgate_control.store.record import Change
from headgate_processors.errors import ConfigError, ForbiddenError


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What whoever starts an agent says of it; what its manifest says is not said again.

    `author` is who registers it, for the journal, where that is somebody else than who launches it; `reason` why.
    """

    grant: Grant
    launched_by: str
    author: str | None = None
    user: str | None = None
    parent: str | None = None
    restart_of: str | None = None
    environment: str | None = None
    lifetime_ns: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """An instance and its gateway key, whose text is in no other place."""

    instance: Instance
    gateway_key: str


def launch(
    store: ControlStore, snapshot: Snapshot, asked: Launch, *, clock: Callable[[], int] = time.time_ns
) -> Launched:
    """Register an instance.

    Raises:
        ConfigError: its parent, or the one it restarts, is not known.
        ForbiddenError: something that it would be part of is stopped, its line included; its parent is over, or the
            one it restarts is revoked.
        TransientError: the store cannot be written.
    """
    now = clock()
    instance = _instance(snapshot, asked, now)
    _refuse_over(snapshot, instance, now)
    _refuse_stopped(snapshot, instance, now)
    text, key = new_key(instance.instance_id, created_unix_nano=now, expires_unix_nano=instance.expires_unix_nano)
    budgets, limit = list(budgets_of(asked.grant, instance)), limit_of(asked.grant, instance)
    changes = [
        Change(kind=MANIFEST, id=instance.manifest_digest, body=write_grant(asked.grant)),
        Change(kind=INSTANCE, id=instance.instance_id, body=instance.written(), revision=0),
        Change(kind=GATEWAY_KEY, id=key.key_id, body=key.written(), revision=0),
        *(Change(kind=BUDGET, id=budget.budget_id, body=write_budget(budget)) for budget in budgets),
        *(() if limit is None else (Change(kind=LIMIT, id=limit.limit_id, body=limit.written()),)),
    ]
    store.change(changes, author=asked.author or asked.launched_by, action="instance.create", reason=asked.reason)
    return Launched(instance=instance, gateway_key=text)


def revoke(store: ControlStore, instance_id: str, keys: Iterable[GatewayKey], *, author: str, reason: str) -> Instance:
    """End an instance and its keys for good. Doing so again changes nothing.

    Raises:
        ConfigError: there is no such instance.
        TransientError: the store cannot be written.
    """
    record = store.get(INSTANCE, instance_id)
    if record is None:
        message = f"no instance {instance_id!r}: see headgate instance list"
        raise ConfigError(message)
    instance = Instance.read(record.body)
    if instance.state == "revoked":
        return instance
    ended, now = instance.with_state("revoked"), time.time_ns()
    own = [replace(key, revoked_unix_nano=now) for key in keys if key.instance_id == instance_id]
    changes = [
        Change(kind=INSTANCE, id=instance_id, body=ended.written(), revision=record.revision),
        *(Change(kind=GATEWAY_KEY, id=key.key_id, body=key.written()) for key in own),
    ]
    store.change(changes, author=author, action="instance.revoke", reason=reason)
    return ended


def began(store: ControlStore, instance_ids: Iterable[str], *, author: str, at_unix_nano: int) -> int:
    """Write down that instances run; how many did not before. Those that are over stay what they are.

    Raises:
        ConflictError: somebody changes one of them at the same moment.
        TransientError: the store cannot be written.
    """
    records = [record for one in sorted(instance_ids) if (record := store.get(INSTANCE, one)) is not None]
    changes = [
        Change(kind=INSTANCE, id=record.id, body=found.with_state("running").written(), revision=record.revision)
        for record in records
        if (found := Instance.read(record.body)).state == "created" and found.is_living(at_unix_nano)
    ]
    if changes:
        store.change(changes, author=author, action="instance.run", reason="its first request came")
    return len(changes)


def budgets_of(grant: Grant, instance: Instance) -> Iterator[Budget]:
    """The ceilings that a manifest and its profiles put on an instance and on what it is part of."""
    for level in grant.levels:
        for rule in level.spec.budgets:
            target = _target(rule, instance)
            if target is not None:
                yield Budget(
                    budget_id=f"{level.metadata.name}/{rule.scope}:{target}:{rule.window}:{rule.mode}",
                    place=(rule.scope, target),
                    window=rule.window,
                    limits=limits_of(rule),
                    mode=rule.mode,
                )


def limit_of(grant: Grant, instance: Instance) -> Limit | None:
    """How fast a manifest and its profiles let an instance call, if they say so."""
    held = held_by(grant)
    if not held:
        return None
    most = {unit: one.most for unit, one in held.items()}
    return Limit(
        limit_id=f"{MANIFEST}/{instance.instance_id}",
        place=("instance", instance.instance_id),
        calls_per_minute=most.get("calls_per_minute"),
        tokens_per_minute=most.get("tokens_per_minute"),
        open_calls_max=most.get("open_calls"),
    )


def _instance(snapshot: Snapshot, asked: Launch, now: int) -> Instance:
    told, parent = asked.grant.metadata, _known(snapshot, asked.parent)
    _known(snapshot, asked.restart_of)
    instance_id = new_id("ai")
    tiers = [level.spec.risk_tier for level in asked.grant.levels if level.spec.risk_tier is not None]
    runtime = next((level.spec.runtime.driver for level in asked.grant.levels[::-1] if level.spec.runtime), None)
    return Instance(
        instance_id=instance_id,
        manifest_digest=asked.grant.digest,
        root=parent.root if parent is not None else instance_id,
        state="created",
        created_unix_nano=now,
        expires_unix_nano=now + asked.lifetime_ns if asked.lifetime_ns is not None else None,
        launched_by=asked.launched_by,
        user=asked.user or (parent.user if parent is not None else None),
        team=told.team,
        workflow=told.workflow,
        repo=told.repo,
        resource=told.resource,
        environment=asked.environment,
        task_class=told.task_class,
        risk_tier=max(tiers, key=TIERS.index, default=None),
        policy_profile=told.inherits,
        runtime=runtime,
        parent=asked.parent,
        restart_of=asked.restart_of,
    )


def _known(snapshot: Snapshot, instance_id: str | None) -> Instance | None:
    found = snapshot.instances.get(instance_id) if instance_id is not None else None
    if instance_id is not None and found is None:
        message = f"no instance {instance_id!r}: see headgate instance list"
        raise ConfigError(message)
    return found


def _refuse_over(snapshot: Snapshot, instance: Instance, now: int) -> None:
    """Whoever may not act launches nobody; work that came to its end is taken up again, revoked work is not."""
    parent = _known(snapshot, instance.parent)
    if parent is not None and not parent.is_living(now):
        what = "expired" if parent.state in LIVING else parent.state
        message = (
            f"instance {parent.instance_id} is {what} and launches nobody: leave --parent out, or name a living one"
        )
        raise ForbiddenError(message)
    before = _known(snapshot, instance.restart_of)
    if before is not None and before.state == "revoked":
        message = (
            f"instance {before.instance_id} is revoked, and its work is not taken up again: "
            "leave --restart-of out to register another"
        )
        raise ForbiddenError(message)


def _refuse_stopped(snapshot: Snapshot, instance: Instance, now: int) -> None:
    """Whoever restarts what was stopped is told by what."""
    line = [
        one for start in (instance.parent, instance.restart_of) if start is not None for one in snapshot.lineage(start)
    ]
    facts = Facts(
        lineage=line,
        workflow=instance.workflow,
        team=instance.team,
        identities=[one for one in (instance.user, instance.launched_by) if one is not None],
    )
    found = snapshot.stops.matching(facts, at_unix_nano=now)
    if found is not None:
        scope, target = found.key
        message = f"{scope} {target} is held by {found.stop_id} ({found.reason}): headgate resume {scope} {target}"
        raise ForbiddenError(message)


def _target(rule: BudgetRule, instance: Instance) -> str | None:
    """Whom a rule of a manifest limits; None where the instance has no such thing."""
    targets: dict[str, str | None] = {
        "platform": "",
        "team": instance.team,
        "user": instance.user,
        "workflow": instance.workflow,
        "task_class": instance.task_class,
        "model": rule.id,
        "instance": instance.instance_id,
    }
    return targets[rule.scope]
