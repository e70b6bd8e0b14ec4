"""The language of sources: where a canonical field comes from."""

from typing import Any

import pytest

from headgate_processors.dialects.source import compile_source, compile_sources
from headgate_processors.errors import ConfigError
from headgate_processors.testing.dialects import log_record, span_record

SPAN = span_record(
    {
        "model": "gpt-5",
        "empty": "",
        "zero": 0,
        "usage": '{"input": {"cached": 12}, "steps": [{"n": 1}, {"n": 2}]}',
        "mapped": {"inner": {"name": "calc"}},
        "quoted": '"{\\"deep\\": 7}"',
        "took_ms": "1500.5",
        "summary": "tool_name='read_file' tool_id='call_9'",
    },
    name="chat gpt-5",
    scope="acme.tracing",
    resource={"service.name": "acme", "host.name": "box"},
    events=[
        {"name": "choice", "attributes": {"finish_reason": "stop"}},
        {"name": "choice", "attributes": {"finish_reason": "tool_use"}},
        {"name": "choice", "attributes": {"index": 3}},
        {"name": "bare"},
    ],
)
LOG = log_record({"event.name": "asked"}, event="asked", body={"message": {"parts": ["a", "b"]}})


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("model", "gpt-5"),
        ("missing", None),
        ("zero", 0),
        ("usage#input.cached", 12),
        ("usage#steps.1.n", 2),
        ("usage#steps.2.n", None),
        ("usage#steps.first", None),
        ("usage#input.cached.deeper", None),
        ("mapped#inner.name", "calc"),
        ("model#inner", None),
        ("@name", "chat gpt-5"),
        ("@scope", "acme.tracing"),
        ("@service", "acme"),
        ("@event", None),
        ("@body", None),
        ({"attribute": "model"}, "gpt-5"),
        ({"attribute": "@name", "regex": "^chat (.+)$"}, "gpt-5"),
        ({"attribute": "summary", "regex": r"tool_id='([^']+)'"}, "call_9"),
        ({"attribute": "model", "regex": "^(claude)"}, None),
        ({"attribute": "missing", "regex": "(.+)"}, None),
        ({"attribute": "model", "regex": "^(?:claude-(.+)|gpt-(.+))$"}, "5"),
        ({"attribute": "mapped", "regex": "(.+)"}, None),
        ({"resource": "host.name"}, "box"),
        ({"resource": "missing"}, None),
        ({"span_event": "choice", "attribute": "finish_reason"}, "tool_use"),
        ({"span_event": "bare", "attribute": "finish_reason"}, None),
        ({"span_event": "missing", "attribute": "finish_reason"}, None),
        ({"attribute": "took_ms", "unit": "ms"}, 1_500_500_000),
        ({"attribute": "model", "unit": "s"}, None),
        ({"constant": "openai"}, "openai"),
    ],
    ids=str,
)
def test_a_source_reads_a_span(spec: Any, expected: object) -> None:
    """Each form of the language gives its value, and NULL where it leads nowhere."""
    assert expected == compile_source(spec)(SPAN)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [("@event", "asked"), ("@body#message.parts.0", "a"), ("@name", None), ("@service", None)],
    ids=str,
)
def test_a_source_reads_a_log(spec: Any, expected: object) -> None:
    """A log has an event name and a body, and no span name."""
    assert expected == compile_source(spec)(LOG)


@pytest.mark.parametrize(
    ("value", "spec", "expected"),
    [
        ({"a": {"b": 1}}, "held#a.b", 1),
        ('{"a": "[1, 2]"}', "held#a.1", 2),
        ([{"a": 1}], "held#0.a", 1),
        ([1, 2], "held#-1", 2),
        ([1], "held#-2", None),
        ([1], "held#-", None),
        ("not json", "held#a", None),
        ("{broken", "held#a", None),
        (None, "held#a", None),
        (7, "held", 7),
    ],
)
def test_a_path_goes_through_maps_lists_and_json_in_text(value: object, spec: str, expected: object) -> None:
    """JSON is parsed wherever it stands on the way; a path that leads nowhere is NULL."""
    assert expected == compile_source(spec)(span_record({"held": value}))


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        (["missing", "model"], "gpt-5"),
        (["empty", "model"], "gpt-5"),
        (["zero", "model"], 0),
        (["missing", "usage#missing", {"resource": "host.name"}], "box"),
        (["empty", {"constant": "x"}], "x"),
        ("model", "gpt-5"),
        (["missing"], None),
        (["missing", "@event"], None),
    ],
    ids=str,
)
def test_the_first_source_with_a_value_wins(specs: Any, expected: object) -> None:
    """An empty text is no value; a zero is one."""
    assert expected == compile_sources(specs)(SPAN)


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("@nome", "@name, @event, @scope, @service, @body"),
        (7, "expected an attribute name or a map"),
        (None, "expected an attribute name or a map"),
        ({"attribute": "a", "pattern": "(x)"}, "unknown keys pattern"),
        ({"constant": 1, "attribute": "a"}, "unknown keys attribute"),
        ({"regex": "(x)"}, "expected `attribute`"),
        ({"span_event": "choice"}, "expected `attribute`"),
        ({"attribute": "a", "regex": "("}, "no regular expression"),
        ({"attribute": "a", "regex": "x"}, "no group"),
        ({"attribute": "a", "unit": "minutes"}, "known are s, ms, us, ns"),
        ({}, "expected `attribute`"),
    ],
    ids=str,
)
def test_a_source_that_is_none_is_an_error_that_helps(spec: Any, names: str) -> None:
    """The message says what is wrong and what would be right."""
    with pytest.raises(ConfigError) as error:
        compile_source(spec)
    assert names in str(error.value)
