"""Golden cases: what is asked by whom, under what, and what is to be decided. They stand in `tests` beside policies."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from headgate_control.decide.decision import Code, Effect
from headgate_control.identity.directory import DirectoryFile
from headgate_control.identity.instance import State
from headgate_control.manifests.spec import Spec
from headgate_control.request import ActionName, Request
from headgate_processors.documents import Document, Problem, read_document
from headgate_processors.errors import ConfigError

TESTS = "tests"
CASES_MAX = 10_000
COLUMNS = frozenset(
    {
        "decision_id",
        "time_unix_nano",
        "instance_id",
        "session",
        "trace_id",
        "span_id",
        "tool_use_id",
        "action",
        "resource_type",
        "resource_id",
        "decision",
        "effect",
        "code",
        "reason",
        "warnings",
        "policy_ids",
        "policy_digest",
        "manifest_digest",
        "stop_id",
        "stop_epoch",
        "reservation_id",
        "enforcement_point",
        "latency_ns",
    }
)


class CaseResource(Document):
    """What it is done to, as in a request."""

    type: str
    id: str
    properties: dict[str, Any] = Field(default_factory=dict)


class CaseRequest(Document):
    """A request without its subject, which is the case's instance."""

    action: ActionName
    resource: CaseResource
    context: dict[str, Any] = Field(default_factory=dict)


class CaseInstance(Document):
    """Who asks. `registered: false` is somebody that nobody knows; `ancestors` launched it, the nearest first."""

    id: str = "ai-case"
    registered: bool = True
    expired: bool = False
    state: State = "running"
    ancestors: list[str] = Field(default_factory=list, max_length=31)
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
    runtime: str | None = None


class CaseSession(Document):
    """What has happened in the session so far."""

    model_calls: int = 0
    tool_calls: int = 0
    errors: int = 0
    retries: int = 0
    micro_usd: int = 0
    untrusted: bool = False


class CaseFacts(Document):
    """What policies may use beside the request. What is left out is not known."""

    session: CaseSession = CaseSession()
    micro_usd_left: int | None = None
    tokens_left: int | None = None
    calls_left: int | None = None
    micro_usd_estimate: int | None = None
    tokens_estimate: int | None = None
    content_classes: list[str] = Field(default_factory=list)
    approved_tiers: list[str] = Field(default_factory=list)


class CaseStop(Document):
    """A stop or a pause that holds."""

    scope: str
    id: str | None = None
    mode: Literal["stop", "pause"] = "stop"
    reason: str = "a case"


class CaseAmount(Document):
    """What is or would be spent."""

    usd: Decimal = Decimal(0)
    tokens: int = 0
    calls: int = 0
    seconds: int = 0


class CaseBudget(Document):
    """A budget, and what of it is spent."""

    scope: Literal["platform", "team", "user", "workflow", "task_class", "model", "session", "instance"]
    id: str = ""
    window: Literal["total", "hour", "day", "month"] = "total"
    mode: Literal["hard", "soft"] = "hard"
    usd: Decimal | None = None
    tokens: int | None = None
    calls: int | None = None
    seconds: int | None = None
    spent: CaseAmount = CaseAmount()


class Expected(Document):
    """What is to be decided; what is left out may be anything."""

    effect: Effect
    code: Code | None = None
    reason: str | None = None
    policies: list[str] | None = None
    tiers: list[str] | None = None


class Case(Document):
    """One case. Without a manifest everything is granted, so that the policies speak alone."""

    name: str = Field(min_length=1)
    request: CaseRequest
    instance: CaseInstance = CaseInstance()
    manifest: Spec | None = None
    facts: CaseFacts = CaseFacts()
    stops: list[CaseStop] = Field(default_factory=list)
    budgets: list[CaseBudget] = Field(default_factory=list)
    estimate: CaseAmount | None = None
    stale: bool = False
    directory: DirectoryFile = DirectoryFile()
    expect: Expected
    row: dict[str, Any] = Field(default_factory=dict)


class CaseFile(Document):
    """The cases of one file."""

    cases: list[Case] = Field(max_length=CASES_MAX)

    def problems(self) -> Iterable[Problem]:
        """What the shape alone does not say."""
        return _problems(self)


def load_cases(folder: Path) -> Mapping[Path, CaseFile]:
    """The cases of every `*.yaml` in `tests` of a folder of policies; none where there is no such folder.

    Raises:
        ConfigError: a file is wrong; names file, line and key.
    """
    found = {path: read_document(path, CaseFile) for path in sorted((folder / TESTS).glob("*.yaml"))}
    count = sum(len(file.cases) for file in found.values())
    if count > CASES_MAX:
        message = f"{folder / TESTS}: {count} cases; {CASES_MAX} are allowed"
        raise ConfigError(message)
    return found


def case_of(request: Request, approved: Sequence[str] = ()) -> Case:
    """A request as a case that expects nothing: what its subject's properties say of the instance is believed."""
    resource = request.resource
    told = {name: value for name, value in request.subject.properties.items() if name in CaseInstance.model_fields}
    whole = {
        "name": "request",
        "request": {
            "action": request.action,
            "resource": {"type": resource.type, "id": resource.id, "properties": dict(resource.properties)},
            "context": dict(request.context),
        },
        "instance": {**told, "id": request.subject.id},
        "facts": {"approved_tiers": list(approved)},
        "expect": {"effect": "allow"},
    }
    try:
        return Case.model_validate(whole)
    except ValidationError as error:
        wrong = error.errors()[0]
        message = f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
        raise ConfigError(message) from error


def _problems(file: CaseFile) -> Iterator[Problem]:
    names: set[str] = set()
    for place, case in enumerate(file.cases):
        if case.name in names:
            yield ("cases", place, "name"), f"{case.name!r} stands twice: a failing case is found by its name"
        names.add(case.name)
        for column in sorted(case.row.keys() - COLUMNS):
            yield ("cases", place, "row", column), f"no column {column!r}: expected one of {', '.join(sorted(COLUMNS))}"
