"""Canonical arguments: the same call is the same value in every dialect."""

import json
import uuid

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_processors.enrich.hashing import canonical_arguments, canonical_bytes, canonical_json

CALL = {"path": "calc.py", "old": "return a - b", "new": "return a + b", "count": 2, "all": False}
# Keys that no envelope has, so that what is built here is arguments and nothing else.
KEYS = st.text(alphabet="bcdfghjlq_", min_size=1, max_size=6)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)
ARGUMENTS = st.dictionaries(KEYS, VALUES, min_size=1, max_size=4)


def _dialects(call: dict[str, object]) -> dict[str, object]:
    """One call as the instrumentations write it."""
    text, ident = json.dumps(call), uuid.uuid4().hex
    return {
        "value": call,
        "json": text,
        "json without spaces": orjson.dumps(call).decode(),
        "json with white space": json.dumps(dict(reversed(call.items())), indent=2) + "\n",
        "json bytes": text.encode(),
        "json in json": json.dumps(text),
        "python": repr(call),
        "traceloop": json.dumps(
            {
                "input_str": repr(call),
                "tags": ["seq:step:2"],
                "metadata": {"checkpoint": ident},
                "kwargs": {"color": "x"},
            }
        ),
        "traceloop with inputs": {"input_str": repr(call), "tags": [], "metadata": {"a": ident}, "inputs": call},
        "kwargs": {"kwargs": call},
        "args and kwargs": {"args": [], "kwargs": call},
        "smolagents": {"args": [], "sanitize_inputs_outputs": True, "kwargs": call},
        "one positional object": {"args": [call], "kwargs": {}},
        "input": {"input": call},
        "input as text": json.dumps({"input": text}),
        "gemini-cli": {
            "callId": f"edit-{ident}",
            "name": "edit",
            "args": call,
            "isClientInitiated": False,
            "prompt_id": ident,
        },
        "openai call": {"id": f"call_{ident}", "type": "function", "function": {"name": "edit", "arguments": text}},
        "anthropic call": {"id": f"toolu_{ident}", "name": "edit", "arguments": call},
        "mcp params": {"name": "edit", "arguments": call, "_meta": {"traceparent": ident}},
        "call id beside": {**call, "callId": ident},
        "tool call id beside": {**call, "tool_call_id": ident, "id": f"call_{ident}"},
        "empty keys": {**call, "a": None, "e": "", "i": {}, "o": [], "u": {"v": None}},
    }


@pytest.mark.parametrize("dialect", list(_dialects(CALL)))
def test_one_call_is_one_value_in_every_dialect(dialect: str) -> None:
    """Envelopes, call ids, empty keys, white space, key order and Python text make no difference."""
    assert canonical_json(CALL) == canonical_bytes(_dialects(CALL)[dialect])


@given(ARGUMENTS)
def test_any_call_is_one_value_in_every_dialect(call: dict[str, object]) -> None:
    """The same holds for arguments of any shape."""
    written = _dialects(call)
    assert {canonical_bytes(call)} == {canonical_bytes(value) for value in written.values()}


@given(VALUES | ARGUMENTS | st.text())
def test_canonical_is_final(value: object) -> None:
    """Canonicalising twice changes nothing."""
    once = canonical_arguments(value)
    assert once == canonical_arguments(once)
    assert canonical_json(once) == canonical_bytes(once)


@given(ARGUMENTS, ARGUMENTS)
def test_different_calls_stay_different(first: dict[str, object], second: dict[str, object]) -> None:
    """Only what is named above is dropped: bytes are equal exactly when what remains is."""
    same = canonical_arguments(first) == canonical_arguments(second)
    if canonical_bytes(first) == canonical_bytes(second):
        assert same


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("test_calc.py", "test_calc.py"),
        ("  ls -la\n", "ls -la"),
        ("5", "5"),
        ("{not json", "{not json"),
        ("", ""),
        (None, None),
        ({"id": "8600763d-8764-450e-a131-6137aeca398a"}, {"id": "8600763d-8764-450e-a131-6137aeca398a"}),
        ({"id": 7, "content": '{"a": 1}'}, {"id": 7, "content": '{"a": 1}'}),
        ({"input": "*** Begin Patch"}, {"input": "*** Begin Patch"}),
        ({"name": "ls", "args": ["-l"]}, {"name": "ls", "args": ["-l"]}),
        (
            {"limit": 10.0, "ratio": 0.5, "deep": {"id": "call_0123456789"}},
            {"limit": 10, "ratio": 0.5, "deep": {"id": "call_0123456789"}},
        ),
        ({"zero": 0, "no": False}, {"zero": 0, "no": False}),
    ],
)
def test_what_may_mean_something_is_kept(given_: object, expected: object) -> None:
    """Bare text, ids of things, text that is content, falsy values and lists of arguments stay."""
    assert expected == canonical_arguments(given_)


@pytest.mark.parametrize(
    "value",
    [
        "[" * 5000,
        "{'a': " * 300 + "1" + "}" * 300,
        "(" * 100,
        '{"a": ' * 900 + "1" + "}" * 900,
        "{'a': " + "9" * 10000 + "}",
        "{" + "'x'*" * 5000,
        {"n": 2**80, "s": "\ud800", "f": float("inf"), "b": b"\xff", "set": {3, 1}, "o": object},
    ],
)
def test_hostile_values_are_bounded(value: object) -> None:
    """Deep, huge and odd values give bytes, without an error."""
    assert isinstance(canonical_bytes(value), bytes)


def test_printed_objects_of_the_framework_are_no_arguments() -> None:
    """LlamaIndex passes its context along: its address differs in every call, the call does not."""
    call = {"kwargs": {"to_agent": "reviewer", "ctx": "<workflows.context.context.Context object at 0x7f633ecddf10>"}}
    assert {"to_agent": "reviewer"} == canonical_arguments(call)
    assert {"html": "<b> at 0x"} == canonical_arguments({"html": "<b> at 0x"})
