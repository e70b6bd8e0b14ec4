"""An agent that can be recorded: what to install, how to start it, and where it learns of model and telemetry.

One YAML file an agent. Texts of `command`, `command_after`, `environment` and `files` may hold `{task}`, `{model_url}`,
`{otlp_grpc}`, `{otlp_http}`, `{workspace}`, `{home}`, `{scripts}` and `{prefix}`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headgate_processors.errors import ConfigError

_SUFFIX = ".yaml"


class AgentFile(BaseModel):
    """What the YAML file says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str
    python: tuple[str, ...] = ()
    npm: Mapping[str, str] = {}
    command: tuple[str, ...]
    command_after: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    files: Mapping[str, str] = {}
    time_limit_s: Annotated[float, Field(gt=0, le=300)] = 90


class Agent(AgentFile):
    """An agent with its name, the folder of its scripts, and the versions that its packages are held to.

    `python` are requirements, `npm` packages with versions; `files` are written into the home folder. Of a scenario
    with several tasks the later ones are run by `command_after`; an agent without it gets all of them at once.
    """

    name: str
    scripts: Path
    lock: Path | None = None


def agent_names(folder: Path) -> list[str]:
    """The agents of a folder."""
    return sorted(path.name.removesuffix(_SUFFIX) for path in (folder / "agents").glob(f"*{_SUFFIX}"))


def load_agent(folder: Path, name: str) -> Agent:
    """An agent of a folder that has `agents/NAME.yaml`, `agents/NAME.lock.txt` and `scripts/`.

    Raises:
        ConfigError: there is no such agent, or its file is wrong.
    """
    path = folder / "agents" / f"{name}{_SUFFIX}"
    lock = path.with_name(f"{name}.lock.txt")
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
        parsed = AgentFile.model_validate(said)
        return Agent(
            **parsed.model_dump(),
            name=name,
            scripts=(folder / "scripts").resolve(),
            lock=lock.resolve() if lock.exists() else None,
        )
    except FileNotFoundError as error:
        known = ", ".join(agent_names(folder)) or "none at all"
        message = f"no agent {name} in {folder}: there is {known}"
        raise ConfigError(message) from error
    except (yaml.YAMLError, ValidationError) as error:
        message = f"{path}: {error}"
        raise ConfigError(message) from error
