"""What the server must know of an API of a provider, and what all of them share."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol
from uuid import uuid4

import orjson

from headgate_processors.testing.model_server.conversation import Conversation, Reply

Body = Mapping[str, Any]
_PIECE = 24
ERROR_MESSAGES: Mapping[int, str] = {
    400: "The request is not valid.",
    401: "The key is not valid.",
    403: "The key may not do this.",
    404: "There is no such thing.",
    429: "Rate limit reached.",
    529: "Overloaded.",
}


class Api(Protocol):
    """One way to ask a model."""

    name: str
    request_id_header: str

    def conversation(self, body: Body) -> Conversation:
        """What a request says."""
        ...

    def answer(self, body: Body, reply: Reply) -> dict[str, Any]:
        """The whole answer."""
        ...

    def events(self, body: Body, answer: Body, /) -> Iterator[bytes]:
        """The answer as server-sent events."""
        ...

    def error(self, status: int, message: str) -> dict[str, Any]:
        """The body of a refusal."""
        ...

    def failure(self, answer: Body, message: str) -> tuple[dict[str, Any], bytes]:
        """What an answer becomes that fails after it has begun: whole, and as the last event of a stream."""
        ...


def new_id(prefix: str) -> str:
    """An id as a provider would give."""
    return f"{prefix}{uuid4().hex[:24]}"


def sse(data: Body | str, event: str | None = None) -> bytes:
    """One server-sent event."""
    name = f"event: {event}\n".encode() if event else b""
    text = data.encode() if isinstance(data, str) else orjson.dumps(data)
    return name + b"data: " + text + b"\n\n"


def pieces(text: str, size: int = _PIECE) -> Iterator[str]:
    """A text in the pieces that it is streamed in."""
    for at in range(0, len(text), size):
        yield text[at : at + size]


def text_of(content: Any) -> str:
    """The text of a message's content, plain or in parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, Mapping))


def arguments_of(schema: Any) -> frozenset[str]:
    """Names of the arguments that a tool's JSON Schema declares."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return frozenset(properties) if isinstance(properties, Mapping) else frozenset()


def openai_error(status: int, message: str) -> dict[str, Any]:
    """The body of a refusal by OpenAI."""
    kinds = {400: "invalid_request_error", 401: "invalid_request_error", 403: "permission_error", 429: "requests"}
    codes = {401: "invalid_api_key", 403: "permission_denied", 404: "not_found", 429: "rate_limit_exceeded"}
    return {
        "error": {
            "message": message,
            "type": kinds.get(status, "invalid_request_error" if status < 500 else "server_error"),
            "param": None,
            "code": codes.get(status),
        }
    }
