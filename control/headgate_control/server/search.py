"""AuthZEN's searches: who may do it, what it may be done to, what may be done. No search is a decision or is logged.

What is searched is what is known: registered instances, and the names that manifests write out. A pattern such as
`gpt-5-*` stands for names that nobody has listed, so none of them is a result.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, TypeVar

import orjson

from headgate_control.decide.core import Moment, Snapshot, decide
from headgate_control.manifests.entries import effective
from headgate_control.manifests.grant import Grant
from headgate_control.manifests.spec import MEMORY_SCOPES
from headgate_control.request import ActionName, Request, Resource
from headgate_control.server.wire import ACTIONS, WireError, parse_evaluation

RESULTS_MAX = 500
TRIED_MAX = 500
ACTIONS_OF: Mapping[str, tuple[ActionName, ...]] = {
    "model": ("model.call",),
    "provider": ("model.list",),
    "tool": ("tools/call",),
    "data_source": ("resources/read",),
    "host": ("net.connect",),
    "command": ("proc.exec",),
    "file": ("file.read", "file.write"),
    "memory": ("memory.read", "memory.write"),
    "credential": ("credential.use",),
    "artifact": ("artifact.export",),
    "agent": ("agent.send",),
    "runtime": ("instance.launch",),
}
"""What may be done to a resource of each type; a type that is not listed is asked about with every action."""
_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "model": ("models",),
    "provider": ("models",),
    "tool": ("tools", "tools of MCP servers"),
    "data_source": ("data_sources",),
    "host": ("network",),
    "command": ("commands",),
    "file": ("filesystem.read", "filesystem.write"),
    "credential": ("credentials",),
    "artifact": ("artifacts",),
    "agent": ("agents",),
    "runtime": ("runtime.driver",),
}
_ANY = "*"
_SORTED = orjson.OPT_SORT_KEYS
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Searches one state. `own` is the instance of an agent, which hears of nobody else."""

    snapshot: Snapshot
    moment: Callable[[Request], Moment]
    own: str | None = None

    def subjects(self, body: object) -> Mapping[str, Any]:
        """The instances that may do an action to a resource, of the type that `subject.type` names.

        Raises:
            WireError: a part is missing or wrong.
        """
        whole = _with(body, "subject")
        asked = parse_evaluation(whole)
        ids = [self.own] if self.own is not None else sorted(self.snapshot.instances)
        if asked.subject.type != "agent_instance":
            ids = []
        return _paged(
            whole,
            ids,
            lambda one: {"type": "agent_instance", "id": one} if self._allows(whole, subject=one) else None,
        )

    def resources(self, body: object) -> Mapping[str, Any]:
        """What a subject may do an action to, of the type that `resource.type` names.

        Raises:
            WireError: a part is missing or wrong.
        """
        whole = _with(body, "resource")
        asked = parse_evaluation(whole)
        instance = self.snapshot.registered(asked.subject)
        grant = self.snapshot.grants.get(instance.manifest_digest) if instance is not None else None
        known = named(grant, asked.resource.type) if grant is not None and self._is_about(asked) else ()
        return _paged(whole, known, lambda one: _written(one) if self._allows(whole, resource=one) else None)

    def actions(self, body: object) -> Mapping[str, Any]:
        """What a subject may do to a resource.

        Raises:
            WireError: a part is missing or wrong.
        """
        whole = {**_object(body), "action": {"name": ACTIONS[0]}}
        asked = parse_evaluation(whole)
        known = ACTIONS_OF.get(asked.resource.type, ACTIONS) if self._is_about(asked) else ()
        return _paged(whole, known, lambda one: {"name": one} if self._allows(whole, action=one) else None)

    def _is_about(self, asked: Request) -> bool:
        return self.own is None or asked.subject.id == self.own

    def _allows(
        self,
        whole: Mapping[str, Any],
        *,
        subject: str | None = None,
        action: ActionName | None = None,
        resource: Resource | None = None,
    ) -> bool:
        changed = dict(whole)
        if subject is not None:
            changed["subject"] = {**whole["subject"], "id": subject}
        if action is not None:
            changed["action"] = {"name": action}
        if resource is not None:
            properties = {**(whole["resource"].get("properties") or {}), **resource.properties}
            changed["resource"] = {"type": resource.type, "id": resource.id, "properties": properties}
        request = parse_evaluation(changed)
        return decide(request, self.snapshot, self.moment(request)).allowed


def named(grant: Grant, kind: str) -> Sequence[Resource]:
    """The resources of a type that a manifest writes out in full, each once."""
    if kind == "memory":
        return [Resource(type=kind, id=scope) for scope in MEMORY_SCOPES[1:]]
    sections = effective(grant)
    entries = (entry for name in _SECTIONS.get(kind, ()) for entry in sections.get(name, ()))
    found: dict[tuple[str, str], Resource] = {}
    for entry in entries:
        parts = [part[0].text for part in entry.parts]
        wanted = parts[:1] if kind == "provider" else parts
        if any(_ANY in part or "?" in part for part in wanted):
            continue
        resource = _resource(kind, wanted)
        found[resource.id, resource.text("server") or ""] = resource
    return list(found.values())


def metadata(base: str) -> Mapping[str, Any]:
    """The document of `/.well-known/authzen-configuration`, for a decision point at `base`."""
    return {
        "policy_decision_point": base,
        "access_evaluation_endpoint": f"{base}/access/v1/evaluation",
        "access_evaluations_endpoint": f"{base}/access/v1/evaluations",
        "search_subject_endpoint": f"{base}/access/v1/search/subject",
        "search_resource_endpoint": f"{base}/access/v1/search/resource",
        "search_action_endpoint": f"{base}/access/v1/search/action",
    }


def _resource(kind: str, parts: Sequence[str]) -> Resource:
    if kind == "tool" and len(parts) == 2:
        return Resource(type=kind, id=parts[1], properties={"server": parts[0]})
    return Resource(type=kind, id=(":" if kind == "host" else "/").join(parts))


def _written(resource: Resource) -> Mapping[str, Any]:
    plain = {"type": resource.type, "id": resource.id}
    return {**plain, "properties": dict(resource.properties)} if resource.properties else plain


def _object(body: object) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise WireError("the body: expected an object")
    return body


def _with(body: object, part: str) -> Mapping[str, Any]:
    """The body with an id in the part that is searched; whatever id stood there is ignored."""
    whole = _object(body)
    found = whole.get(part)
    if not isinstance(found, Mapping):
        raise WireError(f"{part}: expected an object with the type that is searched")
    return {**whole, part: {**found, "id": "any"}}


def _paged(
    whole: Mapping[str, Any], known: Sequence[_T], result: Callable[[_T], Mapping[str, object] | None]
) -> Mapping[str, Any]:
    """One page of results, and the token of the next, empty where there is none.

    A page ends early where much was tried and little found: whoever decides live calls waits for nobody's search.
    """
    page = _page(whole)
    place, listed = page.begin, list[Mapping[str, object]]()
    end = min(len(known), place + TRIED_MAX)
    while place < end and len(listed) < page.limit:
        found = result(known[place])
        place += 1
        if found is not None:
            listed.append(found)
    token = replace(page, begin=place).token() if place < len(known) else ""
    return {"page": {"next_token": token, "count": len(listed)}, "results": listed}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """Where a page begins and how long it is; `asked` is a digest of the search that it is a page of."""

    begin: int
    limit: int
    asked: str

    def token(self) -> str:
        """The page as the text by which it is asked for."""
        return base64.urlsafe_b64encode(orjson.dumps([self.begin, self.limit, self.asked])).decode()


def _page(whole: Mapping[str, Any]) -> _Page:
    """The page that is asked for: with a token the search must be that of the page before.

    Raises:
        WireError: it is none, or another search's.
    """
    page = whole.get("page")
    if page is not None and not isinstance(page, Mapping):
        raise WireError("page: expected an object")
    page = page or {}
    token, limit = page.get("token") or "", page.get("limit")
    if limit is not None and (type(limit) is not int or limit < 0):
        raise WireError("page.limit: expected a whole number of at least 0")
    parts = orjson.dumps([whole.get(name) for name in ("subject", "action", "resource", "context")], option=_SORTED)
    asked = sha256(parts).hexdigest()[:16]
    if not token:
        return _Page(begin=0, limit=min(RESULTS_MAX if limit is None else limit, RESULTS_MAX), asked=asked)
    before = _page_of(token)
    if before.asked != asked or (limit is not None and min(limit, RESULTS_MAX) != before.limit):
        raise WireError(
            "page.token: it is of another search; ask for the next page as for the first, but for the token"
        )
    return before


def _page_of(token: object) -> _Page:
    try:
        begin, limit, asked = orjson.loads(base64.urlsafe_b64decode(str(token)))
    except (ValueError, TypeError, binascii.Error) as error:
        raise WireError("page.token: expected the next_token of an earlier page") from error
    if type(begin) is not int or type(limit) is not int or not 0 <= limit <= RESULTS_MAX or begin < 0:
        raise WireError("page.token: expected the next_token of an earlier page")
    return _Page(begin=begin, limit=limit, asked=str(asked))
