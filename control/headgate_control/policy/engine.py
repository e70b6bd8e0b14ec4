"""What the policies of a bundle say to a request."""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from cedarpy import Entities, Schema, is_authorized

from headgate_control.identity.directory import REFERENCES, Known
from headgate_control.policy.bundle import Bundle, Policy
from headgate_control.policy.schema import NAMESPACE, RESOURCES, entity_type
from headgate_control.policy.slicer import SLICES_MAX, Slicer, Uid, keep
from headgate_control.request import Request

ENTITIES_CACHED_MAX = 4_096
_TYPE_OF = {action: resource for resource, actions in RESOURCES.items() for action in actions}
_TRAITS = (
    "risk_tier",
    "runtime",
    "task_class",
    "environment",
    "identity_source",
    "launched_by",
    "manifest_digest",
)
_GROUPS = (("workflow", "Workflow"), ("team", "Team"), ("user", "User"), ("policy_profile", "Profile"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """What has happened in the session so far, as its gateway counted it."""

    model_calls: int = 0
    tool_calls: int = 0
    errors: int = 0
    retries: int = 0
    micro_usd: int = 0
    untrusted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFacts:
    """What policies may use beside the request itself. None is not known, and no policy sees a number then."""

    session: SessionFacts = SessionFacts()
    micro_usd_left: int | None = None
    tokens_left: int | None = None
    calls_left: int | None = None
    micro_usd_estimate: int | None = None
    tokens_estimate: int | None = None
    content_classes: Sequence[str] = ()
    approved_tiers: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the policies say: `allowed`, or not; then `tiers` are the approvals that would lift it, if any would.

    `policies` are those that determined it; none of them where nothing permits it.
    """

    allowed: bool
    policies: tuple[Policy, ...] = ()
    tiers: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


class PolicyEngine:
    """Evaluates one bundle; makes no decision of its own: what it cannot evaluate is not allowed.

    Any number of threads may share one: what is kept is the same whoever made it, and only keeping it takes a lock.
    `entities_max` bounds the entity graphs that are kept, `slices_max` the sets of policies.
    """

    def __init__(
        self, bundle: Bundle, *, entities_max: int = ENTITIES_CACHED_MAX, slices_max: int = SLICES_MAX
    ) -> None:
        self.bundle = bundle
        self._schema = Schema.from_str(bundle.schema)
        self._slicer = Slicer(bundle.written, slices_max=slices_max)
        self._entities_max, self._guard = entities_max, threading.Lock()
        self._graphs: OrderedDict[tuple[object, ...], _Graph] = OrderedDict()

    def __call__(self, request: Request, facts: PolicyFacts = PolicyFacts()) -> Outcome:
        """What the bundle says. What cannot be evaluated, and an error in any policy that was looked at, is a deny."""
        try:
            return self._evaluated(request, facts)
        except (ValueError, TypeError) as error:
            return Outcome(allowed=False, errors=(f"the request cannot be evaluated: {error}",))

    def looked_at(self, request: Request) -> tuple[Policy, ...]:
        """The policies that are evaluated for a request, in the order of their ids: the others cannot match it.

        Raises:
            ValueError: the request cannot be evaluated.
        """
        graph = self._graph(request)
        chosen = self._slicer.chosen(graph.action, graph.principals, graph.resources)
        return tuple(self.bundle.policies[name] for name in chosen)

    def _evaluated(self, request: Request, facts: PolicyFacts) -> Outcome:
        graph = self._graph(request)
        # Arguments that Cedar cannot read are a deny, whether a policy looks at them or not.
        has_arguments = bool(self.bundle.arguments and request.arguments)
        if graph.outcome is not None and not has_arguments:
            return graph.outcome
        chosen = self._slicer.chosen(graph.action, graph.principals, graph.resources)
        if has_arguments or self._slicer.reads_context(chosen):
            return self._answered(graph, chosen, _context(request, facts, self.bundle))
        graph.outcome = self._answered(graph, chosen, _context(request, PolicyFacts(), self.bundle))
        return graph.outcome

    def _answered(self, graph: "_Graph", chosen: tuple[str, ...], context: Mapping[str, object]) -> Outcome:
        asked = {
            "principal": _uid(graph.principals[0]),
            "action": _uid(graph.action),
            "resource": _uid(graph.resources[0]),
            "context": orjson.dumps(context).decode(),
        }
        result = is_authorized(asked, self._slicer.slice(chosen), graph.entities, self._schema)
        told = tuple(self.bundle.policies[name] for name in sorted(result.diagnostics.reasons))
        errors = tuple(str(error) for error in result.diagnostics.errors)
        if result.allowed and not errors:
            return Outcome(allowed=True, policies=told)
        forbids = [policy for policy in told if not policy.permits]
        lifted = {policy.approval for policy in forbids}
        tiers = () if None in lifted or errors else tuple(sorted(tier for tier in lifted if tier is not None))
        return Outcome(allowed=False, policies=tuple(forbids), tiers=tiers, errors=errors)

    def _graph(self, request: Request) -> "_Graph":
        key = (_said(request.subject.id, request.subject.properties), request.action, *_told(request))
        found = self._graphs.get(key)
        if found is None:
            principals, resources = list(_principal(request)), list(_resource(request))
            every = [*principals, *_beside(request, principals), *resources]
            found = _Graph(
                entities=Entities.from_json_str(json.dumps(every), self._schema),
                action=(f"{NAMESPACE}::Action", request.action),
                principals=[_uid_of(one) for one in principals],
                resources=[_uid_of(one) for one in resources],
            )
            keep(self._graphs, key, found, most=self._entities_max, guard=self._guard)
        return found


@dataclass(slots=True, kw_only=True)
class _Graph:
    """The entities of a request: its principal and its resource, each before all that is above it, and what is beside.

    `outcome` is what the policies say to it, where that depends on nothing else.
    """

    entities: Entities
    action: Uid
    principals: Sequence[Uid]
    resources: Sequence[Uid]
    outcome: Outcome | None = None


def _said(name: str, properties: Mapping[str, object]) -> tuple[object, ...]:
    listed = properties.get("lineage")
    lineage = tuple(listed) if isinstance(listed, list | tuple) else ()
    told = (properties.get(trait) for trait in (*_TRAITS, *(group for group, _ in _GROUPS)))
    return (name, lineage, properties.get("around"), *told)


def _told(request: Request) -> tuple[object, ...]:
    resource = request.resource
    return (
        resource.type,
        resource.id,
        *(resource.properties.get(name) for name in ("server", "sensitivity", "environment")),
    )


def _principal(request: Request) -> Iterator[dict[str, Any]]:
    """The instance, then the groups it is in, with what the directory knows of these."""
    properties = request.subject.properties
    groups = [(kind, value) for name, kind in _GROUPS if isinstance(value := properties.get(name), str) and value]
    listed = properties.get("lineage")
    ancestors = [str(one) for one in listed] if isinstance(listed, list | tuple) else []
    parents = [*groups, *(("AgentInstance", one) for one in ancestors if one != request.subject.id)]
    around = {(entity_type(one.kind), one.id): one for one in _around(properties)}
    traits: dict[str, object] = {
        trait: value for trait in _TRAITS if isinstance(value := properties.get(trait), str)
    } | {
        one.kind: _uid((f"{NAMESPACE}::{kind}", name))
        for (kind, name), one in around.items()
        if _is_own(one, properties)
    }
    yield _entity("AgentInstance", request.subject.id, traits, parents)
    for kind, name in parents:
        found = around.get((kind, name))
        yield _entity(kind, name, _facts(found) if found is not None else None)


def _beside(request: Request, principals: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """What the directory knows around an instance that is in none of it, such as its repository."""
    told = {_uid_of(one) for one in principals}
    for one in _around(request.subject.properties):
        if (f"{NAMESPACE}::{entity_type(one.kind)}", one.id) not in told:
            yield _entity(entity_type(one.kind), one.id, _facts(one))


def _around(properties: Mapping[str, object]) -> Iterator[Known]:
    """What the snapshot has put beside an instance; a caller's own words are no such thing."""
    listed = properties.get("around")
    return (one for one in listed if isinstance(one, Known)) if isinstance(listed, tuple) else iter(())


def _is_own(entry: Known, properties: Mapping[str, object]) -> bool:
    """Whether the instance itself is of an entry, and not only something around it."""
    return properties.get("launched_by" if entry.kind == "service" else entry.kind) == entry.id


def _facts(entry: Known) -> dict[str, object]:
    return {
        fact: _uid((f"{NAMESPACE}::{entity_type(REFERENCES[fact])}", value)) if fact in REFERENCES else value
        for fact, value in entry.facts
    }


def _resource(request: Request) -> Iterator[dict[str, Any]]:
    """The resource, then what it belongs to."""
    resource, kind = request.resource, _TYPE_OF[request.action]
    traits = {name: text for name in ("sensitivity", "environment") if (text := resource.text(name)) is not None}
    if kind == "Model":
        provider, _, model = resource.id.partition("/")
        yield _entity("Model", resource.id, {"name": model}, [("Provider", provider)])
        yield _entity("Provider", provider)
    elif kind == "Tool":
        server = resource.text("server")
        above = [("McpServer", server)] if server is not None else []
        yield _entity("Tool", request.named, {"name": resource.id, **traits}, above)
        for other, name in above:
            yield _entity(other, name)
    else:
        yield _entity("Thing", request.named, {"type": resource.type, **traits})


def _entity(
    kind: str, name: str, attributes: Mapping[str, object] | None = None, parents: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    return {
        "uid": _uid((f"{NAMESPACE}::{kind}", name)),
        "attrs": attributes or {},
        "parents": [_uid((f"{NAMESPACE}::{above}", one)) for above, one in parents],
    }


def _uid(uid: Uid) -> dict[str, str]:
    return {"type": uid[0], "id": uid[1]}


def _uid_of(entity: Mapping[str, Any]) -> Uid:
    return entity["uid"]["type"], entity["uid"]["id"]


def _context(request: Request, facts: PolicyFacts, bundle: Bundle) -> dict[str, object]:
    session = facts.session
    return {
        "session": {
            "model_calls": session.model_calls,
            "tool_calls": session.tool_calls,
            "errors": session.errors,
            "retries": session.retries,
            "micro_usd": session.micro_usd,
            "untrusted": session.untrusted,
        },
        "budget": _known(
            micro_usd_left=facts.micro_usd_left, tokens_left=facts.tokens_left, calls_left=facts.calls_left
        ),
        "estimate": _known(micro_usd=facts.micro_usd_estimate, tokens=facts.tokens_estimate),
        "content_classes": list(facts.content_classes),
        "approved_tiers": list(facts.approved_tiers),
        "input": _input(request.arguments, bundle) if bundle.arguments else {},
    }


def _known(**values: int | None) -> dict[str, int]:
    return {name: value for name, value in values.items() if value is not None}


_PYTHON_TYPES = {"String": str, "Long": int, "Bool": bool}


def _input(arguments: Mapping[str, object], bundle: Bundle) -> dict[str, object]:
    """The declared arguments that are of their declared type; policies do not see the others."""
    return {
        name: value
        for name, kind in bundle.arguments.items()
        if type(value := arguments.get(name)) is _PYTHON_TYPES[kind] and (kind != "Long" or -(2**63) <= value < 2**63)  # type: ignore[operator]
    }
