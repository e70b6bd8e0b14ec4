"""Refusals in the provider's own shape: what is decided is a 403, never a 429, which agents try again."""

from collections.abc import Mapping

import orjson
from aiohttp import web

from headgate_control.decide.decision import Code
from headgate_gateways.model.upstream import Kind, Operation

DECISION_HEADER = "x-headgate-decision-id"
FROM_CACHE: Mapping[str, str] = {"x-headgate-cache": "hit"}
"""What an answer says that no provider was asked for."""
STATUS = 403
DECIDED = "policy_denied"
_CODES: Mapping[Code, str] = {
    "stopped": "stopped",
    "paused": "paused",
    "budget": "budget",
    "rate": "rate",
    "stale": "stale",
}
_ANTHROPIC_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    408: "invalid_request_error",
    413: "request_too_large",
    503: "overloaded_error",
}


def code_of(code: Code | None) -> str:
    """The word that agents and their owners see; what is none of theirs is `policy`."""
    return _CODES.get(code, "policy") if code is not None else "policy"


def refusal(kind: Kind, code: str, message: str, *, status: int = STATUS) -> bytes:
    """The body of a refusal; what nobody has decided has the type that its provider gives such a status."""
    error = {"type": DECIDED if status == STATUS else _type(kind, status), "code": code, "message": message}
    return orjson.dumps(
        {"type": "error", "error": error} if kind == "anthropic" else {"error": {**error, "param": None}}
    )


def no_door() -> web.Response:
    """What is told of a door that is not there: a base URL is wrong. Which doors a site has is not for everybody."""
    message = (
        "no provider has this door: a base URL ends in /openai/v1, in /anthropic, or in the name of another provider "
        "of gateways.model.upstreams"
    )
    body = refusal("openai", "unknown_path", message, status=404)
    return web.Response(status=404, body=body, content_type="application/json")


def _type(kind: Kind, status: int) -> str:
    if kind == "anthropic":
        return _ANTHROPIC_TYPES.get(status, "api_error")
    return "invalid_request_error" if status < 500 else "server_error"


def last_event(operation: Operation, code: str, message: str) -> bytes:
    """The same as the last event of a stream that is cut, in the shape that its API has for it."""
    data = refusal("anthropic" if operation == "messages" else "openai", code, message)
    if operation == "responses":
        # Both of what its clients look for: the fields of the event itself, and an error as answers have it.
        told = {"type": "error", "sequence_number": 0, "code": code, "message": message, "param": None}
        data = orjson.dumps({**told, **orjson.loads(data)})
    head = b"" if operation == "chat" else b"event: error\n"
    return b"\n\n" + head + b"data: " + data + b"\n\n"
