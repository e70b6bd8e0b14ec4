"""Anthropic's messages."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from headgate_processors.testing.model_server.api import Body, arguments_of, new_id, pieces, sse
from headgate_processors.testing.model_server.conversation import Conversation, MadeCall, Reply, Tool

_ERRORS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class Messages:
    """`POST /v1/messages`."""

    name = "messages"
    request_id_header = "request-id"

    def conversation(self, body: Body) -> Conversation:
        """Tools, calls made so far, and the schema of `output_config.format`."""
        form = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
        return Conversation(
            tools=tuple(
                Tool(name=str(tool.get("name")), arguments=arguments_of(tool.get("input_schema")))
                for tool in body.get("tools") or []
            ),
            made=tuple(call for message in body.get("messages") or [] for call in _made(message)),
            answer_schema=(form.get("schema") or {}) if form.get("type") == "json_schema" else None,
        )

    def answer(self, body: Body, reply: Reply) -> dict[str, Any]:
        """A `message`."""
        return {
            "id": new_id("msg_01"),
            "type": "message",
            "role": "assistant",
            "model": body.get("model", "unknown"),
            "content": list(_content(reply)),
            "stop_reason": reply.finish or ("tool_use" if reply.calls else "end_turn"),
            "stop_sequence": None,
            "usage": reply.usage.as_message(),
        }

    def events(self, _body: Body, answer: Body, /) -> Iterator[bytes]:
        """The message as it begins, its blocks in pieces, why it ended with the usage, the end."""
        usage = answer["usage"]
        begun = {**answer, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
        yield _event({"type": "message_start", "message": begun})
        yield _event({"type": "ping"})
        for index, block in enumerate(answer["content"]):
            yield _event({"type": "content_block_start", "index": index, "content_block": _begun(block)})
            for delta in _deltas(block):
                yield _event({"type": "content_block_delta", "index": index, "delta": delta})
            yield _event({"type": "content_block_stop", "index": index})
        stop = {key: answer[key] for key in ("stop_reason", "stop_sequence")}
        told = {key: usage[key] for key in _USAGE_AT_END}
        yield _event({"type": "message_delta", "delta": stop, "usage": told})
        yield _event({"type": "message_stop"})

    def error(self, status: int, message: str) -> dict[str, Any]:
        """Anthropic's error object."""
        kind = _ERRORS.get(status, "invalid_request_error" if status < 500 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": new_id("req_01")}

    def failure(self, _answer: Body, message: str, /) -> tuple[dict[str, Any], bytes]:
        """An error, as an event too."""
        error = self.error(529, message)
        return error, _event(error)


_USAGE_AT_END = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")


def _made(message: Mapping[str, Any]) -> Iterator[MadeCall]:
    content = message.get("content")
    if message.get("role") != "assistant" or not isinstance(content, list):
        return
    for block in content:
        if block.get("type") == "tool_use":
            yield MadeCall(name=str(block.get("name")), arguments=orjson.dumps(block.get("input")).decode())


def _content(reply: Reply) -> Iterator[dict[str, Any]]:
    if reply.text:
        yield {"type": "text", "text": reply.text}
    for call in reply.calls:
        yield {"type": "tool_use", "id": f"toolu_01{call.id}", "name": call.tool.name, "input": dict(call.arguments)}


def _begun(block: Mapping[str, Any]) -> dict[str, Any]:
    return {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}


def _deltas(block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if block["type"] == "text":
        for piece in pieces(block["text"]):
            yield {"type": "text_delta", "text": piece}
        return
    for piece in ("", *pieces(orjson.dumps(block["input"]).decode())):
        yield {"type": "input_json_delta", "partial_json": piece}


def _event(data: Mapping[str, Any]) -> bytes:
    return sse(data, str(data["type"]))
