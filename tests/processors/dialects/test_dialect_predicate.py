"""The language of predicates: when a rule of a table applies."""

from typing import Any

import pytest

from headgate_processors.dialects.predicate import compile_predicate
from headgate_processors.errors import ConfigError
from headgate_processors.testing.dialects import log_record, span_record

SPAN = span_record(
    {"op": "chat", "acme.kind": "llm", "stream": True, "count": 3, "nothing": None},
    name="chat gpt-5",
    scope="acme.tracing.v2",
    resource={"service.name": "acme-cli", "telemetry.sdk.language": "rust"},
)
LOG = log_record(event="acme.asked", resource={})


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"scope": "acme.tracing.v2"}, True),
        ({"scope": "acme.tracing"}, False),
        ({"scope": "acme.*"}, True),
        ({"scope": ["other.*", "acme.*"]}, True),
        ({"scope": ["other", "acme"]}, False),
        ({"scope": "ACME.*"}, False),
        ({"service": "acme-???"}, True),
        ({"service": "acme"}, False),
        ({"name": "chat *"}, True),
        ({"name": "[!c]*"}, False),
        ({"event": "*"}, True),
        ({"event": "?*"}, False),
        ({"has": "op"}, True),
        ({"has": "nothing"}, True),
        ({"has": ["op", "stream"]}, True),
        ({"has": ["op", "missing"]}, False),
        ({"lacks": "op"}, False),
        ({"lacks": "missing"}, True),
        ({"lacks": ["missing", "op"]}, False),
        ({"equals": {"op": "chat"}}, True),
        ({"equals": {"op": ["embed", "chat"]}}, True),
        ({"equals": {"op": "embed"}}, False),
        ({"equals": {"missing": "chat"}}, False),
        ({"equals": {"count": 3}}, True),
        ({"equals": {"stream": True}}, True),
        ({"equals": {"op": "chat", "acme.kind": "llm"}}, True),
        ({"equals": {"op": "chat", "acme.kind": "tool"}}, False),
        ({"prefix": "acme."}, True),
        ({"prefix": ["x.", "acme."]}, True),
        ({"prefix": "gen_ai."}, False),
        ({"resource": {"telemetry.sdk.language": "rust"}}, True),
        ({"resource": {"telemetry.sdk.language": ["go", "python"]}}, False),
        ({"signal": "spans"}, True),
        ({"signal": "logs"}, False),
        ({"scope": "acme.*", "has": "op"}, True),
        ({"scope": "acme.*", "has": "missing"}, False),
        ([{"has": "missing"}, {"has": "op"}], True),
        ([{"has": "missing"}, {"name": "x"}], False),
    ],
    ids=str,
)
def test_a_predicate_speaks_of_a_span(spec: Any, expected: bool) -> None:
    """Every entry of a map must hold, and one map of a list."""
    assert expected is compile_predicate(spec)(SPAN)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"event": "acme.*"}, True),
        ({"event": "acme.asked"}, True),
        ({"name": "?*"}, False),
        ({"service": "acme*"}, False),
        ({"signal": "logs"}, True),
        ({"signal": "spans"}, False),
    ],
    ids=str,
)
def test_a_predicate_speaks_of_a_log(spec: Any, expected: bool) -> None:
    """A log has an event name, no span name, and here no service."""
    assert expected is compile_predicate(spec)(LOG)


@pytest.mark.parametrize("spec", [{"scopes": "acme"}, {"scope": "acme", "attribute": "x"}], ids=str)
def test_an_unknown_entry_is_an_error_that_names_the_known(spec: Any) -> None:
    """Whoever writes a table is told every word of the language."""
    with pytest.raises(ConfigError) as error:
        compile_predicate(spec)
    known = ("scope", "service", "name", "event", "has", "lacks", "equals", "resource", "prefix", "signal")
    assert [] == [word for word in known if word not in str(error.value).partition("known are")[2]]


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ({}, "expected a map"),
        ("scope", "expected a map"),
        (None, "expected a map"),
        ([{"has": "a"}, "b"], "expected a map"),
        ({"equals": "op"}, "expected a map of attribute to values"),
        ({"resource": ["rust"]}, "expected a map of attribute to values"),
        ({"signal": "span"}, "known are spans, logs"),
    ],
    ids=str,
)
def test_a_malformed_predicate_is_an_error(spec: Any, names: str) -> None:
    """Nothing that cannot be meant is guessed."""
    with pytest.raises(ConfigError) as error:
        compile_predicate(spec)
    assert names in str(error.value)
