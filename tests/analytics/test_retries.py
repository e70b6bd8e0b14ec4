"""A call that an agent's library tries again by itself is one row, with all its attempts."""

import json
from decimal import Decimal
from typing import Any

import pytest

from headgate_analytics.testing.witnesses import ID, MS, NOW, UUID, Part, chat, seen, usage
from headgate_processors.otlp.port import Signal
from headgate_processors.testing.otlp import logs_request, to_json


def _tries(codes: list[str | None], **more: Any) -> list[Part]:
    """What the gateway tells of calls that are made one after the other, in traces of their own."""
    return [
        seen(
            at + 2,
            span=0xA0 + at,
            begin_ms=10 + at * 200,
            until_ms=100 + at * 200,
            session__id=UUID,
            error__type=code,
            headgate__decision_id=f"d-{at}",
            headgate__failed_attempts=int(code is not None),
            headgate__usage_source=None if code else "reported",
            headgate__request_hash="5eed",
            **({name: value[at] for name, value in more.items()} | ({} if code else usage())),
        )
        for at, code in enumerate(codes)
    ]


ROWS = "SELECT status, error_type, attempts, failed_attempts, decision_id FROM model_calls ORDER BY start_time"


@pytest.mark.parametrize("has_agent", [False, True])
def test_a_call_that_the_agents_library_tries_again_is_one_row(workbench: Any, has_agent: bool) -> None:
    """It says how often it has tried before; the decision is that of the attempt that was answered."""
    parts = _tries(["429", "529", None], headgate__retry_count=[0, 1, 2])
    if has_agent:
        parts.append(chat(1, session__id=UUID, gen_ai__response__id=ID, **usage()))
    for sender, request in parts:
        workbench.ingest([request], sender=sender)
    workbench.derive()
    assert [("ok", None, 3, 2, "d-2")] == [tuple(row.values()) for row in workbench.query(ROWS)]
    [row] = workbench.query("SELECT attempt_decision_ids FROM model_calls")
    assert ["d-0", "d-1"] == row["attempt_decision_ids"]
    assert [1] == [row["model_call_count"] for row in workbench.query("SELECT model_call_count FROM sessions")]


def test_the_decisions_of_all_attempts_are_in_the_session_of_their_call(workbench: Any) -> None:
    """And in its timeline as that call alone."""
    for at, (sender, request) in enumerate(_tries(["429", None], headgate__retry_count=[0, 1])):
        told = {"headgate.decision_id": f"d-{at}", "headgate.effect": "allow", "headgate.instance_id": "ai-1"}
        record = {
            "time_unix_nano": NOW + (10 + at * 200) * MS,
            "event_name": "headgate.decision",
            "trace_id": f"{at + 2:032x}",
            "span_id": f"{0xA0 + at:016x}",
            "attributes": told,
        }
        logs = logs_request([record], resource={"service.name": "headgate-model-gateway"}, scope="headgate.gateway")
        workbench.ingest([request, (Signal.LOGS, json.loads(to_json(logs)))], sender=sender)
    workbench.derive()
    rows = workbench.query("SELECT decision_id FROM decisions JOIN sessions USING (session_id) ORDER BY 1")
    assert ["d-0", "d-1"] == [row["decision_id"] for row in rows]
    assert ["model_call"] == [row["kind"] for row in workbench.query("SELECT kind FROM timeline")]


def test_a_call_that_is_tried_again_in_vain_is_one_row(workbench: Any) -> None:
    """With the error of the last attempt."""
    for sender, request in _tries(["429", "429", "503"], headgate__retry_count=[0, 1, 2]):
        workbench.ingest([request], sender=sender)
    workbench.derive()
    assert [("error", "503", 3, 3, "d-2")] == [tuple(row.values()) for row in workbench.query(ROWS)]


def test_the_same_request_below_the_same_span_is_the_same_call(workbench: Any) -> None:
    """After one that failed; what was asked otherwise is another call."""
    first, second, third = (
        seen(
            1,
            span=0xA0 + at,
            parent=9,
            begin_ms=at * 200,
            until_ms=at * 200 + 100,
            error__type=code,
            headgate__decision_id=f"d-{at}",
            headgate__failed_attempts=int(code is not None),
            headgate__request_hash=asked,
        )
        for at, (code, asked) in enumerate([("500", "5eed"), (None, "5eed"), (None, "0ther")])
    )
    for sender, request in (second, third, first):
        workbench.ingest([request], sender=sender)
    workbench.derive()
    expected = [("ok", None, 2, 1, "d-1"), ("ok", None, 1, 0, "d-2")]
    assert expected == [tuple(row.values()) for row in workbench.query(ROWS)]


def test_what_an_attempt_was_charged_is_in_the_cost_of_its_call(workbench: Any) -> None:
    """A stream that broke has cost something too."""
    parts = _tries(["cancelled", None], headgate__retry_count=[0, 1], headgate__cost_usd=["0.5", "0.1"])
    for sender, request in parts:
        workbench.ingest([request], sender=sender)
    workbench.derive()
    [row] = workbench.query("SELECT cost_usd, cost_basis FROM model_calls")
    assert (True, "upper_bound") == (row["cost_usd"] > Decimal("0.5"), row["cost_basis"])
