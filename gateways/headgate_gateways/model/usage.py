"""Usage read from an answer as it passes: the provider's own where it comes, else counted from what passed.

Nothing of the answer is kept but the end of a line that is not whole yet, which is bounded.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

LINE_BYTES_MAX = 4 << 20
TOKENS_MAX = 1 << 40
"""What is more is no count of tokens, and would fit into no book."""
END_BYTES = 64 << 10
"""What is kept of both ends of a line, or of an answer, that is longer: there stands its usage."""
CHARS_PER_TOKEN = 4
_USAGE = re.compile(r'"usage"\s*:\s*(?=\{)')
_JSON = json.JSONDecoder()
_ENDS = frozenset({"message_delta", "response.completed", "response.incomplete", "response.failed"})
_TEXTS = ("content", "text", "partial_json", "thinking", "arguments", "refusal")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")
FAILED = "provider_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the semantic conventions count them: input with the cache, output with reasoning. None is unknown."""

    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    service_tier: str | None = None
    source: Literal["reported", "counted"] = "counted"


class UsageReader:
    """Reads one answer, piece by piece; `is_stream` says that it is server-sent events.

    `has_output` False is for answers that are no text, which nobody counts. `is_over`: a stream has said that nothing
    more comes, though it may not have been closed yet. `error_type`: what went wrong, where the provider said so within
    its answer. `service_tier` is the one that was asked for, which the answer may tell otherwise.
    """

    def __init__(self, *, is_stream: bool, has_output: bool = True, service_tier: str | None = None) -> None:
        self._is_stream, self._has_output = is_stream, has_output
        self._rest = bytearray()
        self._is_too_long = False
        self._head = b""
        self._bytes = 0
        self._ended = False
        self.is_over = False
        self.error_type: str | None = None
        self._chars = 0
        self._reported = Usage(source="reported", service_tier=service_tier)
        self.model: str | None = None
        self.response_id: str | None = None
        self.finish_reasons: tuple[str, ...] = ()
        self.item_ids: tuple[str, ...] = ()

    @property
    def counted_tokens(self) -> int:
        """The output that has passed, by its characters."""
        return -(-self._chars // CHARS_PER_TOKEN)

    @property
    def so_far(self) -> Usage:
        """What is known before the end: of the output, at least what passed."""
        return self._as_far_as_it_came()

    def reads(self, *, is_stream: bool) -> None:
        """What the answer really is, whatever was asked for; said before its first piece."""
        self._is_stream = is_stream

    def feed(self, piece: bytes) -> None:
        """Read the next piece of the body."""
        self._rest += piece
        self._bytes += len(piece)
        if self._is_stream:
            *lines, self._rest = self._rest.split(b"\n")
            for line in lines:
                self._line(line)
        if len(self._rest) > LINE_BYTES_MAX:
            if not self._is_too_long:
                self._is_too_long, self._head = True, bytes(self._rest[:END_BYTES])
            del self._rest[:-END_BYTES]

    def finished(self) -> Usage:
        """What the answer has cost. Call it once, at its end or where it was cut."""
        self._line(self._rest)
        known = self._reported
        if self._is_stream:
            is_whole = self._ended and known.output_tokens is not None
            return known if is_whole else self._as_far_as_it_came()
        if known.output_tokens is not None or (known.input_tokens is not None and not self._has_output):
            return known
        return replace(known, output_tokens=self._made_tokens() if self._has_output else 0, source="counted")

    def _made_tokens(self) -> int:
        """The output of an answer that is no stream: its texts, or all of one that has none that is known."""
        # Such an answer is made before it is sent, so one that did not come whole was paid whole.
        return self.counted_tokens or -(-self._bytes // CHARS_PER_TOKEN)

    def _as_far_as_it_came(self) -> Usage:
        """A stream that was cut: input as it was told, and of the output at least what passed."""
        told = self._reported.output_tokens or 0
        return replace(self._reported, output_tokens=max(told, self.counted_tokens), source="counted")

    def _line(self, line: bytearray) -> None:
        """A line of a stream, or any other answer as it is."""
        if self._is_too_long:
            self._is_too_long = False
            self._end_of(line)
        elif not self._is_stream:
            self._event(bytes(line))
        elif line.startswith(b"data:"):
            self._event(bytes(line[5:]).strip())

    def _end_of(self, line: bytearray) -> None:
        """Both ends of what was too long to be kept whole: the last usage in them is that of the answer."""
        text = (self._head + b"\n" + line).decode("utf-8", "replace")
        for place in reversed(list(_USAGE.finditer(text))):
            try:
                found, _ = _JSON.raw_decode(text, place.end())
            except (ValueError, RecursionError):
                continue
            self._read({"usage": found})
            self._ended = True
            return

    def _event(self, text: bytes) -> None:
        if text == b"[DONE]":
            self._ended = self.is_over = True
            return
        try:
            found: Any = orjson.loads(text)
        except orjson.JSONDecodeError:
            return
        if isinstance(found, Mapping):
            self._read(found)

    def _read(self, event: Mapping[str, Any]) -> None:
        """One event, or a whole answer: usage stands at the top or in the response or message that it carries."""
        whole = next((one for name in ("response", "message") if isinstance(one := event.get(name), Mapping)), event)
        self.model = _text(whole.get("model")) or self.model
        self.response_id = _text(whole.get("id")) or self.response_id
        if (tier := tier_of(whole)) is not None and tier != self._reported.service_tier:
            self._reported = replace(self._reported, service_tier=tier)
        if output := whole.get("output"):
            self.item_ids = tuple(one for item in _objects(output) if (one := _text(item.get("id"))) is not None)
        for usage in (whole.get("usage"), event.get("usage")):
            if isinstance(usage, Mapping):
                self._reported = _merged(self._reported, usage)
        self.finish_reasons = _finish_reasons(event, whole) or self.finish_reasons
        self.error_type = _error_type(event, whole) or self.error_type
        self._ended = self._ended or _is_last(event)
        self.is_over = self.is_over or event.get("type") in _ENDS or self.error_type is not None
        if self._is_stream:
            self._chars += _added(event)
        elif self._reported.output_tokens is None:
            # An answer too deep to be written again is counted by its bytes.
            with suppress(orjson.JSONEncodeError):
                self._chars += _said(event)


def _error_type(event: Mapping[str, Any], whole: Mapping[str, Any]) -> str | None:
    """What went wrong after an answer had begun, in the provider's own word."""
    error = whole.get("error")
    if error is None and event.get("type") not in {"error", "response.failed"}:
        return None
    told = error if isinstance(error, Mapping) else event
    words = (told.get(name) for name in ("type", "code") if told is not event or name == "code")
    return next((word for word in words if isinstance(word, str) and _WORD.fullmatch(word)), FAILED)


def _is_last(event: Mapping[str, Any]) -> bool:
    """Whether an event of a stream tells the whole usage; some servers tell it so far with each one."""
    if event.get("type") in _ENDS:
        return True
    if "choices" not in event or not isinstance(event.get("usage"), Mapping):
        return False
    choices = list(_objects(event["choices"]))
    return not choices or any(choice.get("finish_reason") is not None for choice in choices)


def _added(event: Mapping[str, Any]) -> int:
    """The characters that an event of a stream adds."""
    delta = event.get("delta")
    total = _weight(delta) if isinstance(delta, str) else _length(delta) if isinstance(delta, Mapping) else 0
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        inner = choice.get("delta") if isinstance(choice, Mapping) else None
        if isinstance(inner, Mapping):
            total += _length(inner)
    return total


def _said(answer: Mapping[str, Any]) -> int:
    """The characters of an answer that came whole."""
    messages = (choice.get("message") for choice in _objects(answer.get("choices")))
    total = sum(_length(message) for message in messages if isinstance(message, Mapping))
    for item in (*_objects(answer.get("output")), *_objects(answer.get("content"))):
        if given := item.get("input"):
            total += _weight(given if isinstance(given, str) else orjson.dumps(given).decode())
        total += _length(item)
        total += sum(map(_length, (*_objects(item.get("content")), *_objects(item.get("summary")))))
    return total


def _finish_reasons(event: Mapping[str, Any], whole: Mapping[str, Any]) -> tuple[str, ...]:
    """Why the answer ended, where an event tells it; a response of OpenAI has a status instead."""
    choices, delta = event.get("choices"), event.get("delta")
    told = (
        [one.get("finish_reason") for one in choices if isinstance(one, Mapping)] if isinstance(choices, list) else []
    )
    told.append(delta.get("stop_reason") if isinstance(delta, Mapping) else event.get("stop_reason"))
    if whole.get("object") == "response" and whole.get("status") in {"completed", "incomplete", "failed"}:
        details = whole.get("incomplete_details")
        told.append(details.get("reason") if isinstance(details, Mapping) else whole.get("status"))
    return tuple(reason for reason in told if isinstance(reason, str))


def _length(part: Mapping[str, Any]) -> int:
    """The characters of what a part of an answer says, the arguments of tool calls among them."""
    total = sum(_weight(text) for name in _TEXTS if isinstance(text := part.get(name), str))
    # Servers call it one or the other, and some for a while both.
    thought = part.get("reasoning_content") or part.get("reasoning")
    if isinstance(thought, str):
        total += _weight(thought)
    calls = part.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            texts = (text for name in ("name", "arguments") if isinstance(text := function.get(name), str))
            total += sum(map(_weight, texts))
    return total


def _weight(text: str) -> int:
    """Characters, as many as letters of English that make as many tokens: one of Chinese is a token of its own."""
    if text.isascii():
        return len(text)
    beyond = len(text.encode("utf-8", "surrogatepass")) - len(text)
    return len(text) + -(-beyond * 3 // 2)


def _merged(known: Usage, usage: Mapping[str, Any]) -> Usage:
    """What is known, with what an event adds: a later figure stands in place of an earlier one."""
    details = _inner(usage, "prompt_tokens_details") or _inner(usage, "input_tokens_details")
    answer = _inner(usage, "completion_tokens_details") or _inner(usage, "output_tokens_details")
    read = _number(usage.get("cache_read_input_tokens"))
    creation = _inner(usage, "cache_creation")
    written = _number(usage.get("cache_creation_input_tokens"))
    total = _number(usage.get("prompt_tokens"))
    if total is None and (told := _number(usage.get("input_tokens"))) is not None:
        # Anthropic tells the cache beside the input, OpenAI within it.
        total = told + (read or 0) + (written or 0)
    output = _number(usage.get("completion_tokens"))
    new = {
        "input_tokens": total,
        "cache_read_tokens": read if read is not None else _number(details.get("cached_tokens")),
        "cache_write_tokens": written if written is not None else _number(details.get("cache_write_tokens")),
        "cache_write_1h_tokens": _number(creation.get("ephemeral_1h_input_tokens")),
        "output_tokens": output if output is not None else _number(usage.get("output_tokens")),
        "reasoning_tokens": _number(answer.get("reasoning_tokens")),
        "service_tier": tier_of(usage),
    }
    return replace(known, **{name: value for name, value in new.items() if value is not None})  # type: ignore[arg-type]


def tier_of(said: Mapping[str, Any]) -> str | None:
    """The service tier of a call, an answer or its usage; None where it is left to the provider."""
    if said.get("speed") == "fast":
        return "fast"
    tier = said.get("service_tier")
    return tier if isinstance(tier, str) and tier != "auto" and _WORD.fullmatch(tier) else None


def _inner(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = usage.get(name)
    return found if isinstance(found, Mapping) else {}


def _objects(found: object) -> Iterator[Mapping[str, Any]]:
    return (one for one in found if isinstance(one, Mapping)) if isinstance(found, list) else iter(())


def _number(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= TOKENS_MAX else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
