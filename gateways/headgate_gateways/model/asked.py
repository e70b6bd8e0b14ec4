"""What a model call asks for, read from its body, and what it may cost at most."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from headgate_gateways.model.upstream import Operation
from headgate_processors.errors import PermanentError

BYTES_PER_TOKEN = 3
OUTPUT_TOKENS_DEFAULT = 16_384
MODEL_CHARS_MAX = 256
_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")


class BadCallError(PermanentError):
    """The body is no call of a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A call: its model, whether it streams, and how many tokens it may take.

    `output_tokens_max` is what its caller limits it to, None where it does not; `body` is
    all that it says.
    """

    operation: Operation
    model: str
    is_stream: bool
    input_tokens_max: int
    output_tokens_max: int | None
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def output_tokens_reserved(self) -> int:
        """The output that is reserved before the call; what one without a limit takes beyond is booked at its end."""
        if self.operation == "embeddings":
            return 0
        return OUTPUT_TOKENS_DEFAULT if self.output_tokens_max is None else self.output_tokens_max


def parse_call(operation: Operation, body: bytes) -> Asked:
    """The call of a body.

    Raises:
        BadCallError: it is no JSON object, or names no model.
    """
    try:
        found: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadCallError(f"the body is no JSON: {error}") from error
    if body.count(b'"model"') > 1 and _names_twice(body):
        raise BadCallError("the body names its model twice")
    model = found.get("model") if isinstance(found, Mapping) else None
    if not isinstance(model, str) or not model:
        raise BadCallError("the body names no model")
    if len(model) > MODEL_CHARS_MAX or not model.isprintable():
        raise BadCallError(f"no model has such a name: expected {MODEL_CHARS_MAX} printable characters at most")
    limits = [value for name in _LIMITS if type(value := found.get(name)) is int and value >= 0]
    return Asked(
        operation=operation,
        model=model,
        is_stream=found.get("stream") is True,
        input_tokens_max=-(-len(body) // BYTES_PER_TOKEN),
        output_tokens_max=max(limits) if limits else None,
        body=found,
    )


def _names_twice(body: bytes) -> bool:
    """Whether the body itself has two models: another reader of it may take the other one."""
    names: list[str] = []

    def noted(pairs: list[tuple[str, object]]) -> None:
        names[:] = [name for name, _ in pairs]

    # The outermost object is the last one that is closed.
    json.loads(body, object_pairs_hook=noted)
    return names.count("model") > 1
