"""Who and what there is beside instances: users, services, teams, workflows, repositories and other resources.

Each is a record of control state, so that every change of one is in the journal. A site writes them in one YAML file,
which may be the receiver's `registry.yaml`.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

from pydantic import Field

from headgate_control.fields import known, written
from headgate_control.store.port import ControlStore
from headgate_control.store.record import Change
from headgate_processors.documents import Document, Problem

Sensitivity = Literal["public", "internal", "confidential", "restricted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person."""

    name: str | None = None
    team: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """An account that no person is behind and that launches agents; `owner` is the user who answers for it."""

    name: str | None = None
    team: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """Who owns agents and pays for them."""

    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A kind of work that agents do again and again."""

    name: str | None = None
    team: str | None = None
    repo: str | None = None
    task_class: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repo:
    """A repository."""

    team: str | None = None
    environment: str | None = None
    sensitivity: Sensitivity | None = None
    urls: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Another thing that agents work on, such as a database, a cluster or a tool's server."""

    team: str | None = None
    environment: str | None = None
    sensitivity: Sensitivity | None = None


Entry = User | Service | Team | Workflow | Repo | Resource
KINDS: Mapping[str, type[Entry]] = {
    "user": User,
    "service": Service,
    "team": Team,
    "workflow": Workflow,
    "repo": Repo,
    "resource": Resource,
}
REFERENCES: Mapping[str, str] = {"team": "team", "repo": "repo", "owner": "user"}
"""The fields of entries that name another entry, and of which kind."""
FACTS: Mapping[str, tuple[str, ...]] = {
    kind: tuple(one.name for one in fields(made) if one.name not in {"name", "urls"}) for kind, made in KINDS.items()
}
"""What of an entry policies may know, by its kind."""
_AROUND = ("user", "team", "workflow", "repo", "resource")


class Known(NamedTuple):
    """One entry as policies know it: its fields that are known, by name."""

    kind: str
    id: str
    facts: tuple[tuple[str, str], ...] = ()

    def text(self, name: str) -> str | None:
        """A field."""
        return dict(self.facts).get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """Everything there is, by kind and id."""

    entries: Mapping[str, Mapping[str, Entry]] = field(default_factory=dict)

    @classmethod
    def of(cls, store: ControlStore) -> "Directory":
        """The directory of control state.

        Raises:
            TransientError: the store cannot be read.
        """
        return cls(
            entries={
                kind: {one.id: made(**known(made, one.body)) for one in store.all(kind)} for kind, made in KINDS.items()
            }
        )

    def after(self, changes: Iterable[tuple[str, str, Mapping[str, Any] | None]]) -> "Directory":
        """The directory after some changes: kind, id and fields of an entry each, None where it is gone."""
        changed: dict[str, dict[str, Entry]] = {}
        for kind, name, body in changes:
            entries = changed.setdefault(kind, dict(self.entries.get(kind, {})))
            made = KINDS[kind]
            if body is None:
                entries.pop(name, None)
            else:
                entries[name] = made(**known(made, body))
        return Directory(entries={**self.entries, **changed}) if changed else self

    def known(self, kind: str, name: str) -> Known:
        """An entry as policies know it; of one that nobody has written down, its name alone."""
        entry = self.entries.get(kind, {}).get(name)
        told = ((fact, getattr(entry, fact, None)) for fact in FACTS[kind])
        return Known(kind, name, tuple((fact, value) for fact, value in told if isinstance(value, str)))

    def around(self, told: Mapping[str, object]) -> tuple[Known, ...]:
        """The entries that an instance is of, as its record says, and those that these name in turn; each once."""
        wanted = [(kind, name) for kind in _AROUND if isinstance(name := told.get(kind), str) and name]
        launcher = told.get("launched_by")
        if isinstance(launcher, str) and launcher in self.entries.get("service", {}):
            wanted.append(("service", launcher))
        found: dict[tuple[str, str], Known] = {}
        while wanted:
            place = wanted.pop()
            if place not in found:
                found[place] = self.known(*place)
                wanted += [(REFERENCES[fact], name) for fact, name in found[place].facts if fact in REFERENCES]
        return tuple(found[place] for place in sorted(found))

    def facts(self, *names: str) -> Mapping[str, str]:
        """The environment and the sensitivity of a resource or a repository.

        Each is by the first of the names that has one; nothing where it is unknown.
        """
        found: dict[str, str] = {}
        for name in reversed(names):
            for kind in ("repo", "resource"):
                found |= dict(self.known(kind, name).facts)
        return {fact: found[fact] for fact in ("environment", "sensitivity") if fact in found}


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did, as `KIND ID`; `missing` are in control state and not in the file, and stay."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    unchanged: int


class _User(Document):
    name: str | None = None
    team: str | None = None


class _Service(_User):
    owner: str | None = None


class _Team(Document):
    name: str | None = None


class _Workflow(Document):
    name: str | None = None
    team: str | None = None
    repo: str | None = None
    task_class: str | None = None


class _Resource(Document):
    team: str | None = None
    environment: str | None = None
    sensitivity: Sensitivity | None = None


class _Repo(_Resource):
    urls: tuple[str, ...] = ()


class DirectoryFile(Document):
    """The sections of the file. Those that are the receiver's alone are let be."""

    users: Mapping[str, _User] = Field(default_factory=dict)
    services: Mapping[str, _Service] = Field(default_factory=dict)
    teams: Mapping[str, _Team] = Field(default_factory=dict)
    workflows: Mapping[str, _Workflow] = Field(default_factory=dict)
    repos: Mapping[str, _Repo] = Field(default_factory=dict)
    resources: Mapping[str, _Resource] = Field(default_factory=dict)
    version: Literal[1] = 1
    tenant: str = "default"
    claims: Any = None
    instances: Any = None
    match: Any = None

    def directory(self) -> Directory:
        """What the file says, as a directory of its own."""
        return Directory().after(
            (kind, name, _body(kind, entry)) for kind in KINDS for name, entry in self.section(kind).items()
        )

    def section(self, kind: str) -> Mapping[str, Document]:
        """The entries of a kind, by id."""
        found: Mapping[str, Document] = getattr(self, f"{kind}s")
        return found

    def problems(self) -> Iterator[Problem]:
        """Names that nothing defines; a section that is left out is not checked against."""
        for kind in KINDS:
            for name, entry in self.section(kind).items():
                for key, target in REFERENCES.items():
                    named, there = getattr(entry, key, None), self.section(target)
                    if named is not None and there and named not in there:
                        near = difflib.get_close_matches(named, list(there), n=1, cutoff=0.5)
                        hint = f"; did you mean {near[0]!r}?" if near else ""
                        yield (f"{kind}s", name, key), f"no such entry in `{target}s`: {named!r}{hint}"


def import_directory(store: ControlStore, file: DirectoryFile, *, author: str) -> Imported:
    """Bring control state to what a file says, in one change; what the file leaves out stays.

    Raises:
        TransientError: the store cannot be written.
    """
    now = {(kind, record.id): record for kind in KINDS for record in store.all(kind)}
    wanted = {(kind, name): _body(kind, entry) for kind in KINDS for name, entry in file.section(kind).items()}
    added = [place for place in wanted if place not in now]
    changed = [place for place in wanted if place in now and now[place].body != wanted[place]]
    changes = [
        Change(
            kind=kind, id=name, body=wanted[kind, name], revision=now[kind, name].revision if (kind, name) in now else 0
        )
        for kind, name in [*added, *changed]
    ]
    if changes:
        store.change(changes, author=author, action="directory.import")
    return Imported(
        added=_named(added),
        changed=_named(changed),
        missing=_named(place for place in now if place not in wanted),
        unchanged=len(wanted) - len(changes),
    )


def _body(kind: str, entry: Document) -> dict[str, object]:
    told = written(KINDS[kind](**entry.model_dump()))
    return {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}


def _named(places: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(sorted(f"{kind} {name}" for kind, name in places))
