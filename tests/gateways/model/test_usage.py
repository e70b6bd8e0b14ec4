"""Usage as it passes: the provider's own where it comes, in whatever pieces, else counted from what passed."""

from collections.abc import Iterable
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_gateways.model.asked import BadCallError, parse_call
from headgate_gateways.model.usage import LINE_BYTES_MAX, Usage, UsageReader

CHAT: list[dict[str, Any]] = [
    {"id": "c1", "model": "gpt-5-mini-2025", "choices": [{"delta": {"content": "Hello, you"}}]},
    {"choices": [{"delta": {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}]},
    {
        "choices": [],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "prompt_tokens_details": {"cached_tokens": 64},
            "completion_tokens_details": {"reasoning_tokens": 8},
        },
    },
]
RESPONSES = [
    {"type": "response.created", "response": {"id": "r1", "model": "gpt-5", "usage": None}},
    {"type": "response.output_text.delta", "delta": "Hello, you"},
    {
        "type": "response.completed",
        "response": {
            "id": "r1",
            "model": "gpt-5",
            "usage": {
                "input_tokens": 100,
                "output_tokens": 20,
                "input_tokens_details": {"cached_tokens": 64},
                "output_tokens_details": {"reasoning_tokens": 8},
            },
        },
    },
]
MESSAGES = [
    {
        "type": "message_start",
        "message": {
            "id": "m1",
            "model": "claude",
            "usage": {
                "input_tokens": 30,
                "cache_read_input_tokens": 64,
                "cache_creation_input_tokens": 6,
                "output_tokens": 1,
            },
        },
    },
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hello, you"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 20}},
]


def stream(events: Iterable[dict[str, Any]]) -> bytes:
    """Server-sent events."""
    return b"".join(b"event: x\ndata: " + orjson.dumps(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n"


def read(body: bytes, *, cuts: Iterable[int] = (), is_stream: bool = True) -> tuple[Usage, UsageReader]:
    """What a reader makes of a body that comes in pieces."""
    reader, places = UsageReader(is_stream=is_stream), [0, *sorted(cuts), len(body)]
    for start, end in pairwise(places):
        reader.feed(body[start:end])
    return reader.finished(), reader


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (CHAT, Usage(input_tokens=100, cache_read_tokens=64, output_tokens=20, reasoning_tokens=8, source="reported")),
        (
            RESPONSES,
            Usage(input_tokens=100, cache_read_tokens=64, output_tokens=20, reasoning_tokens=8, source="reported"),
        ),
        (
            MESSAGES,
            Usage(input_tokens=100, cache_read_tokens=64, cache_write_tokens=6, output_tokens=20, source="reported"),
        ),
    ],
)
def test_a_stream_tells_its_usage(events: list[dict[str, Any]], expected: Usage) -> None:
    """As each provider does."""
    assert expected == read(stream(events))[0]


@given(data=st.data(), events=st.sampled_from([CHAT, RESPONSES, MESSAGES]))
def test_pieces_change_nothing(data: st.DataObject, events: list[dict[str, Any]]) -> None:
    """Wherever the bytes are cut on their way."""
    body = stream(events)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=10))
    assert asdict(read(body)[0]) == asdict(read(body, cuts=cuts)[0])


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (CHAT[:1], Usage(output_tokens=3)),
        (CHAT[:2], Usage(output_tokens=4)),
        (RESPONSES[:2], Usage(output_tokens=3)),
        (
            MESSAGES[:2],
            Usage(input_tokens=100, cache_read_tokens=64, cache_write_tokens=6, output_tokens=3, source="counted"),
        ),
        ([], Usage(output_tokens=0)),
    ],
)
def test_a_stream_that_is_cut_is_counted(events: list[dict[str, Any]], expected: Usage) -> None:
    """As far as it came: four characters are a token, and what was told of the input stands."""
    assert expected == read(stream(events).removesuffix(b"data: [DONE]\n\n"))[0]


CONTINUOUS = [
    {"choices": [{"delta": {"content": "Hello, you"}}], "usage": {"prompt_tokens": 100, "completion_tokens": 1}},
    {"choices": [{"delta": {"content": "!"}}], "usage": {"prompt_tokens": 100, "completion_tokens": 2}},
    {"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 4}},
]


@pytest.mark.parametrize(("events", "output", "source"), [(2, 3, "counted"), (3, 4, "reported")])
def test_usage_that_comes_with_every_chunk_is_whole_with_the_last(events: int, output: int, source: Any) -> None:
    """A server like vLLM tells it so; a stream that is cut before has told less than it cost."""
    body = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in CONTINUOUS[:events])
    assert Usage(input_tokens=100, output_tokens=output, source=source) == read(body)[0]


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning": "twelve chars"},
        {"reasoning_content": "twelve chars"},
        {"reasoning": "twelve chars", "reasoning_content": "twelve chars"},
    ],
)
def test_thoughts_are_counted_once(delta: dict[str, Any]) -> None:
    """Whatever a server calls them."""
    assert 3 == read(stream([{"choices": [{"delta": delta}]}]))[0].output_tokens


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"content": "Hello, you", "tool_calls": [{"function": {"arguments": "{}"}}]}}]},
        {"content": [{"type": "text", "text": "Hello"}, {"type": "tool_use", "input": {"a": 1}}]},
        {
            "object": "response",
            "error": None,
            "output": [
                {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]},
                {"type": "function_call", "arguments": "{}"},
                {"type": "custom_tool_call", "input": "abcde"},
            ],
        },
    ],
)
def test_a_plain_answer_without_usage_is_counted_by_its_texts(body: dict[str, Any]) -> None:
    """What stands around them costs nothing."""
    whole = {"id": "x" * 100, "model": "gpt-5", **body}
    assert Usage(output_tokens=3) == read(orjson.dumps(whole), is_stream=False)[0]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, "overloaded_error"),
        ({"type": "error", "code": "server_error", "message": "x"}, "server_error"),
        ({"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}}}, "rate_limit_exceeded"),
        ({"type": "response.failed", "response": {"error": None}}, "provider_error"),
        ({"error": {"message": "x", "type": "no word\n", "code": 500}}, "provider_error"),
        ({"error": "x"}, "provider_error"),
        ({"type": "response.completed", "response": {"error": None}}, None),
    ],
)
def test_an_error_within_a_stream_is_read(event: dict[str, Any], expected: str | None) -> None:
    """In the words of its provider, if they are words."""
    _, reader = read(stream([event]))
    assert (expected, True) == (reader.error_type, reader.is_over)


def test_what_is_written_to_the_cache_for_an_hour_is_read() -> None:
    """It costs more; the end of a stream does not tell it again."""
    written = {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 4}
    begun = {"input_tokens": 30, "cache_creation_input_tokens": 6, "cache_creation": written}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"usage": begun}}, *MESSAGES[1:]]
    expected = Usage(
        input_tokens=36, cache_write_tokens=6, cache_write_1h_tokens=4, output_tokens=20, source="reported"
    )
    assert expected == read(stream(events))[0]


def test_a_plain_answer_tells_its_usage() -> None:
    """With its model and its id."""
    body = orjson.dumps({"id": "c1", "model": "gpt-5", "usage": {"prompt_tokens": 5, "completion_tokens": 2}})
    usage, reader = read(body, is_stream=False, cuts=[7, 9])
    assert (Usage(input_tokens=5, output_tokens=2, source="reported"), "gpt-5", "c1") == (
        usage,
        reader.model,
        reader.response_id,
    )


@pytest.mark.parametrize(
    "body", [b"", b"data: {", b"data: 5\n", b"\xff\n", b'data: {"usage": {"prompt_tokens": -1}}\n']
)
def test_what_is_no_usage_is_none(body: bytes) -> None:
    """And ends nothing."""
    assert Usage(output_tokens=0) == read(body)[0]


def test_a_line_without_end_is_not_kept() -> None:
    """What follows it is read."""
    reader = UsageReader(is_stream=True)
    for _ in range(5):
        reader.feed(b"x" * (LINE_BYTES_MAX // 4))
        assert len(reader._rest) <= LINE_BYTES_MAX
    reader.feed(b"\n" + stream(CHAT))
    assert 100 == reader.finished().input_tokens


def long(*, after: bytes = b"") -> bytes:
    """A plain answer that is too long to be kept, with what may look like its usage."""
    logprobs = b"0," * (LINE_BYTES_MAX // 2)
    said = (
        b'{"choices": [{"text": "\\"usage\\": {", "usage": {"completion_tokens": 1}, "logprobs": ['
        + logprobs
        + b"0]}], "
    )
    return said + b'"usage": {"prompt_tokens": 5, "completion_tokens_details": {}, "completion_tokens": 9}' + after


@pytest.mark.parametrize("is_stream", [False, True])
def test_usage_at_the_end_of_what_is_too_long_is_read(is_stream: bool) -> None:
    """Whoever asks for much beside the text pays for the text."""
    body = long(after=b', "metadata": {"usage": "none"}}')
    whole = b"data: " + body + b"\n\ndata: [DONE]\n\n" if is_stream else body
    found, _ = read(whole, cuts=range(0, len(whole), 60_000), is_stream=is_stream)
    assert Usage(input_tokens=5, output_tokens=9, source="reported") == found


def test_usage_before_what_is_too_long_is_read() -> None:
    """Some servers tell it first."""
    body = b'{"usage": {"prompt_tokens": 7, "total_tokens": 7}, "data": [' + b"0.125," * (LINE_BYTES_MAX // 5) + b"0]}"
    reader = UsageReader(is_stream=False, has_output=False)
    for start in range(0, len(body), 60_000):
        reader.feed(body[start : start + 60_000])
    assert Usage(input_tokens=7, source="reported") == reader.finished()


@pytest.mark.parametrize(("has_output", "expected"), [(True, 2), (False, 0)])
def test_a_plain_answer_without_usage_counts_by_its_bytes(has_output: bool, expected: int) -> None:
    """Also one that did not come to its end: it was made before it was sent. What is no text counts nothing."""
    found = []
    for body in (b'{"a": 1}', b'{"choi'):
        reader = UsageReader(is_stream=False, has_output=has_output)
        reader.feed(body)
        found.append(reader.finished())
    assert [Usage(output_tokens=expected)] * 2 == found


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], "priority"),
        ([{"choices": [], "service_tier": "default"}], "default"),
        ([{"type": "response.created", "response": {"service_tier": "auto"}}], "priority"),
        ([{"type": "message_start", "message": {"usage": {"service_tier": "standard"}}}], "standard"),
        ([{"type": "message_start", "message": {"usage": {"service_tier": "standard", "speed": "fast"}}}], "fast"),
        ([{"choices": [], "service_tier": "no word\n"}], "priority"),
    ],
)
def test_the_service_tier_is_that_which_was_answered(events: list[dict[str, Any]], expected: str) -> None:
    """Until it is told, that which was asked for."""
    reader = UsageReader(is_stream=True, service_tier="priority")
    reader.feed(stream(events))
    assert expected == reader.finished().service_tier


def test_a_last_line_without_an_end_is_read() -> None:
    """Not every provider ends it."""
    assert 20 == read(stream(CHAT[:2]) + b"data: " + orjson.dumps(CHAT[2]))[0].output_tokens


def test_what_is_not_english_counts_more() -> None:
    """A character of Chinese is about a token."""
    events: list[dict[str, Any]] = [
        {"choices": [{"delta": {"content": text}}]} for text in ("abcd" * 5, "\u4f60\u597d" * 5)
    ]
    assert [5, 10] == [read(stream([event]))[0].output_tokens for event in events]


@pytest.mark.parametrize(
    ("operation", "body", "expected"),
    [
        ("chat", {"model": "m", "max_tokens": 5}, (False, 5)),
        ("chat", {"model": "m", "max_completion_tokens": 7, "stream": True}, (True, 7)),
        ("chat", {"model": "m", "max_tokens": 10, "n": 3, "stream": None}, (False, 30)),
        ("chat", {"model": "m", "max_output_tokens": 1}, (False, 16_384)),
        ("chat", {"model": "m", "max_tokens": "9"}, (False, 16_384)),
        ("chat", {"model": "m", "max_tokens": True}, (False, 16_384)),
        ("responses", {"model": "m", "max_output_tokens": 0}, (False, 0)),
        ("responses", {"model": "m", "max_tokens": 1}, (False, 16_384)),
        ("messages", {"model": "m", "max_tokens": 6, "n": 9}, (False, 6)),
    ],
)
def test_a_call_says_what_it_may_cost(operation: Any, body: dict[str, Any], expected: tuple[bool, int]) -> None:
    """One without a limit that its operation knows is reserved a default, each of several answers its own."""
    asked = parse_call(operation, orjson.dumps(body))
    assert expected == (asked.is_stream, asked.output_tokens_reserved)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model": "m"}', None),
        (b'{"model": "a", "model": "m"}', b'{"model":"m"}'),
        (b'{"mod\\u0065l": "a", "model": "m"}', b'{"model":"m"}'),
        (b'{"model": "m", "x": {"Model": 1}}', b'{"model":"m","x":{"Model":1}}'),
    ],
)
def test_a_provider_reads_the_model_that_was_decided_on(body: bytes, expected: bytes | None) -> None:
    """A body that could be read in two ways is written anew; any other passes as it came."""
    asked = parse_call("chat", body)
    assert ("m", expected) == (asked.model, asked.rewritten)


def test_an_answer_that_streams_unasked_is_counted() -> None:
    """What it is, is what its content type says."""
    reader = UsageReader(is_stream=False)
    reader.reads(is_stream=True)
    reader.feed(stream([{"choices": [{"index": 0, "delta": {"content": "eight le"}}]}]))
    assert 2 == reader.finished().output_tokens


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b"{", "the body is no JSON"), (b"[]", "names no model"), (b'{"model": 5}', "names no model")],
)
def test_a_body_that_is_no_call_is_refused(body: bytes, expected: str) -> None:
    """Before anything is decided."""
    with pytest.raises(BadCallError, match=expected):
        parse_call("chat", body)
