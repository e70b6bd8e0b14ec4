"""Every setting, defined once: its type, default and a line of doc."""

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, field_validator

from headgate_console.settings.values import (
    Address,
    Duration,
    FreeRoom,
    OptionalAddress,
    Size,
    parse_duration,
    parse_size,
)

ENVIRONMENT_PREFIX = "HEADGATE_"
NESTING = "__"


Door = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
_KEY_PLACE = r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+|command:.+)$"
KNOWN_UPSTREAMS: Any = {
    "openai": {"base_url": "https://api.openai.com/v1", "api_key": "env:OPENAI_API_KEY"},
    "anthropic": {"base_url": "https://api.anthropic.com", "api_key": "env:ANTHROPIC_API_KEY"},
}


def _text(doc: str, default: Any) -> Any:
    return Field(default=default, description=doc)


def _key_place(given: str) -> str:
    """Where a key is; what is no such place may be the key itself, so nobody is told what it says."""
    if re.match(_KEY_PLACE, given) is None:
        raise ValueError("expected `env:NAME`, `file:PATH` or `command:LINE`, never the key itself; got something else")
    return given


KeyPlace = Annotated[str, AfterValidator(_key_place), WithJsonSchema({"type": "string", "pattern": _KEY_PLACE})]


def _fields(given: object) -> Mapping[str, object]:
    if isinstance(given, BaseModel):
        return given.model_dump()
    return given if isinstance(given, Mapping) else {}


class Section(BaseModel):
    """A group of settings; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsSettings(Section):
    """TLS of the receiver's listeners; the files are read again when they are replaced."""

    cert_file: Path | None = _text(
        "Certificate chain in PEM; with it and its key every listener speaks TLS, but `receiver.platform` on loopback.",
        None,
    )
    key_file: Path | None = _text("Key of the certificate in PEM, without a password.", None)
    client_ca_file: Path | None = _text(
        "Authorities in PEM. With it every sender must show a certificate of theirs (mutual TLS).", None
    )


class ListenerTlsSettings(Section):
    """TLS of one listener; the files are read again when they are replaced."""

    cert_file: Path | None = _text("Certificate chain in PEM; with it and its key the listener speaks TLS.", None)
    key_file: Path | None = _text("Key of the certificate in PEM, without a password.", None)


class ReceiverSettings(Section):
    """Where and what the receiver takes."""

    grpc: Address = _text("Where agents send OTLP over gRPC.", "127.0.0.1:4317")
    http: Address = _text("Where agents send OTLP over HTTP.", "127.0.0.1:4318")
    platform: OptionalAddress = _text(
        "Where Headgate's own parts send OTLP over gRPC, each with a credential; `none` leaves it out.",
        "127.0.0.1:4319",
    )
    tls: TlsSettings = _text("TLS.", TlsSettings())
    insecure: bool = _text(
        "Whether listeners that other machines reach may do without TLS; every sender needs a credential there.", False
    )
    jwks_file: Path | None = _text(
        "Public keys (JWKS) of the issuer of ES256 tokens; by default those of `headgate collector keys`.", None
    )
    jwt_issuer: str | None = _text("The `iss` that such tokens must name; by default any.", None)
    request_size_max: Size = _text("Largest request taken; a larger one is refused for good.", parse_size("64 MiB"))
    workers: int | None = Field(
        default=None,
        ge=0,
        description="Processes that decode; by default one for each core; 0 decodes in the receiver itself.",
    )
    buffered_size_max: Size = _text("Most bytes of requests that are being received or wait.", parse_size("512 MiB"))


class ConsoleSettings(Section):
    """The console's listener."""

    listen: Address = _text("Where `/healthz`, `/readyz` and `/metrics` are answered.", "127.0.0.1:7400")


class RegistrySettings(Section):
    """Who the agents are."""

    file: Path | None = _text("Users, teams, workflows, repos, instances, match rules and claims, in YAML.", None)


class PolicySettings(Section):
    """What agents may do."""

    dir: Path | None = _text("Folder of Cedar policies; `profiles` in it holds what manifests inherit.", None)


class ControlSettings(Section):
    """Who may do what, and what is stopped."""

    listen: Address = _text(
        "Where control answers: decisions, hooks, commands and the feed; each caller shows a credential.",
        "127.0.0.1:7410",
    )
    tls: ListenerTlsSettings = _text("TLS.", ListenerTlsSettings())
    insecure: bool = _text("Whether it may do without TLS where other machines reach it.", False)
    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s?#@]+$",
        description="Where callers reach control, as AuthZEN's metadata say it; by default the address it listens on.",
    )
    issuers: Path | None = _text(
        "Issuers whose tokens are believed at the gateways, in YAML: names, audiences, keys, and whose they are.", None
    )
    retention: Duration = _text(
        "How long logs of decisions and budgets and the journal are kept, in whole days; 0 is for ever. Only what the "
        "store has goes, so it is to be less than `retention.logs`.",
        parse_duration("150 d"),
    )
    database: str | None = _text(
        "PostgreSQL for control state, as `postgresql://USER@HOST/DATABASE`; by default a file. One control at a time "
        "has it, with the books of budgets in its own data folder.",
        None,
    )


class UpstreamSettings(Section):
    """A provider behind the model gateway, or a server that speaks like one."""

    base_url: str = Field(
        pattern=r"^https?://[^\s?#@]+$",
        description="What a client's own base URL would be, such as `https://api.openai.com/v1`.",
    )
    api_key: KeyPlace = Field(
        description="Where the key is that the gateway alone has: `env:NAME`, `file:PATH`, or `command:LINE`, which "
        "is run without a shell and prints it.",
    )
    kind: Literal["openai", "anthropic"] | None = _text(
        "Which of the two it speaks; by default the one that it is called, else `openai`.", None
    )


class UnpricedSettings(Section):
    """What a token of a model counts for that no price list knows."""

    allowed: bool = _text("Whether models may be called whose price nobody knows.", True)
    input_usd_per_mtok: Decimal = Field(
        default=Decimal(15), ge=0, description="What a million tokens of their input count for in budgets, in dollars."
    )
    output_usd_per_mtok: Decimal = Field(
        default=Decimal(75), ge=0, description="What a million tokens of their output count for."
    )


class RoutingRule(Section):
    """What holds for calls that fit every pattern of it; what is left out fits all."""

    name: str = Field(min_length=1, description="What decisions and reports call it.")
    models: list[str] = _text("Patterns of `provider/model` as agents ask for them.", [])
    task_classes: list[str] = _text("Patterns of task classes.", [])
    workflows: list[str] = _text("Patterns of workflows.", [])
    teams: list[str] = _text("Patterns of teams.", [])
    to: str | None = _text("The `door/model` that such calls go to, where the manifest allows it.", None)
    slower_than: Duration | None = _text("Only while the first chunk takes longer than that on average.", None)
    input_tokens_max: int | None = Field(default=None, ge=0, description="A larger context is refused.")
    cost_usd_max: Decimal | None = Field(default=None, ge=0, description="A call that may cost more is refused.")
    cache: Duration | None = _text("How long an answer is given again to the very same call of the same team.", None)


class RoutingSettings(Section):
    """Where calls go."""

    rules: list[RoutingRule] = _text("Rules; each may refuse, the first that routes does.", [])
    fallbacks: dict[str, list[str]] = _text("By door, the doors that are tried when its provider cannot answer.", {})
    attempts_max: int = Field(default=3, ge=1, le=10, description="Most attempts of one call.")
    backoff: Duration = _text("Wait before the second attempt, doubled for each after it.", parse_duration("100 ms"))
    cache_size_max: Size = _text("Most bytes of kept answers.", parse_size("64 MiB"))


class ModelGatewaySettings(Section):
    """The model gateway."""

    listen: Address = _text(
        "Where agents call models: `/openai/v1` and `/anthropic`, and `/NAME` of every other upstream.",
        "127.0.0.1:7411",
    )
    tls: ListenerTlsSettings = _text("TLS.", ListenerTlsSettings())
    insecure: bool = _text("Whether it may do without TLS where other machines reach it.", False)
    upstreams: dict[Door, UpstreamSettings] = Field(
        default=KNOWN_UPSTREAMS,
        validate_default=True,
        description="Providers by name; the name is the door, and the provider in manifests, policies and prices.",
    )

    routing: RoutingSettings = _text("Routing.", RoutingSettings())
    unpriced: UnpricedSettings = _text("Models without a price.", UnpricedSettings())

    @field_validator("upstreams", mode="before")
    @classmethod
    def _with_known(cls, given: object) -> object:
        """What is said of a known provider changes that alone; the others stay."""
        if not isinstance(given, Mapping):
            return given
        known = {name: {**upstream, **_fields(given.get(name))} for name, upstream in KNOWN_UPSTREAMS.items()}
        return {**given, **known}


class GatewaySettings(Section):
    """Where decisions are enforced."""

    model: ModelGatewaySettings = _text("The model gateway.", ModelGatewaySettings())


class DialectSettings(Section):
    """How records of agents are read."""

    folder: Path | None = _text("Folder with dialect tables of your own, read before the packaged ones.", None)


class RedactionSettings(Section):
    """What never touches the disk."""

    file: Path | None = _text("Redaction rules of your own, beside the packaged ones.", None)


class ActionSettings(Section):
    """What tool calls do."""

    file: Path | None = _text("Action rules of your own, before the packaged ones.", None)


class PriceSettings(Section):
    """What models cost."""

    overrides: Path | None = _text("Prices of your own, which win over the packaged list, in YAML.", None)


class StoreSettings(Section):
    """How rows are kept."""

    seal_interval: Duration = _text("How long rows wait in a segment before they are Parquet.", parse_duration("2 s"))
    unsealed_size_max: Size = _text("Most bytes in segments; past it requests wait.", parse_size("512 MiB"))
    compact_interval: Duration = _text(
        "How often small files are merged; 0 leaves that to others.", parse_duration("1 min")
    )
    disk_free_min: FreeRoom = _text(
        "What stays free on the disk; past it requests wait. Bytes, a share, or the smaller of both.", "1 GiB or 5%"
    )


class RetentionSettings(Section):
    """For how long rows are kept, counted in whole days from the day they were received; 0 is for ever."""

    spans: Duration = _text("Spans, their events and links.", parse_duration("180 d"))
    content: Duration = _text("Prompts, answers, tool arguments and results.", parse_duration("30 d"))
    logs: Duration = _text("Log events.", parse_duration("180 d"))
    metrics: Duration = _text("Metric points.", parse_duration("90 d"))
    derived: Duration = _text(
        "Sessions, calls and timelines, from the day they were last derived.", parse_duration("400 d")
    )


class DeadLetterSettings(Section):
    """Bytes that were refused, kept as they came, unredacted, in files that only the owner can read."""

    enabled: bool = _text("Whether they are kept.", True)
    keep: Duration = _text("For how long, in whole days.", parse_duration("7 d"))
    size_max: Size = _text("Most bytes kept.", parse_size("64 MiB"))


class SessionSettings(Section):
    """How records become sessions."""

    idle_gap: Duration = _text(
        "A session without an end that is idle for longer is abandoned.", parse_duration("30 min")
    )


class Settings(Section):
    """What Headgate can be told; flags win over the environment, that over the file, that over defaults."""

    data: Path = _text("Folder of the store.", Path("headgate-data"))
    receiver: ReceiverSettings = _text("The receiver.", ReceiverSettings())
    console: ConsoleSettings = _text("The console.", ConsoleSettings())
    registry: RegistrySettings = _text("The registry.", RegistrySettings())
    policy: PolicySettings = _text("Policy.", PolicySettings())
    control: ControlSettings = _text("Control.", ControlSettings())
    gateways: GatewaySettings = _text("Gateways.", GatewaySettings())
    dialects: DialectSettings = _text("Dialects.", DialectSettings())
    redaction: RedactionSettings = _text("Redaction.", RedactionSettings())
    actions: ActionSettings = _text("Actions.", ActionSettings())
    prices: PriceSettings = _text("Prices.", PriceSettings())
    store: StoreSettings = _text("The store.", StoreSettings())
    retention: RetentionSettings = _text("Retention.", RetentionSettings())
    dead_letters: DeadLetterSettings = _text("Dead letters.", DeadLetterSettings())
    sessions: SessionSettings = _text("Sessions.", SessionSettings())
