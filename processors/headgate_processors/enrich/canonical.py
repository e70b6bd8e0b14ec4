"""One canonical value for the same tool call, however a dialect wrote it down.

Instrumentations wrap arguments in envelopes, add call ids, print Python instead of JSON, and differ in
white space and key order. `canonical_arguments` undoes that, `canonical_json` fixes the bytes to hash.
"""

import ast
import json
import re
from collections.abc import Callable, Mapping

import orjson

PARSED_BYTES_MAX = 1 << 20
PYTHON_BYTES_MAX = 1 << 15
DEPTH_MAX = 64
UNWRAP_MAX = 6
QUOTED_MAX = 8

_CALL_ID_KEYS = frozenset(
    {"callId", "call_id", "tool_call_id", "toolCallId", "tool_use_id", "toolUseId", "toolUseID", "_meta"}
)
_CALL_ID = re.compile(r"(?:call|toolu|tooluse|fc|chatcmpl-tool)[-_][A-Za-z0-9_-]{6,}")
_ADDRESS = re.compile(r"<[\w.<> ]{1,200} at 0x[0-9a-fA-F]{4,16}>")
_CALL_PARTS = _CALL_ID_KEYS | {
    "id", "type", "name", "args", "arguments", "index", "status", "prompt_id", "isClientInitiated", "function",
}  # fmt: skip
_TRACELOOP = frozenset({"input_str", "tags", "metadata", "inputs", "kwargs", "name"})
_PYTHON_CALL = frozenset({"args", "kwargs", "sanitize_inputs_outputs"})
_MARKERS = frozenset({"input_str", "kwargs", "sanitize_inputs_outputs", "input", "args", "arguments", "function"})


def canonical_arguments(value: object) -> object:
    """The arguments of a tool call without envelope, call ids and empty keys.

    JSON text and the text of a Python literal become values; text that is neither stays text, without
    the white space around it. Values nested deeper than `DEPTH_MAX` are cut. Applying it twice changes nothing.
    """
    current = _parsed(value)
    for _ in range(UNWRAP_MAX):
        current = _cleaned(_bare(current), 0)
        if _unwrapped(current) is current:
            break
    return current


def canonical_json(value: object) -> bytes:
    """`value` as JSON with sorted keys and no white space; whole floats are written as integers."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)
    except (TypeError, orjson.JSONEncodeError):
        # Lone surrogates and integers beyond 64 bits, which orjson refuses.
        return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()


def canonical_bytes(value: object) -> bytes:
    """The bytes to hash for the arguments of a tool call."""
    return canonical_json(canonical_arguments(value))


def _parsed(value: object) -> object:
    """The value that a text stands for: JSON, else a Python literal, else the text itself."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    for _ in range(QUOTED_MAX):
        if not isinstance(value, str):
            return value
        text = value.strip()
        if not text or text[0] not in '{["' or len(text) > PARSED_BYTES_MAX:
            return text
        parsed = _literal(text)
        if parsed is None:
            return text
        value = parsed
    return value


def _literal(text: str) -> object:
    """The JSON or Python value written in `text`; None when it is neither."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    if text[0] == '"' or len(text) > PYTHON_BYTES_MAX:
        return None
    try:
        parsed: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return parsed


def _bare(value: object) -> object:
    """The value without any of the envelopes around it."""
    for _ in range(UNWRAP_MAX):
        inner = _unwrapped(value)
        if inner is value:
            break
        value = inner
    return value


def _unwrapped(value: object) -> object:
    """One envelope less, or the same value."""
    if not isinstance(value, dict) or _MARKERS.isdisjoint(value):
        return value
    for opens, unwrap in _ENVELOPES:
        if opens(value):
            return _parsed(unwrap(value))
    return value


def _is_traceloop(value: dict[str, object]) -> bool:
    return "input_str" in value and value.keys() <= _TRACELOOP and len(value) > 1


def _from_traceloop(value: dict[str, object]) -> object:
    return value.get("inputs") or value["input_str"]


def _is_python_call(value: dict[str, object]) -> bool:
    return (
        value.keys() <= _PYTHON_CALL
        and isinstance(value.get("kwargs", {}), dict)
        and isinstance(value.get("args", []), list | tuple)
        and ("kwargs" in value or "sanitize_inputs_outputs" in value)
    )


def _from_python_call(value: dict[str, object]) -> object:
    args, kwargs = value.get("args"), value.get("kwargs")
    if not args:
        return kwargs or {}
    if not kwargs and isinstance(args, list | tuple) and len(args) == 1:
        return args[0]
    return {"positional": args, **(kwargs if isinstance(kwargs, dict) else {})}


def _is_single_input(value: dict[str, object]) -> bool:
    if value.keys() not in ({"input"}, {"input_str"}):
        return False
    inner = _parsed(next(iter(value.values())))
    return isinstance(inner, dict | list)


def _from_single(value: dict[str, object]) -> object:
    return next(iter(value.values()))


def _is_call(value: dict[str, object]) -> bool:
    """A whole call (`{callId, name, args}`, `{id, type, function: {…}}`) rather than its arguments."""
    if not value.keys() <= _CALL_PARTS or not any(map(value.__contains__, ("args", "arguments", "function"))):
        return False
    return any(_is_call_id_key(key, entry) for key, entry in value.items()) or value.get("type") == "function"


def _from_call(value: dict[str, object]) -> object:
    inner = value.get("function", value)
    if not isinstance(inner, dict):
        return value.get("arguments", value.get("args"))
    return inner.get("arguments", inner.get("args", {}))


def _is_call_id_key(key: object, entry: object) -> bool:
    if key in _CALL_ID_KEYS:
        return True
    return key == "id" and isinstance(entry, str) and _CALL_ID.fullmatch(entry) is not None


def _cleaned(value: object, depth: int) -> object:
    if isinstance(value, str) or value is None or isinstance(value, int):
        return value
    if isinstance(value, dict):
        return _cleaned_object(value, depth)
    if isinstance(value, list | tuple):
        return [_cleaned(item, depth + 1) for item in value] if depth < DEPTH_MAX else "…"
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, set | frozenset):
        return sorted((_cleaned(item, depth + 1) for item in value), key=canonical_json)
    if isinstance(value, Mapping):
        return _cleaned_object(dict(value), depth)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _is_address(value: object) -> bool:
    """A Python object that was printed: framework context, at another address in every call."""
    return isinstance(value, str) and value[:1] == "<" and _ADDRESS.fullmatch(value) is not None


def _cleaned_object(value: dict[object, object], depth: int) -> object:
    if depth >= DEPTH_MAX:
        return "…"
    kept: dict[str, object] = {}
    for key, entry in value.items():
        if (depth == 0 and _is_call_id_key(key, entry)) or _is_address(entry):
            continue
        cleaned = _cleaned(entry, depth + 1)
        if cleaned or isinstance(cleaned, int | float):
            kept[str(key)] = cleaned
    return kept


_Envelope = tuple[Callable[[dict[str, object]], bool], Callable[[dict[str, object]], object]]
_ENVELOPES: tuple[_Envelope, ...] = (
    (_is_traceloop, _from_traceloop),
    (_is_python_call, _from_python_call),
    (_is_single_input, _from_single),
    (_is_call, _from_call),
)
