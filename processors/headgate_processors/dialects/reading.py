"""Which fields are read of a record of a kind, and what makes their values those of the schema."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from headgate_processors.dialects import coerce
from headgate_processors.dialects.record import Record
from headgate_processors.dialects.source import Narrowed, Read

WORDS_MAX = 4096
CONTENT_FIELDS = (
    "tool_arguments",
    "tool_result",
    "input_messages",
    "output_messages",
    "system_instructions",
    "tool_definitions",
    "task",
)
TOOLS = frozenset({"tool", "tool_attempt", "handoff", "approval"})
QUIET = frozenset({"other"})
_QUIET_FIELDS = frozenset(
    {"session_key", "gen_ai_conversation_id", "turn_id", "gen_ai_agent_name", "gen_ai_agent_id", "error_type"}
)
_OF_TOOLS = frozenset({"tool_arguments", "tool_result", "tool_success"})
_OF_MESSAGES = frozenset({"input_messages", "output_messages", "system_instructions", "tool_definitions"})

Convert = Callable[[object], object]


class Words(dict[str, object]):
    """What a coercion makes of short texts, NULL of masks; the same few come again and again, and some are kept."""

    def __init__(self, convert: Convert) -> None:
        super().__init__()
        self._convert = convert

    def __missing__(self, text: str) -> object:
        value = None if coerce.is_mask(text) else self._convert(text)
        if len(self) >= WORDS_MAX:
            self.clear()
        self[text] = value
        return value


class Vocabulary(dict[Convert, Words]):
    """The short texts of each coercion."""

    def __missing__(self, convert: Convert) -> Words:
        words = self[convert] = Words(convert)
        return words


class Reading(NamedTuple):
    """One field: its name, where to look for it, and what makes the value one of the schema or NULL.

    `rest` is asked where there is no attribute of that key, or it is empty.
    """

    name: str
    key: str | None
    rest: Read
    convert: Convert
    words: Words


def readings(fields: Mapping[str, Narrowed], kind: str, vocabulary: Vocabulary) -> tuple[Reading, ...]:
    """What to read of a record of that kind."""
    wanted = [
        (name, found, _COERCIONS.get(name, coerce.to_text)) for name, found in fields.items() if _wanted(name, kind)
    ]
    return tuple(
        Reading(name, found.key, found.rest or _nothing, convert, vocabulary[convert])
        for name, found, convert in wanted
    )


def _wanted(name: str, kind: str) -> bool:
    if kind in QUIET and name not in _QUIET_FIELDS:
        return False
    return name not in (_OF_MESSAGES if kind in TOOLS else _OF_TOOLS)


def _nothing(_: Record) -> object:
    return None


def _as_it_is(value: object) -> object:
    return value


_COERCIONS: Mapping[str, Callable[[object], object]] = {
    "gen_ai_provider_name": coerce.provider,
    "gen_ai_response_finish_reasons": coerce.finish_reasons,
    "gen_ai_usage_input_tokens": coerce.to_count,
    "gen_ai_usage_cache_read_input_tokens": coerce.to_count,
    "gen_ai_usage_cache_write_input_tokens": coerce.to_count,
    "cache_write_1h_tokens": coerce.to_count,
    "gen_ai_usage_output_tokens": coerce.to_count,
    "gen_ai_usage_reasoning_output_tokens": coerce.to_count,
    "usage_total_tokens": coerce.to_count,
    "time_to_first_chunk_ns": coerce.to_duration_ns,
    "reported_cost_usd": coerce.to_money,
    "attempt": coerce.to_count,
    "resends": coerce.to_count,
    "event_duration_ns": coerce.to_duration_ns,
    "event_sequence": coerce.to_int,
    "exit_code": coerce.to_int,
    "http_response_status_code": coerce.to_int,
    "arguments_bytes": coerce.to_count,
    "result_bytes": coerce.to_count,
    "decision": coerce.decision,
    "decision_source": coerce.decision_source,
    "context_compacted": coerce.to_bool,
    "memory_refs": coerce.to_texts,
    "tool_success": _as_it_is,
    **dict.fromkeys(CONTENT_FIELDS, _as_it_is),
}
