"""A request to a model and its answer, whatever the API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headgate_processors.testing.model_server.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool that the agent offers; `form` is the API's own word for the kind of tool."""

    name: str
    arguments: frozenset[str] = frozenset()
    form: str = "function"
    namespace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeCall:
    """A tool call that the conversation already holds; `arguments` is text."""

    name: str
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What a request says: the tools on offer, the calls made so far, and the JSON Schema that the answer must have."""

    tools: tuple[Tool, ...] = ()
    made: tuple[MadeCall, ...] = ()
    answer_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCall:
    """A tool call of the answer; one that only carries the agent's answer is no tool call to anybody who counts."""

    id: str
    tool: Tool
    arguments: Mapping[str, Any]
    is_answer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the model answers."""

    text: str | None
    calls: tuple[PlannedCall, ...]
    usage: Usage
    finish: str | None = None
