"""The shape of a manifest and of a profile, as they are written.

A section that is left out takes over what the profile above grants; at the top it grants nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from headgate_control.manifests.globs import Glob
from headgate_processors.documents import Document, Problem

API_VERSION = "headgate.dev/v1"
ENTRIES_MAX = 1000
LEVELS = ("platform", "team", "workflow")

Level = Literal["platform", "team", "workflow"]
Tier = Literal["none", "low", "medium", "high"]
TIERS: Sequence[Tier] = ("none", "low", "medium", "high")
MemoryScope = Literal["none", "session", "workflow", "repo", "team"]
MEMORY_SCOPES: Sequence[MemoryScope] = ("none", "session", "workflow", "repo", "team")
Scope = Literal["platform", "team", "user", "workflow", "task_class", "model", "instance"]
# A level limits what it speaks for and what stands below it: nobody's manifest can close the platform.
_BUDGETS_OF: Sequence[frozenset[Scope]] = (
    frozenset({"platform", "team", "user", "workflow", "task_class", "model", "instance"}),
    frozenset({"team", "user", "workflow", "task_class", "instance"}),
    frozenset({"workflow", "task_class", "instance"}),
    frozenset({"instance"}),
)
Scalar = str | int | float | bool


def _name_glob(text: str) -> str:
    Glob(text)
    return text


def _path_glob(text: str) -> str:
    Glob(text, "path")
    return text


def _endpoint(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not (port == "*" or (port.isdecimal() and 0 < int(port) < 65536)):
        raise ValueError(f"{text!r}: expected HOST:PORT, such as api.example.com:443; `*` stands for any port")
    Glob(host)
    return text


NamePattern = Annotated[str, Field(min_length=1), AfterValidator(_name_glob)]
PathPattern = Annotated[str, Field(min_length=1), AfterValidator(_path_glob)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]


class ModelRule(Document):
    """Models that may be called."""

    provider: NamePattern
    model: NamePattern


class ArgumentRule(Document):
    """What one argument of a tool may be. Every key that is there must hold."""

    one_of: list[Scalar] | None = Field(default=None, min_length=1, max_length=ENTRIES_MAX)
    glob: list[NamePattern] | None = Field(default=None, min_length=1, max_length=ENTRIES_MAX)
    path: list[PathPattern] | None = Field(default=None, min_length=1, max_length=ENTRIES_MAX)
    min: Decimal | None = None
    max: Decimal | None = None
    max_chars: int | None = Field(default=None, ge=0)
    required: bool = False


class ToolRule(Document):
    """Tools that may be called, of an MCP server or the agent's own, with what arguments, after whose approval."""

    tool: NamePattern
    mcp_server: NamePattern | None = None
    arguments: dict[str, ArgumentRule] = Field(default_factory=dict, max_length=ENTRIES_MAX)
    other_arguments: bool = True
    approval: Tier = "none"


class Filesystem(Document):
    """Files and folders, from the workspace on or from `/`, with all that lies below."""

    read: list[PathPattern] = Field(default_factory=list, max_length=ENTRIES_MAX)
    write: list[PathPattern] = Field(default_factory=list, max_length=ENTRIES_MAX)


class Memory(Document):
    """How far the memory reaches that may be read, and whether it may be written."""

    scope: MemoryScope = "none"
    write: bool = False


class BudgetRule(Document):
    """A ceiling on what is spent in a window, in at least one unit. That of a model is everybody's; `id` says which.

    A session is nobody's before it begins: `headgate budget set session` limits one.
    """

    scope: Scope = "instance"
    id: str | None = Field(default=None, max_length=512, pattern=r"^[^/*?\s]+/[^*?\s]+$")
    window: Literal["total", "hour", "day", "month"] = "total"
    usd: Decimal | None = Field(default=None, ge=0, max_digits=18, decimal_places=6)
    tokens: int | None = Field(default=None, ge=0)
    calls: int | None = Field(default=None, ge=0)
    seconds: int | None = Field(default=None, ge=0)
    mode: Literal["hard", "soft"] = "hard"

    @model_validator(mode="after")
    def _limits_something(self) -> "BudgetRule":
        if all(amount is None for amount in (self.usd, self.tokens, self.calls, self.seconds)):
            raise ValueError("a budget without an amount: give usd, tokens, calls or seconds")
        if (self.scope == "model") != (self.id is not None):
            raise ValueError("id: that of a model names it, as PROVIDER/MODEL; every other scope is known without")
        return self


class Limits(Document):
    """How fast each instance may call at each gateway, and how much of it at once."""

    calls_per_minute: int | None = Field(default=None, ge=0)
    tokens_per_minute: int | None = Field(default=None, ge=0)
    open_calls: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _limits_something(self) -> "Limits":
        if all(most is None for most in (self.calls_per_minute, self.tokens_per_minute, self.open_calls)):
            raise ValueError("limits without a number: give calls_per_minute, tokens_per_minute or open_calls")
        return self


class Runtime(Document):
    """Where the agent runs."""

    driver: NamePattern


class Spec(Document):
    """What is granted. A section that is left out is that of the profile above.

    Budgets of all levels hold, and of limits the least.
    """

    models: list[ModelRule] | None = Field(default=None, max_length=ENTRIES_MAX)
    tools: list[ToolRule] | None = Field(default=None, max_length=ENTRIES_MAX)
    mcp_servers: list[NamePattern] | None = Field(default=None, max_length=ENTRIES_MAX)
    agents: list[NamePattern] | None = Field(default=None, max_length=ENTRIES_MAX)
    data_sources: list[NamePattern] | None = Field(default=None, max_length=ENTRIES_MAX)
    filesystem: Filesystem | None = None
    commands: list[NamePattern] | None = Field(default=None, max_length=ENTRIES_MAX)
    network: list[Endpoint] | None = Field(default=None, max_length=ENTRIES_MAX)
    credentials: list[NamePattern] | None = Field(default=None, max_length=ENTRIES_MAX)
    memory: Memory | None = None
    budgets: list[BudgetRule] = Field(default_factory=list, max_length=ENTRIES_MAX)
    limits: Limits | None = None
    risk_tier: Literal["low", "medium", "high"] | None = None
    runtime: Runtime | None = None
    artifacts: list[PathPattern] | None = Field(default=None, max_length=ENTRIES_MAX)


class Metadata(Document):
    """What a manifest is called, whose it is, and the profile it narrows."""

    name: str = Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    level: Level | None = None
    team: str | None = None
    workflow: str | None = None
    repo: str | None = None
    resource: str | None = None
    task_class: str | None = None
    inherits: str | None = None


class ManifestFile(Document):
    """One manifest, or one profile that manifests and profiles below it inherit."""

    api_version: Literal["headgate.dev/v1"] = Field(alias="apiVersion")
    kind: Literal["AgentManifest", "AgentProfile"]
    metadata: Metadata
    spec: Spec = Spec()

    def problems(self) -> Iterable[Problem]:
        """What the shape alone does not say."""
        return _problems(self)

    @property
    def rank(self) -> int:
        """How far down it stands: profiles by their level, a manifest below all of them."""
        level = self.metadata.level
        return LEVELS.index(level) if level is not None else len(LEVELS)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of manifests and profiles."""
    schema = ManifestFile.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Headgate manifest", **schema}


def _problems(file: ManifestFile) -> Iterator[Problem]:
    where = ("metadata", "level")
    if file.kind == "AgentProfile" and file.metadata.level is None:
        yield where, f"a profile stands at one of these levels: {', '.join(LEVELS)}"
    if file.kind == "AgentManifest" and file.metadata.level is not None:
        yield where, "a manifest stands below every profile and has no level"
    if file.metadata.level == "platform" and file.metadata.inherits is not None:
        yield ("metadata", "inherits"), "a platform profile is the top and inherits from none"
    for place, rule in enumerate(file.spec.budgets):
        if rule.scope not in _BUDGETS_OF[file.rank]:
            allowed = ", ".join(sorted(_BUDGETS_OF[file.rank]))
            yield (
                ("spec", "budgets", place, "scope"),
                f"{rule.scope!r} is limited further up; here may stand: {allowed}",
            )
