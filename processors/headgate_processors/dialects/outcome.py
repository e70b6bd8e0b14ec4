"""How a tool call ended, from every sign that one record gives: span status alone is wrong for many dialects."""

import re
from typing import NamedTuple

from headgate_processors.dialects.coerce import parse_json, to_bool, to_int, to_text

_EXIT = re.compile(
    r"(?:process exited with code|exited with(?: exit)?(?: code| status)?|exit[_ ]?code[\"']?\s*[:=]?|exit status"
    r"|returncode[\"']?\s*[:=]|non-zero exit status)\s*[:=]?\s*(-?\d{1,10})\b",
    re.IGNORECASE,
)
_ERROR_START = re.compile(
    r"\s*(?:error\b|exception\b|traceback \(most recent call last\)|\w+(?:Error|Exception): )", re.IGNORECASE
)
# A tool message of LangChain as Python prints it.
_PRINTED_ERROR = re.compile(r"content=.*\sstatus='error'", re.DOTALL)
_TIMEOUT = re.compile(r"time[d]?[ _-]?out|deadline", re.IGNORECASE)
_CANCELLED = re.compile(r"cancel|abort|interrupt", re.IGNORECASE)
_DENIED = re.compile(
    r"(?:denied|rejected|blocked|refused|not allowed) by|user (?:rejected|denied)|policy", re.IGNORECASE
)

TEXT_MAX = 65_536
NESTING_MAX = 3


class Signs(NamedTuple):
    """What one record says of a tool call's end."""

    status: str = "UNSET"
    status_message: str | None = None
    error_type: str | None = None
    success: object = None
    decision: str | None = None
    exit_code: int | None = None
    result: object = None


def exit_code_in(result: object, depth: int = 0) -> int | None:
    """The exit code that a result names, as a key or in its text."""
    parsed = parse_json(result)
    if isinstance(parsed, dict):
        for key in ("exit_code", "exitCode", "returncode", "return_code", "exit_status"):
            code = to_int(parsed.get(key))
            if code is not None:
                return code
        parsed = next((parsed[key] for key in ("output", "content", "result", "text", "stdout") if key in parsed), None)
        if isinstance(parsed, dict):
            return exit_code_in(parsed, depth + 1) if depth < NESTING_MAX else None
    if not isinstance(parsed, str):
        return None
    found = _EXIT.search(parsed[:TEXT_MAX])
    return int(found.group(1)) if found else None


def _result_failed(result: object, depth: int = 0) -> bool | None:
    """Whether the result itself says that it failed; NULL when it says nothing."""
    parsed = parse_json(result)
    if isinstance(parsed, dict) and depth < NESTING_MAX:
        for key in ("isError", "is_error"):
            if to_bool(parsed.get(key)):
                return True
        if str(parsed.get("status", "")).lower() in {"error", "failed", "failure"}:
            return True
        if to_bool(parsed.get("success")) is False or (parsed.get("error") and "result" not in parsed):
            return True
        inner = next(
            (parsed[key] for key in ("output", "data", "kwargs", "result", "content", "text") if key in parsed), None
        )
        return _result_failed(inner, depth + 1)
    if isinstance(parsed, str) and (_ERROR_START.match(parsed) or _PRINTED_ERROR.match(parsed[:TEXT_MAX])):
        return True
    return None


def _is_empty(result: object) -> bool:
    return result in ("", [], {})


def _failure(text: str) -> str:
    if _TIMEOUT.search(text):
        return "timeout"
    if _CANCELLED.search(text):
        return "cancelled"
    return "denied" if _DENIED.search(text) else "error"


def outcome(signs: Signs) -> str | None:
    """`ok`, `error`, `denied`, `timeout`, `cancelled` or `empty`; NULL when nothing tells.

    A sign of failure outweighs any sign of success: `success=true` beside exit code 2 failed.
    """
    if signs.decision == "deny":
        return "denied"
    success = to_bool(signs.success)
    if success is False or signs.status == "ERROR" or signs.error_type:
        return _failure(f"{signs.error_type or ''} {signs.status_message or ''}")
    if signs.exit_code is not None:
        return "ok" if signs.exit_code == 0 else "error"
    if _result_failed(signs.result):
        return "error"
    if _is_empty(signs.result):
        return "empty"
    if success or signs.status == "OK" or signs.result is not None:
        return "ok"
    return None


def error_type_of(status: str, attribute: object, exception: object) -> str | None:
    """The error type: `error.type`, else the exception's type, else `_OTHER` where the status says error."""
    named = to_text(attribute) or to_text(exception)
    if named is not None:
        return named
    return "_OTHER" if status == "ERROR" else None
