"""Refusals in the provider's own shape: 403, never 429, which agents try again."""

from collections.abc import Mapping

import orjson

from headgate_control.decide.decision import Code
from headgate_gateways.model.upstream import Kind, Operation

DECISION_HEADER = "x-headgate-decision-id"
STATUS = 403
_CODES: Mapping[Code, str] = {
    "stopped": "stopped",
    "paused": "paused",
    "budget": "budget",
    "rate": "rate",
    "stale": "stale",
}


def code_of(code: Code | None) -> str:
    """The word that agents and their owners see; what is none of theirs is `policy`."""
    return _CODES.get(code, "policy") if code is not None else "policy"


def refusal(kind: Kind, code: str, message: str) -> bytes:
    """The body of a refusal."""
    error = {"type": "policy_denied", "code": code, "message": message}
    return orjson.dumps(
        {"type": "error", "error": error} if kind == "anthropic" else {"error": {**error, "param": None}}
    )


def last_event(operation: Operation, code: str, message: str) -> bytes:
    """The same as the last event of a stream that is cut, in the shape that its API has for it."""
    data = refusal("anthropic" if operation == "messages" else "openai", code, message)
    if operation == "responses":
        # Both of what its clients look for: the fields of the event itself, and an error as answers have it.
        told = {"type": "error", "sequence_number": 0, "code": code, "message": message, "param": None}
        data = orjson.dumps({**told, **orjson.loads(data)})
    head = b"" if operation == "chat" else b"event: error\n"
    return b"\n\n" + head + b"data: " + data + b"\n\n"
