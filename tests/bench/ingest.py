"""Measures what the span path costs, next to the least that a durable receiver could do, in the same run.

    python tests/bench/ingest.py [--copies N]

The load is what real agents sent (the demo's recordings), N times over as sessions of their own. Everything
runs on one machine, so senders take their share of it too.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from headgate_console.ingest import ingest_requests
from headgate_console.queries.sessions import SessionFilter, list_sessions
from headgate_console.settings import Settings, load_settings
from headgate_console.wiring import build_intake, build_receiver, open_deriver, open_store, open_views
from headgate_processors.replay.convert import REQUESTS, to_protobuf
from headgate_processors.replay.requests import ReplayRequest
from headgate_processors.replay.sender import SendConfig, send
from headgate_processors.replay.suffix import read_suffixed

FSYNC_GROUP = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One figure: what was done how often in which time."""

    what: str
    number: int
    unit: str
    seconds: float

    @property
    def each_us(self) -> float:
        """Microseconds for each."""
        return self.seconds / max(self.number, 1) * 1e6


def load(copies: int) -> list[ReplayRequest]:
    """The requests of the demo's recordings in protobuf, each copy as other sessions."""
    with resources.as_file(resources.files("headgate_console.demo") / "recordings") as folder:
        items = [item for copy in range(copies) for item in read_suffixed([folder], f"copy {copy}")]
    requests = [item for item in items if isinstance(item, ReplayRequest)]
    return [
        replace(item, body=to_protobuf(item.body, signal=item.signal, encoding=item.encoding), encoding="protobuf")
        for item in requests
    ]


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def keep_bytes(requests: Iterable[ReplayRequest], path: Path) -> None:
    """The baseline: parse each request, append its bytes to a file, an fsync for every few of them."""
    with path.open("ab") as file:
        for number, request in enumerate(requests, 1):
            REQUESTS[request.signal].FromString(request.body)
            file.write(request.body)
            if number % FSYNC_GROUP == 0:
                file.flush()
                os.fsync(file.fileno())


def measure(requests: Sequence[ReplayRequest], folder: Path) -> list[Measured]:
    """Every figure, the baseline first."""
    here, over_grpc = _settings(folder / "here"), _settings(folder / "grpc")
    baseline = timed(lambda: keep_bytes(requests, folder / "baseline"))
    with closing(open_store(here)) as store:
        intake = build_intake(here, store)
        started = time.perf_counter()
        report = ingest_requests(requests, intake.ingest)
        ingested = time.perf_counter() - started
    with closing(open_store(over_grpc)) as store:
        receiver = build_receiver(over_grpc, build_intake(over_grpc, store))
        endpoint = f"grpc://{receiver.start()['grpc']}"
        sent = timed(lambda: send(requests, endpoint, config=SendConfig(in_flight=FSYNC_GROUP)))
        receiver.drain(10)
    with open_deriver(here) as deriver:
        started = time.perf_counter()
        derived = deriver.run()
        deriving = time.perf_counter() - started
    with closing(open_views(here)) as views:
        listing = timed(lambda: list_sessions(views, SessionFilter(limit=100)))
    records = report.records
    return [
        Measured(what="baseline: parse, keep the bytes, fsync", number=records, unit="record", seconds=baseline),
        Measured(what="ingest in process, durable", number=records, unit="record", seconds=ingested),
        Measured(what="ingest over gRPC, durable, sender included", number=records, unit="record", seconds=sent),
        Measured(what="derive sessions and calls", number=derived.sessions, unit="session", seconds=deriving),
        Measured(what="list sessions", number=1, unit="query", seconds=listing),
    ]


def _settings(data: Path) -> Settings:
    anywhere = {"receiver.grpc": "127.0.0.1:0", "receiver.http": "127.0.0.1:0"}
    return load_settings({"data": data, **anywhere}).settings


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=20, help="how often the recordings are repeated")
    requests = load(parser.parse_args().copies)
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as folder:
        figures = measure(requests, Path(folder))
    size = sum(len(request.body) for request in requests)
    print(f"{len(requests):,} requests, {figures[0].number:,} records, {size / 1e6:.1f} MB\n")
    print(f"{'WHAT':<44}{'SECONDS':>9}{'µs EACH':>12}{'PER SECOND':>13}{'× BASELINE':>12}")
    for figure in figures:
        ratio = f"{figure.each_us / figures[0].each_us:.1f}" if figure.unit == "record" else ""
        rate = f"{figure.number / figure.seconds:,.0f}"
        print(f"{figure.what:<44}{figure.seconds:>9.3f}{figure.each_us:>12,.1f}{rate:>13}{ratio:>12}")


if __name__ == "__main__":
    main()
