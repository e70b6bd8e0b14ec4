import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headgate_processors.generate import Load, PlanConfig, RecordedSession, Truth, compiled, read_sessions
from headgate_processors.generate.deliver import fill_store, paced, write_requests, write_truths
from headgate_processors.generate.load import Made, build_plan
from headgate_processors.generate.rows import row_template
from headgate_processors.pipeline import build_pipeline
from headgate_processors.receiver.port import CLIENT
from headgate_processors.replay.files import read_requests
from headgate_processors.replay.requests import ReplayRequest
from headgate_processors.store import Store, StoreConfig

START = 1_800_000_000_000_000_000
AGENTS = ("claude-code", "pydantic-ai", "langgraph-openinference")
FAULTY = PlanConfig(sessions=25, late=0.05, doubled=0.1, missing=0.05)
FIGURES = {
    "sessions": "SELECT count(*) FROM sessions",
    "model_calls": "SELECT count(*) FROM model_calls WHERE operation <> 'embeddings' AND error_type IS NULL",
    "tool_calls": "SELECT count(*) FROM tool_calls",
    "input_tokens": "SELECT sum(input_tokens)::BIGINT FROM model_calls WHERE operation <> 'embeddings'",
    "output_tokens": "SELECT sum(output_tokens)::BIGINT FROM model_calls WHERE operation <> 'embeddings'",
    "cache_read_tokens": "SELECT sum(cache_read_tokens)::BIGINT FROM model_calls WHERE operation <> 'embeddings'",
}


@pytest.fixture(scope="module")
def recorded() -> list[RecordedSession]:
    """The packaged sessions of a few agents."""
    return [session for session in read_sessions() if session.agent in AGENTS]


def clock(start_ns: int) -> int:
    """When a session starts."""
    return START + start_ns


def over_the_wire(workbench: Any, sessions: list[RecordedSession], config: PlanConfig) -> list[Truth]:
    """Ingest a load as requests, and derive it."""
    load = Load(build_plan(config, [compiled(session) for session in sessions]), clock)
    with Store.open(workbench.folder, writer="test", config=StoreConfig(seal_interval_s=60)) as store:
        pipeline = build_pipeline(workbench.normaliser, store, lambda *_: None)
        for request in load:
            pipeline(request.body, signal=request.signal, encoding=request.encoding, sender=CLIENT)
    workbench.derive()
    return list(load.truths())


def straight(workbench: Any, sessions: list[RecordedSession], config: PlanConfig) -> None:
    """Put a load into a store as rows, and derive it."""
    plan = build_plan(config, [compiled(session) for session in sessions])
    rows = {session.name: row_template(session, workbench.normaliser) for session in sessions}
    with Store.open(workbench.folder, writer="test", config=StoreConfig(seal_interval_s=60)) as store:
        for _ in fill_store(store, plan, rows, clock):
            pass
    workbench.derive()


def total(truths: list[Truth], figure: str) -> int:
    """The sum over sessions of what is known."""
    return sum(truth.figures[figure] or 0 for truth in truths)


def figures(workbench: Any) -> dict[str, int]:
    """What was derived."""
    columns = ", ".join(f"({query}) AS {name}" for name, query in FIGURES.items())
    found: dict[str, int] = workbench.query(f"SELECT {columns}")[0]
    return found


def test_what_is_derived_from_a_load_is_its_truth(workbench: Any, recorded: list[RecordedSession]) -> None:
    """Sessions, calls and tokens of a load without faults are the sums that its truth tells."""
    truths = over_the_wire(workbench, recorded, PlanConfig(sessions=15))
    assert {name: total(truths, name) for name in FIGURES} == figures(workbench)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(3))
def test_made_sessions_of_every_agent_come_out_as_recorded(workbench: Any, part: int) -> None:
    """A third of the packaged sessions at a time: what is derived has the figures of the recorded ones."""
    truths = over_the_wire(workbench, read_sessions()[part::3], PlanConfig(seed=part, sessions=40))
    assert {name: total(truths, name) for name in FIGURES} == figures(workbench)


@pytest.mark.slow
def test_rows_put_into_a_store_are_those_that_the_wire_leads_to(
    make_workbench: Callable[[], Any], recorded: list[RecordedSession]
) -> None:
    """With late, doubled and missing records too, both ways give the same spans, events, content and figures."""
    wire, rows = make_workbench(), make_workbench()
    truths = over_the_wire(wire, recorded, FAULTY)
    straight(rows, recorded, FAULTY)
    shown = (
        "SELECT trace_id, span_id, parent_span_id, name, end_time_unix_nano, attributes, team FROM spans ORDER BY ALL",
        "SELECT record_id, resource_attributes, session_key, gen_ai_response_id FROM spans ORDER BY ALL",
        "SELECT trace_id, span_id, ordinal, name, time_unix_nano, attributes FROM span_events ORDER BY ALL",
        "SELECT trace_id, span_id, field, attribute, text FROM content WHERE signal = 'traces' ORDER BY ALL",
        "SELECT event_name, time_unix_nano, attributes FROM log_events ORDER BY ALL",
    )
    for query in shown:
        assert wire.query(query) == rows.query(query)
    assert figures(wire) == figures(rows)
    assert sum(truth.spans for truth in truths) == rows.query("SELECT count(*) AS n FROM spans")[0]["n"]


def test_a_load_that_was_written_is_read_by_replay(tmp_path: Path, recorded: list[RecordedSession]) -> None:
    """The file of a load gives back its requests in order, its truth a line for each session."""
    load = Load(build_plan(PlanConfig(sessions=10), [compiled(session) for session in recorded]), clock)
    written = list(write_requests(load, tmp_path / "load.otlp"))
    read = [item for item in read_requests([tmp_path / "load.otlp"]) if isinstance(item, ReplayRequest)]
    assert [(item.signal, item.body) for item in written] == [(item.signal, item.body) for item in read]
    assert 10 == write_truths(load.truths(), tmp_path / "truth.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert [truth.number for truth in load.truths()] == [line["number"] for line in lines]


def test_a_load_is_held_back_to_its_rate(recorded: list[RecordedSession]) -> None:
    """Between requests it waits as long as the spans that were sent take at the rate."""
    load = Load(build_plan(PlanConfig(sessions=10), [compiled(session) for session in recorded]), clock)
    now_s = 0.0

    def pause(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    for _ in paced(load, load.made, 100.0, clock=lambda: now_s, pause=pause):
        pass
    assert load.made == Made(
        sessions=10, requests=load.made.requests, spans=load.made.spans, logs=load.made.logs, bytes=load.made.bytes
    )
    assert round(now_s, 6) == round(load.made.spans / 100.0, 6)
