"""Which values of a request are ids that tie records together, and what they look like.

An id is told by the key of its attribute, or, in text that holds JSON or a Python value, by the key before
it. What names a user, a team, a model, a tool or a registered instance is none: it stays.
"""

import re
from collections.abc import Iterator

MIN_FREE_LENGTH = 8
"""An id of this length is replaced wherever it stands; a shorter one only where it stands in quotes."""
MAX_LENGTH = 256

_SESSION_KEY = re.compile(
    r"(?:^|[._])(?:session|conversation|chat)[._]?id$|(?:^|[._])thread_id$|^session$|^mlflow\.trace\.session$"
)
_KEY = re.compile(
    r"(?:^|[._])(?:session|conversation|chat|thread|response|request|prompt|tool_?call|tool_use|tool|call|event"
    r"|turn|invocation|submission|cycle|parent_cycle|task|task[._]parent|crew|run|message|execution)[._]?(?:id|uuid)$"
    r"|^service\.instance\.id$|^(?:parent_|sub)?agent_id$"
)
_PROJECT_KEY = "langsmith.trace.session_id"
_NOT_IDS = frozenset({"unknown", "none", "null", "n/a", "default", "undefined"})
_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_ULID = r"[0-7][0-9A-HJKMNP-TV-Z]{25}"
SHAPE = re.compile(rf"(?<![0-9A-Za-z])(?:{_UUID}|{_ULID}|[0-9a-fA-F]{{32}})(?![0-9A-Za-z])")
"""A UUID, a ULID, or the 32 hexadecimal digits of a trace or of a UUID."""
_GIVEN_PREFIX = re.compile(
    r"^(?:chatcmpl|cmpl|resp|msg|call|toolu|tooluse|srvtoolu|fc|ctc|rs|req|run|lc_run|gen)[-_]+[0-9A-Za-z][\w.-]*$"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_IN_TEXT = re.compile(
    r"""["']\s*(?P<key>id|tool_call_id|toolCallId|tool_use_id|toolUseId|call_id|callId|response_id|responseId"""
    r"""|session_id|sessionId|conversation_id|conversationId|thread_id|threadId)\\*["']\s*:\s*\\*["']"""
    r"""(?P<value>[0-9A-Za-z][\w.:-]{2,255})\\*["']"""
)


def names_id(key: str, value: str) -> bool:
    """Whether the attribute `key` with this value is an id."""
    if not value or len(value) > MAX_LENGTH or value.lower() in _NOT_IDS or key == _PROJECT_KEY:
        return False
    key = _CAMEL.sub("_", key).lower()
    if _SESSION_KEY.search(key):
        return True
    if key == "id":
        return is_given(value)
    return not value.isdecimal() and _KEY.search(key) is not None


def is_given(value: str) -> bool:
    """Whether a value looks like an id that a provider or a library gave."""
    return _GIVEN_PREFIX.search(value) is not None or SHAPE.search(value) is not None


def ids_in_text(text: str) -> Iterator[str]:
    """The ids that stand behind a key within a text."""
    for match in _IN_TEXT.finditer(text):
        if names_id(match["key"], match["value"]):
            yield match["value"]
