"""What an agent's request says of itself: the session it belongs to and the trace it is part of. Claims, all of it."""

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

SESSION_CHARS_MAX = 512
RETRIES_MAX = 1_000
PART_BYTES = 2_048
_RETRIES = "x-stainless-retry-count"
_SESSION_HEADERS = ("x-claude-code-session-id", "session_id", "session-id", "conversation_id", "x-session-id")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_IN_USER_ID = re.compile(r"_session_([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTrace:
    """The span that tells of a call, and the agent's span above it; without one it is the root of its own trace."""

    trace_id: int
    span_id: int
    parent_span_id: int | None

    def written(self) -> dict[str, str]:
        """As a decision has it."""
        return {"trace_id": f"{self.trace_id:032x}", "span_id": f"{self.span_id:016x}"}


def session_of(headers: Mapping[str, str], body: Mapping[str, Any]) -> str | None:
    """The session that the agent names in its own header, or Claude Code in the user of its body."""
    named = next((value for name in _SESSION_HEADERS if (value := headers.get(name))), None)
    if named is None:
        metadata = body.get("metadata")
        user_id = metadata.get("user_id") if isinstance(metadata, Mapping) else None
        named = _session_in(user_id) if isinstance(user_id, str) else None
    return named[:SESSION_CHARS_MAX] if named is not None and named.isprintable() else None


def trace_of(traceparent: str | None) -> CallTrace:
    """A fresh span below the agent's, when `traceparent` is one of the W3C's; else a root."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    trace_id, parent = (int(found[1], 16), int(found[2], 16)) if found is not None else (0, 0)
    # A version that is not known may say more at its end; that of today may not.
    if found is None or not trace_id or not parent or (found[3] is not None and found[0].startswith("00")):
        trace_id, parent = secrets.randbits(128) or 1, 0
    return CallTrace(trace_id=trace_id, span_id=secrets.randbits(64) or 1, parent_span_id=parent or None)


def retries_of(headers: Mapping[str, str]) -> int | None:
    """How often the agent's library says that it has tried this call before; None where it does not say."""
    told = headers.get(_RETRIES, "")
    return min(int(told), RETRIES_MAX) if told.isascii() and told.isdigit() and len(told) < len(_RETRIES) else None


def request_hash(body: bytes, credential: str) -> str:
    """What a request and the same one again have in common: of its ends and length, for it may be long.

    Keyed by what its agent shows, so that nobody else can tell from it what was asked.
    """
    key = hashlib.blake2b(credential.encode("utf-8", "surrogatepass")).digest()
    parts = (b"%d\0" % len(body), body[:PART_BYTES], body[-PART_BYTES:])
    return hashlib.blake2b(b"".join(parts), digest_size=8, key=key).hexdigest()


def _session_in(user_id: str) -> str | None:
    found = _IN_USER_ID.search(user_id)
    if found is not None:
        return found[1]
    if not user_id.startswith("{"):
        return None
    try:
        named: Any = orjson.loads(user_id)
    except orjson.JSONDecodeError:
        return None
    session = named.get("session_id") if isinstance(named, Mapping) else None
    return session if isinstance(session, str) and session else None
