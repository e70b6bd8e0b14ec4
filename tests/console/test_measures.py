"""Every metric that is documented is measured by some process, and no other is."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headgate_console.serve.measures import unready, watch_receiver
from headgate_console.serve.supervisor import Supervisor
from headgate_console.serve.up import supervisor_meter
from headgate_console.serve.uses import process_use
from headgate_console.settings import Settings
from headgate_console.wiring import build_intake, open_store, preparer_config
from headgate_processors.errors import OverloadError
from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.config import ReceiverConfig
from headgate_processors.receiver.port import CLIENT
from headgate_processors.receiver.server import Receiver
from headgate_processors.store import Store
from headgate_processors.telemetry import Meter
from headgate_processors.telemetry.definition import PARTS, RECEIVER, STORE, WORKERS
from headgate_processors.testing.http import PROTOBUF, request
from headgate_processors.testing.otlp import joined, to_protobuf, traces_request
from headgate_processors.workers import WorkerPool, build_preparer


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a store of its own, which never seals by itself."""
    return Settings(data=tmp_path / "store", store={"seal_interval": 600, "compact_interval": 0})


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """Its store."""
    with closing(open_store(settings)) as opened:
        yield opened


def _measured(text: str) -> set[str]:
    return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}


def _body() -> Any:
    bad = traces_request([{"name": "bad", "span_id": "0" * 15 + "9"}])
    bad.resource_spans[0].scope_spans[0].spans[0].trace_id = bytes(16)
    good = traces_request([{"name": name, "span_id": f"{number:016x}"} for number, name in enumerate("ab", 1)])
    return to_protobuf(joined(good, bad))


def test_the_receiver_measures_what_is_documented_of_it(settings: Settings, store: Store) -> None:
    """Queue, workers, store and disk; its counters and times come with requests."""
    meter = Meter("test")
    pool = WorkerPool(preparer_config(settings))
    intake = build_intake(settings, store, build_preparer(preparer_config(settings)), meter=meter)
    watch_receiver(meter, store=store, preparer=pool, pipeline=intake.ingest, folder=settings.data)
    intake.ingest(_body(), signal=Signal.TRACES, encoding="protobuf", sender=CLIENT)
    labelled = {name for name, metric in (RECEIVER | WORKERS | STORE).items() if metric.labels}
    unseen = labelled - {"headgate_store_rows_appended_total", "headgate_receiver_dead_letters_total"}
    assert set(RECEIVER | WORKERS | STORE) - unseen == _measured(meter.prometheus())


def test_records_add_up_through_the_whole_receiver(settings: Settings, store: Store) -> None:
    """Received is stored and duplicate and rejected, when requests are sent again and some records are bad."""
    meter = Meter("test")
    intake = build_intake(settings, store, meter=meter)
    receiver = Receiver(
        intake.ingest,
        config=ReceiverConfig(grpc=None, http="127.0.0.1:0"),
        counters=intake.counters,
        dead_letters=intake.letters,
    )
    address = receiver.start()["http"]
    for _ in range(2):
        assert 200 == request(address, "POST", "/v1/traces", _body(), content_type=PROTOBUF).status
    receiver.drain(5)
    counts = {
        part: intake.counters.value(f"headgate_receiver_records_{part}_total")
        for part in ("received", "stored", "duplicate", "rejected")
    }
    assert {"received": 6, "stored": 2, "duplicate": 2, "rejected": 2} == counts
    assert 2 == intake.counters.value("headgate_receiver_records_rejected_total", reason="zero_id")
    assert 2 == intake.counters.value("headgate_receiver_dead_letters_total", reason="zero_id")
    assert "headgate_store_commit_seconds_count 2" in meter.prometheus()


def test_what_a_sender_may_not_say_is_counted(settings: Settings, store: Store) -> None:
    """It is dropped without an error, so this is how anybody comes to know of it."""
    meter = Meter("test")
    intake = build_intake(settings, store, meter=meter)
    spans = [{"name": "a", "attributes": {"headgate.decision_id": "d"}}]
    body = to_protobuf(traces_request(spans, resource={"service.name": "x"}))
    receiver = Receiver(intake.ingest, config=ReceiverConfig(grpc=None, http="127.0.0.1:0"), counters=intake.counters)
    address = receiver.start()["http"]
    assert 200 == request(address, "POST", "/v1/traces", body, content_type=PROTOBUF).status
    receiver.drain(5)
    assert 'headgate_receiver_forged_total{signal="traces"} 1' in meter.prometheus()


def test_a_disk_that_is_nearly_full_is_told_by_readiness(tmp_path: Path) -> None:
    """With the store's own words, and how much is free on /metrics."""
    full = Settings(data=tmp_path / "full", store={"disk_free_min": "100%"})
    meter = Meter("test")
    with closing(open_store(full)) as store:
        preparer = build_preparer(preparer_config(full))
        intake = build_intake(full, store, preparer, meter=meter)
        watch_receiver(meter, store=store, preparer=preparer, pipeline=intake.ingest, folder=full.data)
        with pytest.raises(OverloadError):
            intake.ingest(_body(), signal=Signal.TRACES, encoding="protobuf", sender=CLIENT)
        assert "nearly full" in str(unready(store, preparer))
    told = meter.prometheus().splitlines()
    assert {"headgate_store_overloads_total 1", "headgate_store_disk_refusals_total 1"} <= set(told)


def test_the_supervisor_measures_its_parts() -> None:
    """Whatever a part is, and although none runs."""
    supervisor = Supervisor([], {}, out=print, say=print)
    assert set() == _measured(supervisor_meter(supervisor).prometheus()) - set(PARTS)


def test_a_process_is_known_by_what_it_uses() -> None:
    """Of a process that is gone nothing is told."""
    own = process_use(os.getpid())
    assert own is not None
    assert own.memory_bytes > 0
    assert process_use(2**22 + 1) is None


def test_a_receiver_without_workers_or_room_is_not_ready(settings: Settings, store: Store) -> None:
    """And one that has both is."""
    preparer = build_preparer(preparer_config(settings))
    assert unready(store, preparer) is None
    assert "no decode worker runs" in str(unready(store, WorkerPool(preparer_config(settings))))
    store._seal_error = "disk failed"
    assert "rows cannot be sealed: disk failed" == unready(store, preparer)
