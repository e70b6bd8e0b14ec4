"""Every setting, defined once: its type, default and a line of doc."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from headgate_console.settings.values import Address, Duration, Size, parse_duration, parse_size

ENVIRONMENT_PREFIX = "HEADGATE_"
NESTING = "__"


def _text(doc: str, default: Any) -> Any:
    return Field(default=default, description=doc)


class Section(BaseModel):
    """A group of settings; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ReceiverSettings(Section):
    """Where and what the receiver takes."""

    grpc: Address = _text("Where agents send OTLP over gRPC.", "127.0.0.1:4317")
    http: Address = _text("Where agents send OTLP over HTTP.", "127.0.0.1:4318")
    request_size_max: Size = _text("Largest request taken; a larger one is refused for good.", parse_size("64 MiB"))


class ConsoleSettings(Section):
    """The console's listener."""

    listen: Address = _text("Where `/healthz`, `/readyz` and `/metrics` are answered.", "127.0.0.1:7400")


class RegistrySettings(Section):
    """Who the agents are."""

    file: Path | None = _text("Registry of users, teams, workflows, repos, instances and match rules, in YAML.", None)


class SessionSettings(Section):
    """How records become sessions."""

    idle_gap: Duration = _text(
        "A session without an end that is idle for longer is abandoned.", parse_duration("30 min")
    )


class Settings(BaseSettings):
    """What Headgate can be told; flags win over the environment, that over the file, that over defaults."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter=NESTING, extra="forbid", frozen=True
    )

    data: Path = _text("Folder of the store.", Path("headgate-data"))
    tenant: Annotated[str, Field(min_length=1)] = _text("Tenant that every row belongs to.", "default")
    receiver: ReceiverSettings = _text("The receiver.", ReceiverSettings())
    console: ConsoleSettings = _text("The console.", ConsoleSettings())
    registry: RegistrySettings = _text("The registry.", RegistrySettings())
    sessions: SessionSettings = _text("Sessions.", SessionSettings())
