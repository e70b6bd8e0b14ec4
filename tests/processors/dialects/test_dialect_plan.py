"""Plans: what is settled once for a shape of record says the same as the tables read plainly, in bounded memory."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_processors.dialects import plan as plans
from headgate_processors.dialects.meaning import Meaning, read_meaning, read_planned
from headgate_processors.dialects.plan import Planner
from headgate_processors.dialects.record import Record
from headgate_processors.dialects.table import DialectBook, load_dialects
from headgate_processors.otlp import decode
from headgate_processors.otlp.port import Signal
from headgate_processors.testing.dialects import log_record, span_record

SCENARIOS = (
    "claude-code/multi_step",
    "codex/handoff",
    "extra/langfuse-5/multi_step",
    "extra/mastra/multi_step",
    "google-adk/multi_step",
    "langgraph-openinference/multi_step",
    "pydantic-ai/multi_step",
)


@pytest.fixture(scope="module")
def book() -> DialectBook:
    """The packaged tables."""
    return load_dialects()


def _plainly(book: DialectBook, record: Record) -> Meaning | None:
    dialect = book.detect(record)
    return None if dialect is None else read_meaning(record, dialect)


def _planned(book: DialectBook, record: Record) -> Meaning | None:
    plan = book.plan(record)
    return None if plan is None else read_planned(record, plan)


def _records(signal: Signal, request: dict[str, Any]) -> Iterator[Record]:
    if signal is Signal.METRICS:
        return
    for row in decode(json.dumps(request).encode(), signal=signal, encoding="json").batch.to_pylist():
        fields: dict[str, Any] = {
            "attributes": json.loads(row["attributes"]),
            "resource": json.loads(row["resource_attributes"]),
            "scope": row["scope_name"] or "",
        }
        if signal is Signal.TRACES:
            yield Record(
                **fields, name=row["name"], status=row["status_code"], events=json.loads(row["events"] or "[]")
            )
        else:
            yield Record(**fields, is_log=True, event=row["event_name"] or "", body=json.loads(row["body"] or "null"))


@pytest.mark.parametrize("name", SCENARIOS)
def test_planned_reading_of_recorded_records_is_plain_reading(
    book: DialectBook, recording: Callable[[str], Any], name: str
) -> None:
    """Every span and log record of real agents, and each again without one of its attributes in turn."""
    for signal, request in recording(name)[:40]:
        for record in _records(signal, request):
            assert _plainly(book, record) == _planned(book, record)
            for key in list(record.attributes)[:12]:
                less: Mapping[str, object] = {k: value for k, value in record.attributes.items() if k != key}
                without = Record(
                    attributes=less,
                    resource=record.resource,
                    scope=record.scope,
                    name=record.name,
                    event=record.event,
                    body=record.body,
                    events=record.events,
                    status=record.status,
                    is_log=record.is_log,
                )
                assert _plainly(book, without) == _planned(book, without)


_KEYS = st.sampled_from(
    [
        "gen_ai.operation.name",
        "gen_ai.system",
        "gen_ai.tool.name",
        "gen_ai.usage.input_tokens",
        "gen_ai.input.messages",
        "openinference.span.kind",
        "output.value",
        "llm.input_messages.0.message.role",
        "traceloop.span.kind",
        "session.id",
        "error.type",
        "unheard.of",
    ]
)
_VALUES = st.one_of(
    st.sampled_from(["chat", "LLM", "tool", "", "None", '{"id": "resp_1"}', "[]"]), st.integers(), st.none()
)


@given(
    attributes=st.dictionaries(_KEYS, _VALUES, max_size=8),
    scope=st.sampled_from(["", "opentelemetry.instrumentation.openai", "openinference.instrumentation.langchain"]),
    event=st.sampled_from(["", "gen_ai.user.message", "codex.tool_result"]),
    is_log=st.booleans(),
)
def test_planned_reading_of_any_record_is_plain_reading(
    book: DialectBook, attributes: dict[str, Any], scope: str, event: str, is_log: bool
) -> None:
    """Whatever the keys and values, with plans already made for others."""
    make = log_record if is_log else span_record
    fields: dict[str, Any] = {"event": event, "body": {"content": "x"}} if is_log else {"name": event}
    record = make(attributes, scope=scope, **fields)
    assert _plainly(book, record) == _planned(book, record)


def test_keys_that_no_table_knows_make_no_plan_of_their_own(book: DialectBook, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that invents keys without end shares one plan, and few of its keys are remembered."""
    monkeypatch.setattr(plans, "KEYS_MAX", 100)
    planner = Planner(book.rules)
    shapes = {planner.shape(span_record({f"key.{number}": 1, "k" * 1000: 1})) for number in range(1000)}
    assert 1 == len(shapes)
    assert planner.kept.keys <= 100


def test_plans_and_long_names_are_bounded(book: DialectBook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scopes without end push out older plans, and names out of all proportion are not kept at all."""
    monkeypatch.setattr(plans, "SHAPES_MAX", 10)
    planner = Planner(book.rules)
    for number in range(100):
        planner.plan(span_record(scope=f"scope-{number}"))
    assert planner.kept.shapes <= 10
    before = planner.kept
    planner.plan(span_record(scope="s" * 100_000))
    assert before == planner.kept


def test_lists_of_keys_without_end_are_not_remembered_without_end(
    book: DialectBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender that invents keys fills the memory of layouts once, and one with very many keys not at all."""
    monkeypatch.setattr(plans, "LAYOUTS_MAX", 10)
    planner = Planner(book.rules)
    for number in range(100):
        planner.plan(span_record({f"key.{number}": 1}))
    assert planner.kept.layouts <= 10
    before = planner.kept.layouts
    planner.plan(span_record({f"key.{number}": 1 for number in range(10_000)}))
    assert before == planner.kept.layouts
