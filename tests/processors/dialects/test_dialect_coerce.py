"""Coercions: one fact in the many shapes in which it comes."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_processors.dialects import coerce

INT64_MAX = 2**63 - 1
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["nan", "1e999", "-1", "0x1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, 7),
        (0, 0),
        (-7, -7),
        ("7", 7),
        (" 7 ", 7),
        ("7.0", 7),
        (7.0, 7),
        ("9007199254740993", 9_007_199_254_740_993),
        ("-9007199254740993", -9_007_199_254_740_993),
        (INT64_MAX, INT64_MAX),
        (INT64_MAX + 1, None),
        (str(INT64_MAX), INT64_MAX),
        (str(INT64_MAX + 1), None),
        ("1e3", 1000),
        (True, None),
        (None, None),
        ("", None),
        ("seven", None),
        ("²", None),
        (float("nan"), None),
        ("NaN", None),
        ("Infinity", None),
        (1e300, None),
        ([7], None),
        ({"value": 7}, None),
    ],
)
def test_a_whole_number_comes_from_any_shape(value: object, expected: int | None) -> None:
    """Integers, integral floats and numeric text are numbers; a boolean is none."""
    assert expected == coerce.to_int(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), ("12", 12), (-1, None), ("-1", None), (coerce.COUNT_MAX, coerce.COUNT_MAX), (coerce.COUNT_MAX + 1, None)],
)
def test_a_count_is_neither_negative_nor_absurd(value: object, expected: int | None) -> None:
    """What cannot be a number of tokens is unknown, so that sums stay within 64 bits."""
    assert expected == coerce.to_count(value)


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (10**18, 10**18), (-1, None), ("x", None)])
def test_a_duration_may_be_long_and_not_negative(value: object, expected: int | None) -> None:
    """Nanoseconds are large numbers."""
    assert expected == coerce.to_duration_ns(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        ("1.5", 1.5),
        (" 2 ", 2.0),
        (True, None),
        ("x", None),
        (float("inf"), None),
        ("nan", None),
        (None, None),
    ],
)
def test_a_float_is_finite(value: object, expected: float | None) -> None:
    """The words for what is no number are no number."""
    assert expected == coerce.to_float(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", "a"), ("", None), (7, "7"), (1.5, "1.5"), (True, "true"), (False, "false"), ([1], None), (None, None)],
)
def test_text_is_scalar(value: object, expected: str | None) -> None:
    """Numbers and booleans are written as JSON writes them; structures are no text."""
    assert expected == coerce.to_text(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((word, True) for word in (True, "true", "True", " yes ", "1", "ok", "success")),
        *((word, False) for word in (False, "false", "no", "0", "error", "failure", "failed")),
        *((word, None) for word in (1, 0, None, "maybe", "", [True])),
    ],
)
def test_a_truth_value_comes_from_its_usual_words(value: object, expected: bool | None) -> None:
    """A status of a tool is a truth value in words; a number is none."""
    assert expected is coerce.to_bool(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, Decimal(0)),
        (0.012, Decimal("0.012")),
        ("0.0000000015", Decimal("0.000000002")),
        ("1e-5", Decimal("0.00001")),
        (-0.1, None),
        (True, None),
        ("free", None),
        ("NaN", None),
        (float("nan"), None),
        ("Infinity", None),
        ("1e999999999", None),
        (10**6, None),
        (None, None),
        ({"amount": 1}, None),
    ],
)
def test_money_is_dollars_with_nine_places(value: object, expected: Decimal | None) -> None:
    """What no call can have cost is unknown."""
    assert expected == coerce.to_money(value)


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ("s", 1.5, 1_500_000_000),
        ("ms", "250", 250_000_000),
        ("us", 3, 3_000),
        ("ns", 7, 7),
        ("s", 0, 0),
        ("ms", -1, None),
        ("s", 1e12, None),
        ("ms", "soon", None),
        ("s", None, None),
    ],
)
def test_a_duration_is_nanoseconds_whatever_its_unit(unit: str, value: object, expected: int | None) -> None:
    """Negative and endless durations are unknown."""
    assert expected == coerce.duration_ns(unit)(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        ('["a", "b"]', ["a", "b"]),
        ("a, b,", ["a", "b"]),
        ("a", ["a"]),
        (["a", None, {"b": 1}, 2], ["a", "2"]),
        ([], None),
        ("[]", None),
        ("", None),
        (7, None),
        ('{"a": 1}', None),
    ],
)
def test_a_list_of_texts_comes_from_arrays_and_text(value: object, expected: list[str] | None) -> None:
    """JSON, commas and scalars all make lists; nothing makes none."""
    assert expected == coerce.to_texts(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["stop"], ["stop"]),
        ('["end_turn"]', ["stop"]),
        ("STOP", ["stop"]),
        ("FinishReason.MAX_TOKENS", ["length"]),
        ("tool-calls", ["tool_call"]),
        (["tool_use", "stop_sequence"], ["tool_call", "stop"]),
        ("function_call", ["tool_call"]),
        ("incomplete", ["length"]),
        ("SAFETY", ["content_filter"]),
        ("refusal", ["content_filter"]),
        ("RECITATION", ["error"]),
        ("cancelled", ["error"]),
        ("compaction", ["compaction"]),
        ("something_new", ["something_new"]),
        (["FINISH_REASON_UNSPECIFIED"], None),
        ("in_progress", None),
        ([], None),
        (None, None),
    ],
)
def test_finish_reasons_are_the_conventions_words(value: object, expected: list[str] | None) -> None:
    """Each provider's word becomes one of six; a word that nobody knows stays."""
    assert expected == coerce.finish_reasons(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("OpenAI", "openai"),
        ("openai.responses", "openai"),
        ("openai-chat", "openai"),
        ("anthropic.messages", "anthropic"),
        ("claude", "anthropic"),
        ("google-gla", "gcp.gemini"),
        ("google.generative-ai", "gcp.gemini"),
        ("vertex_ai", "gcp.vertex_ai"),
        ("google.vertex.chat", "gcp.vertex_ai"),
        ("amazon-bedrock", "aws.bedrock"),
        ("azure", "azure.ai.inference"),
        ("azure-openai", "azure.ai.openai"),
        ("azure.openai.responses", "azure.ai.openai"),
        ("azureopenai", "azure.ai.openai"),
        ("mistralai", "mistral_ai"),
        ("xai.chat", "x_ai"),
        ("watsonx", "ibm.watsonx.ai"),
        ("groq.chat", "groq"),
        ("acme-models", "acme-models"),
        ("", None),
        (None, None),
    ],
)
def test_a_provider_has_one_name(value: object, expected: str | None) -> None:
    """SDK modules and API names lead to the provider; one that nobody knows stays."""
    assert expected == coerce.provider(value)


@pytest.mark.parametrize(
    "name",
    ["strands-agents", "microsoft.agent_framework", "LangChain", "crewai", "autogen", "gcp.vertex.agent", "github",
     "litellm", "llama_index", "smolagents", "unknown", "_OTHER"],
)  # fmt: skip
def test_a_framework_is_no_provider(name: str) -> None:
    """Several frameworks put themselves where the provider belongs."""
    assert coerce.provider(name) is None


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-sonnet-4-5", "anthropic"),
        ("anthropic.claude-3-haiku-20240307-v1:0", "aws.bedrock"),
        ("us.anthropic.claude-sonnet-4", "aws.bedrock"),
        ("eu.meta.llama3", "aws.bedrock"),
        ("gpt-5-mini", "openai"),
        ("o3-mini", "openai"),
        ("o1", "openai"),
        ("text-embedding-3-small", "openai"),
        ("ft:gpt-4o:acme", "openai"),
        ("models/gemini-2.5-pro", "gcp.gemini"),
        ("Mistral-Large", "mistral_ai"),
        ("grok-4", "x_ai"),
        ("deepseek-chat", "deepseek"),
        ("command-r", "cohere"),
        ("orca-7b", None),
        ("my-gpt-5", None),
        (None, None),
    ],
)
def test_a_model_name_may_tell_its_provider(model: str | None, expected: str | None) -> None:
    """Only a name that leaves no doubt does."""
    assert expected == coerce.provider_of_model(model)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((word, "allow") for word in ("accept", "approved", "approved_for_session", "allow", "auto_accept", "yes")),
        *((word, "deny") for word in ("reject", "Denied", "deny", "abort", "blocked", "no")),
        *((word, "modify") for word in ("modify", "edit")),
        *((word, "require_approval") for word in ("ask", "ApprovalRequired")),
        *((word, None) for word in ("later", "", None, ["allow"])),
    ],
)
def test_a_decision_is_one_of_four(value: object, expected: str | None) -> None:
    """What an agent says of an approval becomes the contract's word."""
    assert expected == coerce.decision(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("user_permanent", "user"),
        ("User", "user"),
        ("config", "config"),
        ("hook_allowed", "hook"),
        ("policy", "policy"),
        ("gateway", "gateway"),
        ("weather", None),
        (None, None),
    ],
)
def test_who_decided_is_one_of_five(value: object, expected: str | None) -> None:
    """The kind of the source is kept, its detail is not."""
    assert expected == coerce.decision_source(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        ("[1]", [1]),
        ('"a"', "a"),
        ("{broken", "{broken"),
        (" {}", " {}"),
        ("7", "7"),
        (7, 7),
        ("[" * 2000, "[" * 2000),
    ],
)
def test_json_in_text_is_parsed_where_it_is_json(value: object, expected: object) -> None:
    """Numbers in text stay text: they are read where a number is wanted."""
    assert expected == coerce.parse_json(value)


@given(value=ANYTHING)
def test_no_value_is_an_error(value: object) -> None:
    """Every coercion answers for every value, with NULL at worst."""
    for convert in (
        coerce.to_int, coerce.to_count, coerce.to_duration_ns, coerce.to_float, coerce.to_text, coerce.to_bool,
        coerce.to_money, coerce.to_texts, coerce.finish_reasons, coerce.provider, coerce.decision,
        coerce.decision_source, coerce.parse_json, *map(coerce.duration_ns, coerce.UNITS),
    ):  # fmt: skip
        convert(value)
