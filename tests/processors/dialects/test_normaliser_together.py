"""Requests taken together: their rows are those that each request alone would give."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pytest

from headgate_processors.dialects import Arrival, Normaliser, WireRequest
from headgate_processors.otlp import decode
from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.port import CLIENT, Sender
from headgate_processors.testing.otlp import START_UNIX_NANO, logs_request, to_protobuf, traces_request

SOMEBODY = Sender(role="client", subject="spiffe://acme/agent/fixer", token_id="t1")
SCENARIOS = ("langgraph-openinference/multi_step", "pydantic-ai/handoff", "codex/multi_step", "extra/mastra/multi_step")

Rows = dict[str, list[dict[str, Any]]]


def _decoded(body: bytes, signal: Signal, *, at: int, sender: Sender, json_: bool = False) -> WireRequest:
    decoded = decode(body, signal=signal, encoding="json" if json_ else "protobuf")
    return WireRequest(signal=signal, wire=decoded.batch, arrival=Arrival(received_unix_nano=at, sender=sender))


def _rows(batches: Iterable[dict[str, pa.RecordBatch]]) -> Rows:
    """Every row, in an order that does not depend on how signals and senders were mixed."""
    rows: Rows = {}
    for given in batches:
        for name, batch in given.items():
            batch.validate(full=True)
            rows.setdefault(name, []).extend(batch.to_pylist())
    return {name: sorted(own, key=lambda row: (row["received_unix_nano"], str(row))) for name, own in rows.items()}


def _compared(normaliser: Normaliser, requests: Sequence[WireRequest]) -> tuple[Rows, Rows]:
    alone = [normaliser(one.signal, one.wire, one.arrival) for one in requests]
    return _rows(alone), _rows([normaliser.together(requests)])


@pytest.mark.parametrize("name", SCENARIOS)
def test_recorded_requests_taken_together_give_the_rows_that_each_gives(
    normaliser: Normaliser, recording: Callable[[str], Any], name: str
) -> None:
    """Real requests of all signals, from two senders in turn."""
    requests = [
        _decoded(
            json.dumps(request).encode(),
            signal,
            at=START_UNIX_NANO + place,
            sender=SOMEBODY if place % 3 == 0 else CLIENT,
            json_=True,
        )
        for place, (signal, request) in enumerate(recording(name))
    ]
    alone, together = _compared(normaliser, requests)
    assert alone == together


def test_equal_logs_of_two_requests_have_the_same_ids(normaliser: Normaliser) -> None:
    """A request that was sent twice has the ids it would have alone, or its records would count twice."""
    body = to_protobuf(logs_request([{"body": "tick", "time_unix_nano": START_UNIX_NANO}] * 2))
    twice = [_decoded(body, Signal.LOGS, at=START_UNIX_NANO, sender=CLIENT)] * 2
    ids = normaliser.together(twice)["log_events"].column("record_id").to_pylist()
    assert ids[:2] == ids[2:]
    assert 2 == len(set(ids))


def test_content_of_a_span_that_came_twice_keeps_when_it_came(normaliser: Normaliser) -> None:
    """Both copies of a span in one group keep their own time of arrival on what hangs on them."""
    body = to_protobuf(traces_request([{"attributes": {"gen_ai.input.messages": "hello"}, "events": [{"name": "e"}]}]))
    both = [_decoded(body, Signal.TRACES, at=START_UNIX_NANO + at, sender=CLIENT) for at in (1, 2)]
    batches = normaliser.together(both)
    for name in ("spans", "span_events", "content"):
        assert [START_UNIX_NANO + 1, START_UNIX_NANO + 2] == batches[name].column("received_unix_nano").to_pylist()


def test_nothing_taken_together_gives_nothing(normaliser: Normaliser) -> None:
    """A group of no requests, and one of a request without records, fill no dataset."""
    empty = _decoded(b"", Signal.TRACES, at=START_UNIX_NANO, sender=CLIENT)
    assert {} == normaliser.together([])
    assert {} == normaliser.together([empty])
