"""Who a span belongs to: the agent instance, and the team, user, workflow and repository around it.

Precedence of the instance: `verified` (a credential that somebody authenticated), `claimed` (resource
attributes name a registered instance), `matched` (a rule of the registry), `unknown` (a stable
synthetic id). Trace ids, `gen_ai.agent.id`, `user.id` and `service.instance.id` are never keys.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import orjson

from headgate_processors.documents import read_document
from headgate_processors.enrich._registry_file import Claim, Instance, Match, RegistryFile

CACHED_IDENTITIES_MAX = 8192
CLAIM_CHARS_MAX = 512

_CLAIMS: Mapping[Claim, tuple[str, ...]] = {
    "instance_id": ("headgate.instance.id", "agent.instance.id"),
    "team": ("headgate.team", "team"),
    "user_id": ("headgate.user.id", "user.id"),
    "workflow": ("headgate.workflow", "workflow"),
    "repo": ("headgate.repo", "repo"),
    "task_class": ("headgate.task_class",),
}
_REPO_ATTRIBUTES = ("vcs.repository.url.full", "github.copilot.git.repository", "vcs.repository.url")
_REPO_NAMES = ("vcs.repository.name", "vcs.owner.name")
_WORK_ITEM_ATTRIBUTES = ("headgate.work_item", "vcs.change.id")
_ENVIRONMENT_ATTRIBUTES = ("deployment.environment.name", "deployment.environment")
_REPO_URL = re.compile(r"(?:[a-z][a-z0-9+.-]*://(?:[^/@]*@)?[^/]+/|[^/@\s]+@[^:/]+:)(.+?)(?:\.git)?/?")

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Every identity column of a row; None is unknown."""

    tenant: str
    instance_id: str
    identity_source: Literal["verified", "claimed", "matched", "unknown"]
    parent_instance_id: str | None = None
    root_instance_id: str | None = None
    launched_by: str | None = None
    user_id: str | None = None
    team: str | None = None
    workflow: str | None = None
    repo: str | None = None
    resource: str | None = None
    environment: str | None = None
    task_class: str | None = None
    risk_tier: str | None = None
    policy_profile: str | None = None
    manifest_digest: str | None = None
    runtime: str | None = None
    work_item: str | None = None


class Registry(Protocol):
    """Knows who is who. Implementations are pure for one state of the registry and may be shared by threads."""

    def resolve(
        self, resource: Mapping[str, object], *, agent_name: str | None, subject: str | None = None
    ) -> Identity:
        """Who emitted a span: `resource` are its resource attributes, `subject` an authenticated credential's."""
        ...


class FileRegistry:
    """A registry read from `registry.yaml`."""

    def __init__(self, file: RegistryFile) -> None:
        self._file = file
        self._claims = {name: (*_CLAIMS[name], *file.claims.get(name, ())) for name in _CLAIMS}
        # Nothing else of a resource is looked at: those that differ in a process id alone are one to the cache.
        self._asked = tuple(
            {
                "service.name": None,
                **dict.fromkeys(name for names in self._claims.values() for name in names),
                **dict.fromkeys(name for rule in file.match for name in rule.resource_attributes),
                **dict.fromkeys((*_REPO_ATTRIBUTES, *_REPO_NAMES)),
                **dict.fromkeys((*_WORK_ITEM_ATTRIBUTES, *_ENVIRONMENT_ATTRIBUTES)),
            }
        )
        self._subjects = {subject: key for key, record in file.instances.items() for subject in record.subjects}
        self._repos = {_repo_name(url): key for key, repo in file.repos.items() for url in (key, *repo.urls)}
        self._by_object: OrderedDict[tuple[int, str | None, str | None], tuple[Mapping[str, object], Identity]] = (
            OrderedDict()
        )
        self._by_value: OrderedDict[tuple[bytes, str | None, str | None], Identity] = OrderedDict()

    @classmethod
    def load(cls, path: Path) -> "FileRegistry":
        """Read a registry.

        Raises:
            ConfigError: the file is missing or wrong; names file, line, key and the nearest known name.
        """
        return cls(read_document(path, RegistryFile))

    @classmethod
    def empty(cls, tenant: str = "default") -> "FileRegistry":
        """A registry that knows nobody: claims still fill their columns."""
        return cls(RegistryFile(tenant=tenant))

    def resolve(
        self, resource: Mapping[str, object], *, agent_name: str | None, subject: str | None = None
    ) -> Identity:
        """As `Registry.resolve`; spans of one batch share their resource, so the object itself is the first key."""
        near = (id(resource), agent_name, subject)
        found = self._by_object.get(near)
        if found is not None and found[0] is resource:
            return found[1]
        key = (orjson.dumps([resource.get(name) for name in self._asked], default=str), agent_name, subject)
        identity = self._by_value.get(key)
        if identity is None:
            identity = self._resolved(resource, agent_name, subject)
            _bound(self._by_value)
            self._by_value[key] = identity
        _bound(self._by_object)
        self._by_object[near] = (resource, identity)
        return identity

    def _resolved(self, resource: Mapping[str, object], agent_name: str | None, subject: str | None) -> Identity:
        claims = {name: _first(resource, keys) for name, keys in self._claims.items()}
        service = _text(resource.get("service.name"))
        rule = next((one for one in self._file.match if _fits(one, resource, service, agent_name, claims)), None)
        instance_id, source = self._instance(claims["instance_id"], rule, subject)
        if instance_id is None:
            instance_id = unknown_instance_id(self._file.tenant, service, agent_name, claims["instance_id"])
        return self._described(instance_id, source, claims, rule or Match(), resource)

    def _instance(
        self, claimed: str | None, rule: Match | None, subject: str | None
    ) -> tuple[str | None, Literal["verified", "claimed", "matched", "unknown"]]:
        if subject is not None:
            return self._subjects.get(subject) or subject.rstrip("/").rpartition("/")[2], "verified"
        if claimed is not None and claimed in self._file.instances:
            return claimed, "claimed"
        if rule is not None and rule.instance is not None:
            return rule.instance, "matched"
        return None, "unknown"

    def _described(
        self,
        instance_id: str,
        source: Literal["verified", "claimed", "matched", "unknown"],
        claims: Mapping[Claim, str | None],
        rule: Match,
        resource: Mapping[str, object],
    ) -> Identity:
        """Fill every column: the record first, then claims, then the rule, then what these belong to."""
        file = self._file
        record = file.instances.get(instance_id, Instance())
        line = file.lineage(instance_id)
        workflow = record.workflow or claims["workflow"] or rule.workflow
        flow = file.workflows.get(workflow or "")
        repo = record.repo or self._repo(claims["repo"], resource) or rule.repo or (flow.repo if flow else None)
        user = record.user or claims["user_id"] or rule.user
        thing = record.resource or rule.resource
        owners = (flow, file.repos.get(repo or ""), file.resources.get(thing or ""), file.users.get(user or ""))
        places = (file.resources.get(thing or ""), file.repos.get(repo or ""))
        return Identity(
            tenant=file.tenant,
            instance_id=instance_id,
            identity_source=source,
            parent_instance_id=record.parent,
            root_instance_id=line[-1],
            launched_by=record.launched_by,
            user_id=user,
            team=record.team or claims["team"] or rule.team or _next(owner.team for owner in owners if owner),
            workflow=workflow,
            repo=repo,
            resource=thing,
            environment=record.environment
            or rule.environment
            or _next(place.environment for place in places if place)
            or _first(resource, _ENVIRONMENT_ATTRIBUTES),
            task_class=claims["task_class"]
            or record.task_class
            or rule.task_class
            or (flow.task_class if flow else None),
            risk_tier=record.risk_tier,
            policy_profile=record.policy_profile,
            manifest_digest=record.manifest_digest,
            runtime=record.runtime,
            work_item=_first(resource, _WORK_ITEM_ATTRIBUTES),
        )

    def _repo(self, claimed: str | None, resource: Mapping[str, object]) -> str | None:
        """The claimed repository, else the one of the version control attributes, by its registered name."""
        named = claimed or _first(resource, _REPO_ATTRIBUTES) or _owned_name(resource)
        return None if named is None else self._repos.get(_repo_name(named), _repo_name(named))


def unknown_instance_id(tenant: str, service: str | None, agent_name: str | None, claimed: str | None = None) -> str:
    """A synthetic instance id that is the same for every span of the same service and agent."""
    text = "\0".join((tenant, service or "", agent_name or "", claimed or ""))
    return "unk-" + sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _fits(
    rule: Match,
    resource: Mapping[str, object],
    service: str | None,
    agent_name: str | None,
    claims: Mapping[Claim, str | None],
) -> bool:
    return (
        _globs(rule.service, service)
        and _globs(rule.agent, agent_name)
        and all(_globs(glob, claims[name]) for name, glob in rule.claims.items())
        and all(_globs(glob, _text(resource.get(key))) for key, glob in rule.resource_attributes.items())
    )


def _globs(glob: str | None, value: str | None) -> bool:
    return glob is None or (value is not None and fnmatchcase(value, glob)) or (glob == "*" and value is None)


def _repo_name(named: str) -> str:
    """`owner/name` of a repository given as a URL, `git@host:owner/name.git`, or already short."""
    matched = _REPO_URL.fullmatch(named.strip())
    return matched[1] if matched else named.strip().removesuffix(".git")


def _owned_name(resource: Mapping[str, object]) -> str | None:
    name, owner = (_text(resource.get(key)) for key in _REPO_NAMES)
    return f"{owner}/{name}" if name and owner and "/" not in name else name


def _first(resource: Mapping[str, object], keys: tuple[str, ...]) -> str | None:
    return next((text for key in keys if (text := _text(resource.get(key))) is not None), None)


def _text(value: object) -> str | None:
    """An attribute as text; None for what is empty or no single value."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip()[:CLAIM_CHARS_MAX] or None


def _next(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value is not None), None)


def _bound(cache: OrderedDict[_K, _V]) -> None:
    if len(cache) >= CACHED_IDENTITIES_MAX:
        cache.popitem(last=False)
