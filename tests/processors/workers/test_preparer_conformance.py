"""What every preparer does, whether it works in this process or in others."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from headgate_processors.errors import ConfigError, HeadgateError, PermanentError
from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.port import Sender
from headgate_processors.schema import DATASETS
from headgate_processors.testing.ingest import numbered_request
from headgate_processors.testing.otlp import joined, to_json, to_protobuf, traces_request
from headgate_processors.testing.requests import exported, exported_spans
from headgate_processors.testing.rows import NOON_NS
from headgate_processors.workers import (
    Outcome,
    PoolConfig,
    Preparer,
    PreparerConfig,
    WorkerPool,
    build_preparer,
)


@pytest.fixture(scope="session")
def local(rules: PreparerConfig) -> Preparer:
    """The implementation in this process."""
    return build_preparer(rules)


@pytest.fixture(params=["local", "pool"])
def preparer(request: pytest.FixtureRequest) -> Preparer:
    """Each implementation."""
    made: Preparer = request.getfixturevalue(request.param)
    return made


def _names(batch: pa.RecordBatch) -> list[str]:
    return list(batch.column("name").to_pylist())


def test_rows_of_several_requests_come_in_their_order(preparer: Preparer) -> None:
    """One batch for each dataset, its rows in the order of requests and records."""
    prepared = preparer.prepare([exported_spans("a", "b", trace=2), exported_spans("c", trace=1)])
    assert ["a", "b", "c"] == _names(prepared.batches["spans"])
    assert [Outcome(received=2), Outcome(received=1)] == list(prepared.outcomes)
    assert prepared.batches["spans"].schema.equals(DATASETS["spans"].schema)


def test_every_signal_has_its_datasets(preparer: Preparer) -> None:
    """Spans, log records and points of one group each reach their own dataset, complete."""
    requests = [exported(to_protobuf(numbered_request(signal, range(3))), signal) for signal in Signal]
    prepared = preparer.prepare(requests)
    found = {name: prepared.batches[name].num_rows for name in ("spans", "log_events", "metric_points")}
    assert {"spans": 3, "log_events": 3, "metric_points": 3} == found
    for name, batch in prepared.batches.items():
        batch.validate(full=True)
        assert batch.schema.equals(DATASETS[name].schema)


def test_a_group_of_many_kinds_keeps_each_outcome_with_its_request(preparer: Preparer) -> None:
    """Signals and encodings mixed: outcomes stand in the order of requests, and so do the rows of one signal."""
    in_json = exported(to_json(traces_request([{"name": "j"}])), encoding="json")
    logs = [exported(to_protobuf(numbered_request(Signal.LOGS, range(count))), Signal.LOGS) for count in (2, 3)]
    group = [
        exported_spans("a", trace=2),
        logs[0],
        in_json,
        exported(b"\xff\xff\xff\xff"),
        logs[1],
        exported_spans("b"),
    ]
    prepared = preparer.prepare(group)
    received = [outcome.received if isinstance(outcome, Outcome) else type(outcome) for outcome in prepared.outcomes]
    assert [1, 2, 1, PermanentError, 3, 1] == received
    assert ["a", "j", "b"] == _names(prepared.batches["spans"])
    assert 5 == prepared.batches["log_events"].num_rows


def test_what_a_request_says_of_its_sender_is_on_its_rows(preparer: Preparer) -> None:
    """Witness and time of arrival are those of the request."""
    body = exported_spans("a").body
    batch = preparer.prepare([exported(body, sender=Sender(role="gateway", subject="g"))]).batches["spans"]
    assert [("gateway", NOON_NS)] == [
        (row["witness"], row["received_unix_nano"])
        for row in batch.select(["witness", "received_unix_nano"]).to_pylist()
    ]


def test_what_a_sender_may_not_say_is_counted_once(preparer: Preparer) -> None:
    """With the first request of its signal in the group, so that the sum is exact; our own parts may say it."""
    spans = [{"name": "a", "attributes": {"headgate.decision_id": "d", "kept": 1}}, {"name": "b"}]
    body = to_protobuf(traces_request(spans, resource={"service.name": "x"}))
    forging, own = exported(body), exported(body, sender=Sender(role="gateway", subject="g"))
    prepared = preparer.prepare([exported_spans("c"), own, forging, forging])
    assert [2, 0, 0, 0] == [outcome.forged for outcome in prepared.outcomes if isinstance(outcome, Outcome)]


def test_a_request_that_is_noise_costs_the_others_nothing(preparer: Preparer) -> None:
    """Its outcome is the error, the others have their rows."""
    prepared = preparer.prepare([exported_spans("a"), exported(b"\xff\xff\xff\xff"), exported_spans("b", trace=2)])
    assert ["a", "b"] == _names(prepared.batches["spans"])
    kinds = [type(outcome) for outcome in prepared.outcomes]
    assert [Outcome, PermanentError, Outcome] == kinds
    assert "can be read" in str(prepared.outcomes[1])


def test_a_refused_record_comes_back_with_its_bytes(preparer: Preparer) -> None:
    """Reason, sentence and bytes are the decoder's own."""
    good = traces_request([{"name": "a"}])
    bad = traces_request([{"name": "b", "span_id": "0" * 15 + "1"}])
    bad.resource_spans[0].scope_spans[0].spans[0].trace_id = bytes(16)
    raw = bad.resource_spans[0].scope_spans[0].spans[0].SerializeToString()
    (outcome,) = preparer.prepare([exported(to_protobuf(joined(good, bad)))]).outcomes
    assert isinstance(outcome, Outcome)
    assert (2, 1) == (outcome.received, outcome.kept)
    assert [("zero_id", True)] == [(record.reason, raw in record.raw) for record in outcome.rejected]


def test_an_empty_request_has_an_outcome_and_no_rows(preparer: Preparer) -> None:
    """Nothing received is no error."""
    prepared = preparer.prepare([exported(b"")])
    assert ({}, [Outcome(received=0)]) == (dict(prepared.batches), list(prepared.outcomes))


def test_json_and_protobuf_give_the_same_rows(preparer: Preparer) -> None:
    """The encoding is the request's own matter."""
    message = traces_request([{"name": "a", "attributes": {"gen_ai.operation.name": "chat", "n": 3}}])
    rows = [
        preparer.prepare([exported(body, encoding=encoding)]).batches["spans"].to_pylist()
        for body, encoding in ((to_protobuf(message), "protobuf"), (to_json(message), "json"))
    ]
    assert rows[0] == rows[1]


def test_both_give_the_same_rows(rules: PreparerConfig, pool: WorkerPool) -> None:
    """Value for value, content and its hashes included."""
    requests = [
        exported_spans("a", "b", content_bytes=100),
        exported(to_protobuf(numbered_request(Signal.LOGS, range(3))), Signal.LOGS),
    ]
    here, there = build_preparer(rules).prepare(requests), pool.prepare(requests)
    assert here.outcomes == there.outcomes
    assert {name: batch.to_pylist() for name, batch in here.batches.items()} == {
        name: batch.to_pylist() for name, batch in there.batches.items()
    }


@pytest.mark.parametrize("start", [build_preparer, lambda config: WorkerPool(config, PoolConfig(workers=1)).start()])
def test_a_wrong_rule_file_fails_the_start(start: Callable[[PreparerConfig], object], tmp_path: Path) -> None:
    """With the same sentence, wherever the file is read."""
    registry = tmp_path / "registry.yaml"
    registry.write_text("teams: 7\n")
    config = PreparerConfig(folder=tmp_path, registry=registry)
    with pytest.raises(ConfigError) as expected:
        build_preparer(config)
    with pytest.raises(ConfigError) as found:
        start(config)
    assert str(expected.value) == str(found.value)


def test_errors_are_the_headgate_errors_that_were_raised(preparer: Preparer) -> None:
    """So that both servers answer them alike."""
    (outcome,) = preparer.prepare([exported(b"{", encoding="json")]).outcomes
    assert isinstance(outcome, HeadgateError)
    assert "JSON" in str(outcome)
