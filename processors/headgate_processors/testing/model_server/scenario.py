"""What a scenario says: a task, the files that it is about, the turns of the model, its usage, and what goes wrong.

task: Fix the bug in calc.py, then run the tests.
turns:
  - calls: [read]                                            # an intent, by whatever tool the agent has for it
  - calls: [{tool: get_weather, arguments: {city: Rome}}]    # or a tool by its name
  - say: Done.
usage: {input_tokens: 1000, output_tokens: 40}
faults:
  - {requests: [1], status: 429, retry_after_s: 1}
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from headgate_processors.errors import ConfigError
from headgate_processors.testing.model_server.usage import Usage

Seconds = Annotated[float, Field(ge=0, le=300)]
Tokens = Annotated[int, Field(ge=0, le=10_000_000)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Intent(_Part):
    """What a model may want: the tools that serve it, best first, and what to put into each argument they have.

    `shell` is the command that does the same, for an agent that has only a shell.
    """

    tools: tuple[str, ...]
    arguments: Mapping[str, Any] = {}
    shell: str | None = None
    once: bool = False
    is_answer: bool = False

    def rank(self, tool: str) -> int | None:
        """Place of a tool among those that serve this intent; None when it does not."""
        bare = tool.rpartition("__")[2]
        return next((place for place, glob in enumerate(self.tools) if fnmatchcase(bare, glob)), None)


class Intents(_Part):
    """Every intent by its name, and the tools that run a shell command with the argument they take it in."""

    intents: Mapping[str, Intent]
    shells: tuple[str, ...]
    shell_arguments: Mapping[str, Any]

    def is_shell(self, tool: str) -> bool:
        """Whether a tool runs commands."""
        return tool.rpartition("__")[2] in self.shells


@cache
def packaged_intents() -> Intents:
    """The intents that come with Headgate."""
    text = (resources.files(__package__) / "intents.yaml").read_text(encoding="utf-8")
    return Intents.model_validate(yaml.safe_load(text))


class Call(_Part):
    """A tool call of a turn: an intent, or a tool by its name; `arguments` come over those of the intent."""

    intent: str | None = None
    tool: str | None = None
    arguments: Mapping[str, Any] = {}

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.intent is None) == (self.tool is None):
            message = "a call has an intent or a tool, and not both"
            raise ValueError(message)
        return self


def _call(value: Any) -> Any:
    return {"intent": value} if isinstance(value, str) else value


class Tokened(_Part):
    """Token counts of a turn, those of `Usage`."""

    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    reasoning_tokens: Tokens = 0
    cache_read_tokens: Tokens = 0
    cache_write_5m_tokens: Tokens = 0
    cache_write_1h_tokens: Tokens = 0

    def usage(self) -> Usage:
        """As a value that can be added."""
        return Usage(**self.model_dump())


class Turn(_Part):
    """One answer of the model: a text, tool calls that are made in parallel, or both.

    `usage` and `finish` replace what would follow from the scenario and from the calls.
    """

    say: str | None = None
    calls: tuple[Annotated[Call, BeforeValidator(_call)], ...] = ()
    usage: Tokened | None = None
    finish: str | None = None


class Fault(_Part):
    """What goes wrong with some requests; requests for an answer of a model are counted from 1.

    With a `status` the request is refused. Otherwise it is answered, `delay_s` late, and after so many events of
    the stream (or in the middle of a plain body) it stalls for `stall_s`, is cut off, or `fails` in the words of its
    API, which a plain answer does instead of anything else. `coding`: how the answer is coded, whatever was asked for.
    """

    requests: tuple[int, ...] = ()
    from_request: int | None = None
    model: str = "*"
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    message: str | None = None
    retry_after_s: Seconds | None = None
    delay_s: Seconds = 0
    after_events: Annotated[int, Field(ge=0)] = 2
    stall_s: Seconds = 0
    cut: bool = False
    fails: bool = False
    coding: Literal["gzip", "deflate", "br"] | None = None

    def strikes(self, number: int, model: str) -> bool:
        """Whether it befalls request `number`."""
        is_meant = number in self.requests or (self.from_request is not None and number >= self.from_request)
        return is_meant and fnmatchcase(model, self.model)


class Kill(_Part):
    """When the recorder kills the agent: so many seconds after so many requests were answered."""

    after_requests: Annotated[int, Field(ge=1)]
    wait_s: Seconds = 0


class Scenario(_Part):
    """A whole scenario; usage grows with each tool call that the conversation already holds.

    `agent_may_fail` says that an agent which ends with an error did nothing wrong.
    """

    task: str = "Do what the script says."
    tasks_after: tuple[str, ...] = ()
    files: Mapping[str, str] = {}
    turns: tuple[Turn, ...]
    usage: Tokened = Tokened(input_tokens=1000, output_tokens=40)
    growth: Tokened = Tokened()
    faults: tuple[Fault, ...] = ()
    kill: Kill | None = None
    agent_may_fail: bool = False
    between_events_s: Seconds = 0
    intents: Intents = Field(default_factory=packaged_intents)

    @model_validator(mode="after")
    def _intents_are_known(self) -> Self:
        named = {call.intent for turn in self.turns for call in turn.calls if call.intent}
        unknown = sorted(named - set(self.intents.intents))
        if unknown:
            message = f"unknown intents {', '.join(unknown)}; known are {', '.join(sorted(self.intents.intents))}"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _usage_adds_up(self) -> Self:
        for tokens in (self.usage, self.growth, *(turn.usage for turn in self.turns if turn.usage)):
            if tokens.usage().uncached_input_tokens < 0:
                message = "input_tokens include what was read from and written to the cache, and are less here"
                raise ValueError(message)
        return self


def scenario_names() -> list[str]:
    """Names of the scenarios that come with Headgate."""
    return sorted(one.name.removesuffix(".yaml") for one in _packaged().iterdir() if one.name.endswith(".yaml"))


def load_scenario(name: str | Path) -> Scenario:
    """A scenario by its name, or from a YAML file.

    Raises:
        ConfigError: there is none of that name, or it is wrong; the message says where.
    """
    is_file = isinstance(name, Path) or name.endswith((".yaml", ".yml"))
    source = Path(name) if is_file else _packaged() / f"{name}.yaml"
    try:
        return parsed_scenario(source.read_text(encoding="utf-8"), where=str(name))
    except OSError as error:
        message = f"no scenario {name}: give a YAML file or one of {', '.join(scenario_names())}"
        raise ConfigError(message) from error


def parsed_scenario(text: str, *, where: str = "scenario") -> Scenario:
    """A scenario from YAML.

    Raises:
        ConfigError: it is wrong.
    """
    try:
        return Scenario.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        message = f"{where}: {error}"
        raise ConfigError(message) from error


def _packaged() -> Any:
    return resources.files(__package__) / "scenarios"
