"""Messages in every framework's shape: what a model asked for, what came back, what the user wanted."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_processors.dialects.messages import (
    CALLS_MAX,
    DEPTH_MAX,
    first_user_text,
    plain_text,
    regroup,
    requested_calls,
    returned_results,
)

GENAI_CALL = {"type": "tool_call", "id": "call_1", "name": "read_file", "arguments": {"path": "calc.py"}}
GENAI = [
    {"role": "system", "parts": [{"type": "text", "content": "You fix tests."}]},
    {"role": "user", "parts": [{"type": "text", "content": "Fix calc.py"}]},
    {"role": "assistant", "parts": [{"type": "text", "content": "I look."}, GENAI_CALL]},
    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": "def add"}]},
]
OPENAI = [
    {"role": "user", "content": "Fix calc.py"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "read_file", "arguments": '{"path":"calc.py"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "def add"},
]
ANTHROPIC = [
    {"role": "user", "content": [{"type": "text", "text": "Fix calc.py"}]},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm"},
            {"type": "tool_use", "id": "call_1", "name": "read_file", "input": {"path": "calc.py"}},
        ],
    },
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "def add"}]},
]
GEMINI = {
    "contents": [
        {"role": "user", "parts": [{"text": "Fix calc.py"}]},
        {"role": "model", "parts": [{"functionCall": {"id": "call_1", "name": "read_file", "args": {"path": "x"}}}]},
        {
            "role": "user",
            "parts": [{"functionResponse": {"id": "call_1", "name": "read_file", "response": {"result": "def add"}}}],
        },
    ]
}
RESPONSES = [
    {"role": "user", "content": "Fix calc.py"},
    {
        "type": "function_call",
        "call_id": "call_1",
        "id": "fc_9",
        "name": "read_file",
        "arguments": '{"path":"calc.py"}',
    },
    {"type": "function_call_output", "call_id": "call_1", "output": "def add"},
]
VERCEL = [
    {"role": "user", "content": [{"type": "text", "text": "Fix calc.py"}]},
    {
        "role": "assistant",
        "content": [
            {"type": "tool-call", "toolCallId": "call_1", "toolName": "read_file", "input": {"path": "calc.py"}}
        ],
    },
    {
        "role": "tool",
        "content": [{"type": "tool-result", "toolCallId": "call_1", "toolName": "read_file", "output": "def add"}],
    },
]


def _constructor(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", kind], "kwargs": kwargs}


LANGCHAIN = {
    "messages": [
        [
            _constructor("HumanMessage", content="Fix calc.py", type="human"),
            _constructor(
                "AIMessage",
                content="",
                type="ai",
                tool_calls=[{"name": "read_file", "args": {"path": "calc.py"}, "id": "call_1", "type": "tool_call"}],
                additional_kwargs={
                    "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "read_file"}}]
                },
            ),
            _constructor("ToolMessage", content="def add", type="tool", tool_call_id="call_1"),
        ]
    ]
}
OPENINFERENCE = {
    "llm.input_messages.0.message.role": "user",
    "llm.input_messages.0.message.content": "Fix calc.py",
    "llm.input_messages.1.message.role": "assistant",
    "llm.input_messages.1.message.tool_calls.0.tool_call.id": "call_1",
    "llm.input_messages.1.message.tool_calls.0.tool_call.function.name": "read_file",
    "llm.input_messages.1.message.tool_calls.0.tool_call.function.arguments": '{"path":"calc.py"}',
    "llm.input_messages.2.message.role": "tool",
    "llm.input_messages.2.message.tool_call_id": "call_1",
    "llm.input_messages.2.message.content": "def add",
    "llm.model_name": "gpt-5",
}
TRACELOOP = {
    "gen_ai.prompt.0.role": "user",
    "gen_ai.prompt.0.content": "Fix calc.py",
    "gen_ai.prompt.1.role": "assistant",
    "gen_ai.prompt.1.tool_calls.0.id": "call_1",
    "gen_ai.prompt.1.tool_calls.0.name": "read_file",
    "gen_ai.prompt.1.tool_calls.0.arguments": '{"path":"calc.py"}',
    "gen_ai.prompt.2.role": "tool",
    "gen_ai.prompt.2.tool_call_id": "call_1",
    "gen_ai.prompt.2.content": "def add",
}
SHAPES = {
    "genai": GENAI,
    "openai": OPENAI,
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
    "responses": RESPONSES,
    "vercel": VERCEL,
    "langchain": LANGCHAIN,
    "openinference": regroup(OPENINFERENCE, "llm.input_messages."),
    "traceloop": regroup(TRACELOOP, "gen_ai.prompt."),
}
every_shape = pytest.mark.parametrize("messages", SHAPES.values(), ids=SHAPES)
structured_or_text = pytest.mark.parametrize("written", [lambda it: it, json.dumps], ids=["structure", "text"])


@every_shape
@structured_or_text
def test_the_requested_call_is_found_once(messages: object, written: Any) -> None:
    """One call with its name and id, wherever a framework nests it."""
    found = requested_calls(written(messages))
    assert [("read_file", "call_1")] == [(call.name, call.call_id) for call in found]


@every_shape
@structured_or_text
def test_the_returned_result_is_found(messages: object, written: Any) -> None:
    """The result with the id of its call, and its text."""
    found = returned_results(written(messages))
    assert ["call_1"] == [result.call_id for result in found]
    assert ["def add"] == [plain_text(result.result) for result in found]


@every_shape
@structured_or_text
def test_the_users_task_is_found(messages: object, written: Any) -> None:
    """The first text that a user wrote, not the system's and not a result."""
    assert "Fix calc.py" == first_user_text(written(messages))


@pytest.mark.parametrize(
    ("messages", "arguments"),
    [
        (GENAI, {"path": "calc.py"}),
        (OPENAI, '{"path":"calc.py"}'),
        (ANTHROPIC, {"path": "calc.py"}),
        (VERCEL, {"path": "calc.py"}),
        (LANGCHAIN, {"path": "calc.py"}),
        ([{"type": "tool_call", "name": "list"}], None),
    ],
)
def test_arguments_are_kept_as_sent(messages: object, arguments: object) -> None:
    """Text stays text, a structure a structure; a call without arguments has none."""
    assert arguments == requested_calls(messages)[0].arguments


@pytest.mark.parametrize(
    ("messages", "names"),
    [
        ([{"tool_calls": '[{"id": "a", "function": {"name": "x"}}]'}], ["x"]),
        ({"choices": [{"message": {"tool_calls": [{"function": {"name": "x"}}]}}]}, ["x"]),
        ({"message": {"function_call": {"name": "x", "arguments": "{}"}}}, ["x"]),
        ([{"type": "server_tool_use", "name": "web_search"}], ["web_search"]),
        ([{"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin"}], ["apply_patch"]),
        ([{"type": "function", "function": {"name": "x"}}], ["x"]),
        ({"toolCalls": [{"toolName": "x", "args": {}}]}, ["x"]),
    ],
    ids=str,
)
def test_other_shapes_of_requests(messages: object, names: list[str]) -> None:
    """Lists in text, choices, the oldest function calls, server and custom tools."""
    assert names == [call.name for call in requested_calls(messages)]


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "call the function read_file"}],
        [{"name": "read_file", "id": "1"}],
        {"tools": [{"name": "read_file", "parameters": {"type": ["object", "null"]}}]},
        [{"type": "tool_call", "name": ""}],
        [{"type": "tool_call", "name": {"x": 1}}],
        {"function": {"name": "read_file"}},
        "{broken",
        "no json",
        "",
        None,
        7,
    ],
    ids=str,
)
def test_what_is_no_request_is_none(messages: object) -> None:
    """Definitions, names and prose ask for nothing; text that is not JSON holds nothing."""
    assert [] == requested_calls(messages)


def test_two_calls_of_one_message_are_two() -> None:
    """Equal calls with ids of their own, and equal calls without ids, stay apart."""
    again = GENAI_CALL | {"id": "call_2"}
    assert ["call_1", "call_2"] == [call.call_id for call in requested_calls([GENAI_CALL, again, GENAI_CALL])]
    nameless = {"type": "tool_call", "name": "x"}
    assert 2 == len(requested_calls([nameless, nameless]))


def test_a_call_that_is_told_twice_counts_once() -> None:
    """Where some tellings of a message carry ids, those without repeat them."""
    repeated = {"tool_calls": [GENAI_CALL], "function_calls": [{"name": "read_file", "args": {}}]}
    assert ["call_1"] == [call.call_id for call in requested_calls(repeated)]


def test_the_walk_is_bounded() -> None:
    """A call nested deeper than any framework nests is not looked for, and a message asks for so many at most."""
    nested: object = GENAI_CALL
    for _ in range(DEPTH_MAX):
        nested = [nested]
    assert 1 == len(requested_calls(nested))
    assert [] == requested_calls([nested])
    many = [{"type": "tool_call", "id": str(number), "name": "x"} for number in range(CALLS_MAX + 9)]
    assert CALLS_MAX == len(requested_calls(many))


@pytest.mark.parametrize("messages", [GENAI, OPENAI, ANTHROPIC, VERCEL], ids=["genai", "openai", "anthropic", "vercel"])
def test_only_results_behind_the_last_answer_are_returned(messages: list[dict[str, Any]]) -> None:
    """What an earlier input already carried is not told again."""
    assert [] == returned_results([*messages, {"role": "assistant", "content": "Done."}])
    assert [] == returned_results(
        [*messages, {"role": "assistant", "content": "x"}, {"role": "user", "content": "go on"}]
    )


def test_all_results_of_parallel_calls_are_returned_in_order() -> None:
    """Several tool messages may follow one answer."""
    more = [{"role": "tool", "tool_call_id": f"call_{number}", "content": str(number)} for number in (1, 2, 3)]
    assert ["call_1", "call_2", "call_3"] == [result.call_id for result in returned_results([*OPENAI[:2], *more])]


@pytest.mark.parametrize(
    "messages", ["{broken", "", None, 7, [], {}, [1, "a"], [{"type": ["a"], "role": ["b"]}]], ids=str
)
def test_what_carries_no_result_returns_none(messages: object) -> None:
    """Odd shapes are no results and no errors."""
    assert [] == returned_results(messages)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([["human", "Fix it"]], "Fix it"),
        ({"input": [{"role": "user", "content": "Fix it"}]}, "Fix it"),
        ([{"role": "user", "content": []}, {"role": "user", "content": "Fix it"}], "Fix it"),
        ([{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Fix it"}]}], "Fix it"),
        ([{"type": "human", "data": {"content": "Fix it"}}], "Fix it"),
        ([{"role": "assistant", "content": "Hello"}], None),
        ("Fix it", None),
        (None, None),
    ],
    ids=str,
)
def test_the_task_in_other_shapes(messages: object, expected: str | None) -> None:
    """Pairs, wrapped inputs and multi-part messages have a task too."""
    assert expected == first_user_text(messages)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("a", "a"),
        (["a", {"text": "b"}, {"content": ["c", {"text": "d"}]}], "a\nb\nc\nd"),
        ({"content": "", "text": "b"}, "b"),
        ({"image": "x"}, ""),
        (None, ""),
        (7, ""),
    ],
    ids=str,
)
def test_the_text_of_a_message(node: object, expected: str) -> None:
    """Parts are joined by lines; what is no text adds nothing."""
    assert expected == plain_text(node)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"m.0.a": 1, "m.0.b.c": 2, "n.0.a": 3}, [{"a": 1, "b": {"c": 2}}]),
        ({f"m.{number}.n": number for number in (10, 9, 2)}, [{"n": 2}, {"n": 9}, {"n": 10}]),
        ({"m.0": "x", "m.0.a": 1}, [{"a": 1}]),
        ({"m.name": "x"}, None),
        ({"m.²": "x"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_flattened_attributes_are_regrouped(attributes: dict[str, object], expected: object) -> None:
    """Numbers become positions in numeric order; what is no list is none."""
    assert expected == regroup(attributes, "m.")


def test_a_key_with_many_dots_is_regrouped_to_a_bounded_depth() -> None:
    """A key is no way to exhaust the stack."""
    assert regroup({"m.0." + "a." * 5000: 1}, "m.") is not None


WORDS = [
    *(
        "type",
        "role",
        "name",
        "id",
        "content",
        "parts",
        "message",
        "messages",
        "kwargs",
        "input",
        "output",
        "arguments",
    ),
    *("tool_calls", "function", "functionCall", "functionResponse", "toolName"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["tool_call", "user", "{}", "["]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)


@given(messages=JSON)
def test_no_message_is_an_error(messages: object) -> None:
    """Whatever JSON a source sends is read without an exception, as structure and as text."""
    for form in (messages, json.dumps(messages)):
        requested_calls(form)
        returned_results(form)
        first_user_text(form)
        plain_text(form)
