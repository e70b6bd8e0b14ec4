"""The shape of `registry.yaml`: who may run agents, for whom, on what, and how spans are matched to them."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from pydantic import Field

from headgate_processors.documents import Document, Problem

LINEAGE_MAX = 32

Claim = Literal["instance_id", "team", "user_id", "workflow", "repo", "task_class"]


class User(Document):
    """A person, or a service account that launches agents."""

    name: str | None = None
    team: str | None = None


class Service(User):
    """An account that no person is behind; `owner` is the user who answers for it."""

    owner: str | None = None


class Team(Document):
    """A team that owns agents and pays for them."""

    name: str | None = None


class Workflow(Document):
    """A kind of work that agents do again and again."""

    name: str | None = None
    team: str | None = None
    repo: str | None = None
    task_class: str | None = None


class Repo(Document):
    """A repository; `urls` are other ways in which agents name it, `sensitivity` is for policies."""

    team: str | None = None
    environment: str | None = None
    sensitivity: str | None = None
    urls: tuple[str, ...] = ()


class Resource(Document):
    """A thing other than a repository that agents work on, such as a database or a cluster."""

    team: str | None = None
    environment: str | None = None
    sensitivity: str | None = None


class Instance(Document):
    """A durable record of one agent: what stays the same while sessions come and go."""

    parent: str | None = None
    launched_by: str | None = None
    user: str | None = None
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
    subjects: tuple[str, ...] = ()


class Match(Document):
    """A rule for spans that claim no registered instance: globs on the service, the agent, claims and the resource.

    `instance` names who it is. The other fields fill columns that nothing else fills.
    """

    service: str | None = None
    agent: str | None = None
    claims: Mapping[Claim, str] = Field(default_factory=dict)
    resource_attributes: Mapping[str, str] = Field(default_factory=dict)
    instance: str | None = None
    user: str | None = None
    team: str | None = None
    workflow: str | None = None
    repo: str | None = None
    resource: str | None = None
    environment: str | None = None
    task_class: str | None = None


class RegistryFile(Document):
    """The whole of a `registry.yaml`."""

    version: Literal[1] = 1
    tenant: str = "default"
    claims: Mapping[Claim, tuple[str, ...]] = Field(default_factory=dict)
    users: Mapping[str, User] = Field(default_factory=dict)
    services: Mapping[str, Service] = Field(default_factory=dict)
    teams: Mapping[str, Team] = Field(default_factory=dict)
    workflows: Mapping[str, Workflow] = Field(default_factory=dict)
    repos: Mapping[str, Repo] = Field(default_factory=dict)
    resources: Mapping[str, Resource] = Field(default_factory=dict)
    instances: Mapping[str, Instance] = Field(default_factory=dict)
    match: tuple[Match, ...] = ()

    def problems(self) -> Iterator[Problem]:
        """Names that nothing defines, rules that fit everything by mistake, and lineages that run in a circle.

        A section that is left out is not checked against, so that a registry of instances alone is valid.
        """
        for location, entry in self._entries():
            for field, section in _REFERENCES.items():
                name = getattr(entry, field, None)
                known = getattr(self, section)
                if name is not None and (known or section == "instances") and name not in known:
                    yield (*location, field), f"no such entry in `{section}`: {name!r}{_near(name, known)}"
        yield from self._lineage_problems()
        yield from self._subject_problems()
        for position, rule in enumerate(self.match):
            if not (rule.service or rule.agent or rule.claims or rule.resource_attributes):
                needs = "`service`, `agent`, `claims` or `resource_attributes`"
                yield ("match", position), f"needs {needs}, else it fits every span"

    def lineage(self, instance_id: str) -> list[str]:
        """An instance, its parent, and so on up to the first of the line."""
        line = [instance_id]
        for _ in range(LINEAGE_MAX):
            record = self.instances.get(line[-1])
            if record is None or record.parent is None or record.parent in line:
                break
            line.append(record.parent)
        return line

    def _entries(self) -> Iterator[tuple[tuple[int | str, ...], Document]]:
        for section in ("users", "services", "workflows", "repos", "resources", "instances"):
            entries: Mapping[str, Document] = getattr(self, section)
            yield from (((section, key), entry) for key, entry in entries.items())
        yield from ((("match", position), rule) for position, rule in enumerate(self.match))

    def _lineage_problems(self) -> Iterator[Problem]:
        for key in self.instances:
            line = self.lineage(key)
            last = self.instances.get(line[-1])
            if last is not None and last.parent is not None:
                shown = " → ".join((*line[:5], last.parent))
                yield (
                    ("instances", key, "parent"),
                    f"the lineage runs in a circle or is deeper than {LINEAGE_MAX}: {shown}",
                )

    def _subject_problems(self) -> Iterator[Problem]:
        owners: dict[str, str] = {}
        for key, record in self.instances.items():
            for subject in record.subjects:
                owner = owners.setdefault(subject, key)
                if owner != key:
                    yield ("instances", key, "subjects"), f"subject {subject!r} is also one of instance {owner!r}"


_REFERENCES: Mapping[str, str] = {
    "team": "teams",
    "user": "users",
    "owner": "users",
    "workflow": "workflows",
    "repo": "repos",
    "resource": "resources",
    "parent": "instances",
    "instance": "instances",
}


def _near(name: str, known: Iterable[str]) -> str:
    names: Sequence[str] = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(sorted(names)[:8])}" if names else ""
