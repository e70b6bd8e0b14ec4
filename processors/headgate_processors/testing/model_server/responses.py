"""OpenAI's responses."""

import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import orjson

from headgate_processors.testing.model_server.api import Body, arguments_of, new_id, openai_error, pieces, sse
from headgate_processors.testing.model_server.conversation import Conversation, MadeCall, PlannedCall, Reply, Tool

_REMEMBERED = 10_000
_CALL_ITEMS = frozenset({"function_call", "custom_tool_call"})
Emitted = tuple[str, dict[str, Any]]


class Responses:
    """`POST /v1/responses`; remembers the calls of the last answers, for clients that only send what came since."""

    name = "responses"
    request_id_header = "x-request-id"

    def __init__(self) -> None:
        self._made: OrderedDict[str, tuple[MadeCall, ...]] = OrderedDict()

    def conversation(self, body: Body) -> Conversation:
        """Tools, those of namespaces too, the calls made so far, and the schema of `text.format`."""
        items = body.get("input") if isinstance(body.get("input"), list) else []
        said = tuple(_made(item) for item in items or [] if item.get("type") in _CALL_ITEMS)
        earlier = self._made.get(str(body.get("previous_response_id")), ())
        form = (body.get("text") or {}).get("format") or {}
        return Conversation(
            tools=tuple(tool for one in body.get("tools") or [] for tool in _tools(one)),
            made=earlier + said,
            answer_schema=(form.get("schema") or {}) if form.get("type") in {"json_schema", "json_object"} else None,
        )

    def answer(self, body: Body, reply: Reply) -> dict[str, Any]:
        """A `response` that is complete."""
        output = list(_output(reply))
        answer = {
            **_DEFAULTS,
            "id": new_id("resp_"),
            "created_at": int(time.time()),
            "completed_at": int(time.time()),
            "status": "incomplete" if reply.finish else "completed",
            "incomplete_details": {"reason": reply.finish} if reply.finish else None,
            "model": body.get("model", "unknown"),
            "output": output,
            "usage": reply.usage.as_response(),
            **{key: body[key] for key in _ECHOED if key in body},
        }
        self._remember(str(answer["id"]), self.conversation(body).made, output)
        return answer

    def events(self, _body: Body, answer: Body, /) -> Iterator[bytes]:
        """Numbered events: created, each item as it grows, completed with the usage."""
        number = count()
        for name, data in _emitted(answer):
            yield sse({"type": name, "sequence_number": next(number), **data}, name)

    def error(self, status: int, message: str) -> dict[str, Any]:
        """OpenAI's error object."""
        return openai_error(status, message)

    def failure(self, answer: Body, message: str, /) -> tuple[dict[str, Any], bytes]:
        """A response that has failed, with what it has used."""
        error = {"code": "server_error", "message": message}
        failed = {**answer, "status": "failed", "completed_at": None, "error": error, "output": []}
        return failed, sse({"type": "response.failed", "sequence_number": 99, "response": failed}, "response.failed")

    def _remember(self, response_id: str, made: tuple[MadeCall, ...], output: list[dict[str, Any]]) -> None:
        self._made[response_id] = made + tuple(_made(item) for item in output if item["type"] in _CALL_ITEMS)
        while len(self._made) > _REMEMBERED:
            self._made.popitem(last=False)


def _tools(tool: Mapping[str, Any], namespace: str | None = None) -> Iterator[Tool]:
    name = str(tool.get("name"))
    match tool.get("type"):
        case "function":
            yield Tool(name=name, arguments=arguments_of(tool.get("parameters")), namespace=namespace)
        case "custom":
            yield Tool(name=name, arguments=frozenset({"input"}), form="custom", namespace=namespace)
        case "namespace":
            for one in tool.get("tools") or []:
                yield from _tools(one, name)
        case _:
            return


def _made(item: Mapping[str, Any]) -> MadeCall:
    return MadeCall(name=str(item.get("name")), arguments=str(item.get("arguments") or item.get("input") or ""))


def _output(reply: Reply) -> Iterator[dict[str, Any]]:
    if reply.usage.reasoning_tokens:
        yield {"id": new_id("rs_"), "type": "reasoning", "summary": []}
    if reply.text:
        part = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
        yield {"id": new_id("msg_"), "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    for call in reply.calls:
        yield _call(call)


def _call(call: PlannedCall) -> dict[str, Any]:
    base = {"status": "completed", "call_id": f"call_{call.id}", "name": call.tool.name}
    if call.tool.namespace:
        base["namespace"] = call.tool.namespace
    if call.tool.form == "custom":
        return {"id": new_id("ctc_"), "type": "custom_tool_call", **base, "input": call.arguments.get("input", "")}
    arguments = orjson.dumps(call.arguments).decode()
    return {"id": new_id("fc_"), "type": "function_call", **base, "arguments": arguments}


def _emitted(answer: Body) -> Iterator[Emitted]:
    begun = {**answer, "status": "in_progress", "completed_at": None, "output": [], "usage": None}
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    for index, item in enumerate(answer["output"]):
        place = {"output_index": index}
        yield "response.output_item.added", {**place, "item": {**item, **_begun(item)}}
        yield from _growth(item, {"item_id": item["id"], **place})
        yield "response.output_item.done", {**place, "item": item}
    yield f"response.{answer['status']}", {"response": answer}


def _begun(item: Mapping[str, Any]) -> dict[str, Any]:
    grows = _GROWS.get(item["type"])
    return {**grows, "status": "in_progress"} if grows else {}


def _growth(item: Mapping[str, Any], place: Mapping[str, Any]) -> Iterator[Emitted]:
    match item["type"]:
        case "message":
            yield from _text_growth(item["content"][0], {**place, "content_index": 0})
        case "function_call":
            for piece in pieces(item["arguments"]):
                yield "response.function_call_arguments.delta", {**place, "delta": piece}
            done = {"arguments": item["arguments"], "name": item["name"]}
            yield "response.function_call_arguments.done", {**place, **done}
        case "custom_tool_call":
            for piece in pieces(item["input"]):
                yield "response.custom_tool_call_input.delta", {**place, "delta": piece}
            yield "response.custom_tool_call_input.done", {**place, "input": item["input"]}
        case _:
            return


def _text_growth(part: Mapping[str, Any], place: Mapping[str, Any]) -> Iterator[Emitted]:
    yield "response.content_part.added", {**place, "part": {**part, "text": ""}}
    for piece in pieces(part["text"]):
        yield "response.output_text.delta", {**place, "delta": piece, "logprobs": []}
    yield "response.output_text.done", {**place, "text": part["text"], "logprobs": []}
    yield "response.content_part.done", {**place, "part": part}


_DEFAULTS: Mapping[str, Any] = {
    "object": "response",
    "background": False,
    "error": None,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": "medium", "summary": None},
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
_ECHOED = ("metadata", "previous_response_id", "store", "tool_choice", "tools")
_GROWS: Mapping[str, Mapping[str, Any]] = {
    "function_call": {"arguments": ""},
    "custom_tool_call": {"input": ""},
    "message": {"content": []},
}
