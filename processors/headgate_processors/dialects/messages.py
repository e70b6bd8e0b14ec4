"""Reading messages in whatever shape a dialect sends them: tool calls asked for, results returned, the user's task.

Every framework nests the same few shapes differently, so a bounded walk looks for the shapes and not for
paths. Content is only read here; nothing is kept but what the caller stores after redaction.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from headgate_processors.dialects.coerce import parse_json, to_text

DEPTH_MAX = 12
CALLS_MAX = 256

_CALL_TYPES = frozenset(
    {"tool_call", "tool-call", "server_tool_call", "tool_use", "server_tool_use", "function_call", "custom_tool_call"}
)
_RESULT_TYPES = frozenset(
    {
        "tool_call_response",
        "server_tool_call_response",
        "tool_result",
        "tool-result",
        "function_call_output",
        "custom_tool_call_output",
    }
)
_RESULT_KEYS = ("functionResponse", "function_response", "toolResult")
_MESSAGE_EVENTS = {f"gen_ai.{role}.message": role for role in ("system", "user", "assistant", "tool")}
_ROLES = {
    "human": "user",
    "ai": "assistant",
    "model": "assistant",
    "function": "tool",
    "tool-response": "tool",
    "tool-call": "assistant",
}
_PLAIN_ROLES = frozenset({"user", "assistant", "system", "tool"})
_CALL_LISTS = frozenset({"tool_calls", "toolCalls", "function_calls", "functionCalls", "tool_call"})
_CONTENT_KEYS = ("content", "text", "parts", "contents", "blocks", "message_content", "output", "result", "response")


class RequestedCall(NamedTuple):
    """A tool call that a model's message asks for; `arguments` as sent, text or structure."""

    name: str
    call_id: str | None
    arguments: object


class ReturnedResult(NamedTuple):
    """A tool result that the input carries back to the model; `failed` when its message says so beside the text."""

    call_id: str | None
    result: object
    failed: bool = False


def regroup(attributes: Mapping[str, object], prefix: str) -> list[object] | None:
    """Flattened `prefix.N.key.M.key` attributes as a nested list, in numeric order; NULL when there are none."""
    root: dict[str, object] = {}
    start = len(prefix)
    for key, value in attributes.items():
        if not key.startswith(prefix):
            continue
        node = root
        *path, last = key[start:].split(".", DEPTH_MAX)
        for step in path:
            child = node.get(step)
            if not isinstance(child, dict):
                child = node[step] = {}
            node = child
        node[last] = value
    folded = _fold(root)
    return folded if isinstance(folded, list) else None


def _fold(node: object) -> object:
    if not isinstance(node, dict):
        return node
    if node and all(key.isdecimal() for key in node):
        return [_fold(node[key]) for key in sorted(node, key=int)]
    return {key: _fold(value) for key, value in node.items()}


def requested_calls(messages: object) -> list[RequestedCall]:
    """Every tool call in output messages, once each, in order."""
    calls: list[RequestedCall] = []
    seen: set[str] = set()
    for call in _walk_calls(parse_json(messages), "", 0):
        if call.call_id is not None:
            if call.call_id in seen:
                continue
            seen.add(call.call_id)
        calls.append(call)
        if len(calls) == CALLS_MAX:
            break
    if seen:
        calls = [call for call in calls if call.call_id is not None]
    return calls


def _walk_calls(node: object, under: str, depth: int) -> Iterator[RequestedCall]:
    if depth > DEPTH_MAX:
        return
    if isinstance(node, list):
        for item in node:
            yield from _walk_calls(item, under, depth + 1)
    elif isinstance(node, dict):
        call = _call_of(node, under)
        if call is not None:
            yield call
            return
        for key, value in node.items():
            if isinstance(value, dict | list):
                yield from _walk_calls(value, key, depth + 1)
            elif key in _CALL_LISTS and isinstance(value, str):
                yield from _walk_calls(parse_json(value), key, depth + 1)


def _call_of(node: Mapping[str, object], under: str) -> RequestedCall | None:
    for key in ("functionCall", "function_call", "tool_call", "toolUse"):
        inner = node.get(key)
        if isinstance(inner, dict) and isinstance(inner.get("name"), str):
            return _call(inner, node)
    function = node.get("function")
    if isinstance(function, dict) and isinstance(function.get("name"), str):
        return _call(function, node) if under in _CALL_LISTS or node.get("type") == "function" else None
    bare = _type(node) is None and isinstance(node.get("toolCallId"), str) and not {"result", "output"} & node.keys()
    if bare or _type(node) in _CALL_TYPES or under in _CALL_LISTS:
        named = node.get("name") or node.get("toolName") or node.get("tool_name")
        if isinstance(named, str) and named:
            return _call(node, node)
    return None


def _type(node: Mapping[str, object]) -> str | None:
    """The `type` of a message or part; JSON schemas, which have lists there, are neither."""
    kind = node.get("type")
    return kind if isinstance(kind, str) else None


def _first(nodes: tuple[Mapping[str, object], ...], keys: tuple[str, ...]) -> object:
    return next((node[key] for node in nodes for key in keys if node.get(key) is not None), None)


def _call(inner: Mapping[str, object], outer: Mapping[str, object]) -> RequestedCall:
    nodes = (inner, outer)
    return RequestedCall(
        name=str(_first(nodes, ("name", "toolName", "tool_name"))),
        call_id=to_text(_first(nodes, ("call_id", "toolCallId", "tool_call_id", "toolUseId", "id"))),
        arguments=_first(nodes, ("arguments", "args", "input", "parameters")),
    )


def returned_results(messages: object) -> list[ReturnedResult]:
    """The tool results at the end of the input, behind the last message of the assistant."""
    listed = message_list(parse_json(messages))
    results: list[ReturnedResult] = []
    for message in reversed(listed):
        found = list(_results_of(message))
        if _role(message) == "assistant" and not found:
            break
        results[:0] = found
    return results[-CALLS_MAX:]


def _results_of(message: Mapping[str, object]) -> Iterator[ReturnedResult]:
    if _type(message) in _RESULT_TYPES or _role(message) == "tool":
        inner = any(_type(part) in _RESULT_TYPES or _first((part,), _RESULT_KEYS) for part in _parts(message))
        if not inner:
            yield _result(message)
            return
    for part in _parts(message):
        if _type(part) in _RESULT_TYPES:
            yield _result(part)
        elif isinstance(response := _first((part,), _RESULT_KEYS), Mapping):
            yield _result(response)


def _result(node: Mapping[str, object]) -> ReturnedResult:
    nodes = (node,)
    return ReturnedResult(
        call_id=to_text(_first(nodes, ("tool_call_id", "toolCallId", "tool_use_id", "toolUseId", "call_id", "id"))),
        result=_first(nodes, ("response", "result", "output", "content", "contents", "parts")),
        failed=node.get("status") == "error" or True in (node.get("is_error"), node.get("isError")),
    )


def event_messages(events: Sequence[Mapping[str, object]]) -> list[object] | None:
    """The input that span events of the first conventions carry, one message each; NULL when there is none."""
    messages: list[object] = []
    for event in events:
        role, attributes = _MESSAGE_EVENTS.get(str(event.get("name"))), event.get("attributes")
        if role is not None and isinstance(attributes, dict):
            messages.append({"role": role, **attributes, "content": parse_json(attributes.get("content"))})
    return messages or None


def event_choices(events: Sequence[Mapping[str, object]]) -> list[object] | None:
    """The output that span events of the first conventions carry; NULL when there is none."""
    choices = [
        {"role": "assistant", "content": parse_json(attributes.get("message", attributes.get("content")))}
        for event in events
        if event.get("name") == "gen_ai.choice" and isinstance(attributes := event.get("attributes"), dict)
    ]
    return [*choices] or None


def system_messages(messages: object) -> list[Mapping[str, object]]:
    """The messages of the input that instruct the model."""
    return [message for message in message_list(messages) if _role(message) in {"system", "developer"}]


def roles(messages: object) -> list[tuple[str, Mapping[str, object]]]:
    """Each message of the input with its role: `user`, `assistant`, `system`, `tool` or the source's own word."""
    return [(_role(message), message) for message in message_list(messages)]


def first_user_text(messages: object) -> str | None:
    """The first text that a user wrote, else NULL."""
    for message in message_list(parse_json(messages)):
        if _role(message) in {"user", "human"}:
            text = plain_text(message)
            if text:
                return text
    return None


def plain_text(node: object, depth: int = 0) -> str:
    """The text in a message, its parts joined by newlines."""
    if depth > DEPTH_MAX or node is None:
        return ""
    if isinstance(node, str):
        return node
    if isinstance(node, list):
        return "\n".join(text for item in node if (text := plain_text(item, depth + 1)))
    if isinstance(node, dict):
        return next((text for key in _CONTENT_KEYS if (text := plain_text(node.get(key), depth + 1))), "")
    return ""


class MessageList(list[Mapping[str, object]]):
    """Messages one by one, each without what a framework wraps around it."""


def message_list(node: object) -> MessageList:
    """The messages in parsed content; what is a list of messages already stays as it is."""
    return node if isinstance(node, MessageList) else MessageList(_message_list(node))


def _message_list(node: object, depth: int = 0) -> list[Mapping[str, object]]:
    if isinstance(node, dict):
        for key in ("messages", "contents", "prompt", "input"):
            if isinstance(node.get(key), list):
                return _message_list(node[key], depth + 1)
        return [_unwrapped(node)]
    if not isinstance(node, list) or depth > 3:
        return []
    if (
        len(node) == 2
        and isinstance(node[0], str)
        and node[0] in {"user", "human", "system", "assistant", "ai", "tool"}
    ):
        return [{"role": node[0], "content": node[1]}]
    messages: list[Mapping[str, object]] = []
    for item in node:
        if isinstance(item, dict):
            messages.append(_unwrapped(item))
        elif isinstance(item, list):
            messages.extend(_message_list(item, depth + 1))
    return messages


def _unwrapped(message: Mapping[str, object]) -> Mapping[str, object]:
    """LangChain and OpenInference keep the message one level down, its role beside it."""
    for key in ("message", "data", "kwargs"):
        inner = message.get(key)
        if isinstance(inner, dict) and ("content" in inner or "role" in inner or "tool_calls" in inner):
            return {"role": _role(message), **inner}
    return message


def _role(message: Mapping[str, object]) -> str:
    role = message.get("role") or message.get("type")
    if isinstance(role, str) and role in _PLAIN_ROLES:
        return role
    if role == "constructor":
        kind = message.get("id")
        role = str(kind[-1]) if isinstance(kind, list) and kind else ""
    text = str(role or "").lower().removesuffix("message")
    return _ROLES.get(text, text)


def _parts(message: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    for key in ("parts", "content", "contents", "blocks"):
        listed = message.get(key)
        if isinstance(listed, list):
            for part in listed:
                if isinstance(part, dict):
                    inner = part.get("message_content")
                    yield inner if isinstance(inner, dict) else part
