"""OpenAI's chat completions, which most other providers and gateways speak too."""

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from headgate_processors.testing.model_server.api import (
    Body,
    arguments_of,
    new_id,
    openai_error,
    pieces,
    sse,
    text_of,
)
from headgate_processors.testing.model_server.conversation import Conversation, MadeCall, PlannedCall, Reply, Tool

# smolagents tells the model of its own calls in text, as Python values.
_CALLS_IN_TEXT = re.compile(r"'function': \{'name': '([^']+)', 'arguments': (\{.*?\})\}")
_TEXT_OF_CALLS = "Calling tools:"


class ChatCompletions:
    """`POST /v1/chat/completions`."""

    name = "chat"
    request_id_header = "x-request-id"

    def conversation(self, body: Body) -> Conversation:
        """Tools, calls made so far, and the schema of `response_format`."""
        return Conversation(
            tools=tuple(_tool(one.get("function") or one) for one in body.get("tools") or []),
            made=tuple(call for message in body.get("messages") or [] for call in _made(message)),
            answer_schema=_schema(body.get("response_format") or {}),
        )

    def answer(self, body: Body, reply: Reply) -> dict[str, Any]:
        """A `chat.completion`."""
        calls = [_call(call) for call in reply.calls]
        message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None, "annotations": []}
        choice = {
            "index": 0,
            "message": message | ({"tool_calls": calls} if calls else {}),
            "logprobs": None,
            "finish_reason": reply.finish or ("tool_calls" if calls else "stop"),
        }
        return {
            "id": new_id("chatcmpl-"),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body.get("model", "unknown"),
            "choices": [choice],
            "usage": reply.usage.as_chat(),
            "service_tier": "default",
            "system_fingerprint": "fp_scripted",
        }

    def events(self, body: Body, answer: Body, /) -> Iterator[bytes]:
        """Chunks: the role, the text, each call in pieces, why it ended, the usage when asked for, `[DONE]`."""
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        base = {key: answer[key] for key in ("id", "created", "model", "service_tier", "system_fingerprint")}
        base["object"] = "chat.completion.chunk"
        extra: dict[str, Any] = {"usage": None} if wants_usage else {}
        choice = answer["choices"][0]
        for delta in _deltas(choice["message"]):
            yield sse({**base, "choices": [_chunk(delta)], **extra})
        yield sse({**base, "choices": [_chunk({}, choice["finish_reason"])], **extra})
        if wants_usage:
            yield sse({**base, "choices": [], "usage": answer["usage"]})
        yield sse("[DONE]")

    def error(self, status: int, message: str) -> dict[str, Any]:
        """OpenAI's error object."""
        return openai_error(status, message)

    def failure(self, _answer: Body, message: str, /) -> tuple[dict[str, Any], bytes]:
        """An error, as a chunk too."""
        error = self.error(500, message)
        return error, sse(error)


def _tool(function: Mapping[str, Any]) -> Tool:
    return Tool(name=str(function.get("name")), arguments=arguments_of(function.get("parameters")))


def _made(message: Mapping[str, Any]) -> Iterator[MadeCall]:
    if message.get("role") != "assistant":
        return
    calls = message.get("tool_calls") or []
    for call in calls:
        function = call.get("function") or {}
        yield MadeCall(name=str(function.get("name")), arguments=str(function.get("arguments")))
    told = "" if calls else text_of(message.get("content")).partition(_TEXT_OF_CALLS)[2]
    for name, arguments in _CALLS_IN_TEXT.findall(told):
        yield MadeCall(name=name, arguments=arguments)


def _schema(form: Mapping[str, Any]) -> Mapping[str, Any] | None:
    match form.get("type"):
        case "json_schema":
            return (form.get("json_schema") or {}).get("schema") or {}
        case "json_object":
            return {}
        case _:
            return None


def _call(call: PlannedCall) -> dict[str, Any]:
    function = {"name": call.tool.name, "arguments": orjson.dumps(call.arguments).decode()}
    return {"id": f"call_{call.id}", "type": "function", "function": function}


def _chunk(delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _deltas(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    text = message["content"]
    yield {"role": "assistant", "content": "" if text else None, "refusal": None}
    for piece in pieces(text or ""):
        yield {"content": piece}
    for index, call in enumerate(message.get("tool_calls", [])):
        function = call["function"]
        yield {"tool_calls": [{"index": index, **call, "function": {"name": function["name"], "arguments": ""}}]}
        for piece in pieces(function["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
