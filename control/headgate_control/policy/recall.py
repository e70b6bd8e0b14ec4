"""A recorded decision asked again: what its record says of the request, what it does not, and who asks for that.

Arguments, contents and credentials are in no record, and neither is what a session had done or a budget had left.
What is not recorded is unknown here, and is never made up.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from headgate_control.decide.core import Moment, Snapshot
from headgate_control.manifests.grant import Grant
from headgate_control.manifests.rulings import fits_tool
from headgate_control.policy.bundle import Bundle
from headgate_control.policy.explain import Explanation, explain
from headgate_control.request import ActionName, Request, Resource, Subject
from headgate_control.server.wire import ACTIONS
from headgate_processors.errors import ConfigError

NOT_OF_POLICIES: Mapping[str, str] = {
    "budget": "what its budgets had left, and what it would have cost",
    "rate": "how many calls and tokens its limits had left",
    "stale": "how long ago the enforcement point had heard of stops",
    "error": "what failed at that moment",
}
"""What denied by these codes is not asked again, and what of the moment it would take."""
_NOT_ASKED: Mapping[str, str] = {
    "feed": "no record says how long ago stops were heard of",
    "budget": "no record says what was left, or what it might have cost",
}
_CALLS: Collection[str] = ("model.call",)
_Part = tuple[str, str]
"""A variable of Cedar, and the attribute of it that a policy asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Something of the request or its moment that no record has; `asked_by` are those whose answer it may change."""

    what: str
    told: str
    asked_by: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """A decision asked again: `same` says whether effect and code are as recorded.

    `certain`: nothing that is unknown could change that.
    """

    explanation: Explanation
    same: bool
    unknown: Sequence[Unknown]

    @property
    def certain(self) -> bool:
        """Whether it would be decided so whatever is not recorded."""
        return not any(one.asked_by for one in self.unknown)


def recall(row: Mapping[str, Any], snapshot: Snapshot, *, at_unix_nano: int) -> Recalled:
    """Decide a row of `decisions` again, by this snapshot, at this moment.

    Raises:
        ConfigError: this version does not know its action.
    """
    request = request_of(row)
    session = row.get("session_key")
    found = explain(request, snapshot, Moment(at_unix_nano=at_unix_nano, session=session))
    was, now = (row.get("effect"), row.get("code")), (found.decision.effect, found.decision.code)
    instance = snapshot.registered(request.subject)
    grant = snapshot.grants.get(instance.manifest_digest) if instance is not None else None
    # What is over before policies or the manifest are asked does not depend on what these would ask for.
    is_asked = found.decision.code not in {"stopped", "paused", "identity"}
    looked = [one.policy_id for one in found.looked_at] if is_asked and found.decision.code != "manifest" else []
    bundle = snapshot.policy.bundle if snapshot.policy is not None else None
    unknown = list(_unknown(row, request, grant if is_asked else None, _asking(bundle, looked)))
    steps = [
        replace(one, verdict="not asked", told=told) if (told := _NOT_ASKED.get(one.step)) else one
        for one in found.steps
    ]
    return Recalled(explanation=replace(found, steps=steps), same=was == now, unknown=unknown)


def request_of(row: Mapping[str, Any]) -> Request:
    """The request of a row, as far as it is recorded.

    Raises:
        ConfigError: this version does not know its action.
    """
    action: ActionName | None = next((one for one in ACTIONS if one == row["action"]), None)
    if action is None:
        message = f"decision {row['decision_id']} is about {row['action']!r}, an action that this version does not know"
        raise ConfigError(message)
    kind, named = str(row.get("resource_type") or ""), str(row.get("resource_id") or "")
    resource = Resource(type=kind, id=named.partition(" ")[0] if kind == "command" else named)
    context = {"session": row.get("session_key"), **{name: row.get(name) for name in ("trace_id", "tool_use_id")}}
    return Request(
        subject=Subject(type="agent_instance", id=str(row.get("instance_id") or "")),
        action=action,
        resource=resource.as_tool() if action == "tools/call" else resource,
        context={name: value for name, value in context.items() if value is not None},
    )


def _unknown(
    row: Mapping[str, Any], request: Request, grant: Grant | None, asking: Callable[[str, str], Sequence[str]]
) -> Iterator[Unknown]:
    code = str(row.get("code"))
    if code in NOT_OF_POLICIES:
        yield Unknown(what=code, told=NOT_OF_POLICIES[code], asked_by=(f"the {code} step",))
    if request.resource.type == "command":
        asked_by = ("the manifest",) if _names(grant, "commands") else ()
        yield Unknown(what="resource.id", told="the command line after its first word", asked_by=asked_by)
    yield Unknown(
        what="context.input",
        told="the arguments of the call",
        asked_by=(*asking("context", "input"), *(("the manifest",) if _limits_arguments(grant, request) else ())),
    )
    facts = {
        "session": "what its session had done before",
        "budget": "what its budgets had left",
        "content_classes": "what its content held",
        "approved_tiers": "the approvals that it had",
        **({"estimate": "what it might have cost"} if request.action in _CALLS else {}),
    }
    for fact, told in facts.items():
        yield Unknown(what=f"context.{fact}", told=told, asked_by=asking("context", fact))
    for fact in ("environment", "sensitivity"):
        told = f"the {fact} of the resource, where whoever asked said it"
        yield Unknown(what=f"resource.{fact}", told=told, asked_by=asking("resource", fact))
    yield Unknown(what="identities", told="the credential that was shown, which a stop may name")


def _asking(bundle: Bundle | None, looked: Sequence[str]) -> Callable[[str, str], Sequence[str]]:
    """Which of some policies ask for a part of the request."""
    asked = {} if bundle is None else {name: set(_parts(bundle.written[name]["conditions"])) for name in looked}
    return lambda variable, part: tuple(name for name, parts in asked.items() if (variable, part) in parts)


def _parts(written: object) -> Iterator[_Part]:
    """What a policy asks for, in Cedar's own JSON: every attribute that is read of a variable, or looked for."""
    if isinstance(written, Mapping):
        for operator in (".", "has"):
            inner = written.get(operator)
            if isinstance(inner, Mapping) and isinstance(left := inner.get("left"), Mapping) and "Var" in left:
                yield str(left["Var"]), str(inner.get("attr"))
        for value in written.values():
            yield from _parts(value)
    elif isinstance(written, list):
        for value in written:
            yield from _parts(value)


def _names(grant: Grant | None, section: Literal["commands", "tools"]) -> bool:
    return grant is not None and any(getattr(level.spec, section) for level in grant.levels)


def _limits_arguments(grant: Grant | None, request: Request) -> bool:
    if grant is None or request.action != "tools/call":
        return False
    server, tool = request.resource.text("server"), request.resource.id
    rules = (rule for level in grant.levels for rule in level.spec.tools or () if fits_tool(rule, tool, server))
    return any(rule.arguments or not rule.other_arguments for rule in rules)
