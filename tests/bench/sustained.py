"""Headgate as it runs, under load for some time: what it takes, what it costs, when a span can be seen."""

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from figures import Figure, Section
from fleet import COLLECTOR, collector_before, headgate_up, sink, wait_until_passed_on
from loads import UNFILTERED
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from processes import Watch, below, part_of

from headgate_console.queries.opening import open_views
from headgate_console.settings import load_settings
from headgate_processors.errors import StoreError

SENDER = Path(__file__).parent / "sender.py"
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PROBE_S = 1.0
GIVE_UP_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One way to run: how long, through what, in requests of what size, at which rate, deriving sessions or not."""

    name: str
    seconds: float
    is_sdk: bool = False
    through_collector: bool = False
    is_derived: bool = True
    rate: float = 0.0
    probes: bool = True

    @property
    def in_flight(self) -> int:
        """Requests under way at once: few Collectors, or many SDKs."""
        return 64 if self.is_sdk else 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to. `missing` counts spans that were acknowledged and are not in the store, or twice."""

    run: Run
    sent: Mapping[str, Any]
    cpu_s: Mapping[str, float]
    rss_bytes: Sequence[Mapping[str, int]]
    visible_ms: Sequence[float]
    missing: int
    stored: int

    @property
    def rate(self) -> float:
        """Acknowledged spans a second."""
        return float(self.sent["spans"] / self.sent["seconds"])


def run_once(run: Run, folder: Path) -> Outcome:
    """Start everything, send, end everything, count what is stored."""
    data = folder / f"run-{run.name}"
    with ExitStack() as stack:
        headgate = stack.enter_context(headgate_up(data))
        address, roots = headgate.listeners["otlp-grpc"], [headgate.process.pid]
        drained: Callable[[], None] = lambda: None  # noqa: E731 - nothing stands between
        if run.through_collector:
            collector = stack.enter_context(collector_before(address, folder))
            address = collector.listeners["otlp-grpc"]
            roots.append(collector.process.pid)
            drained = partial(wait_until_passed_on, collector)
        if not run.is_derived:
            stack.enter_context(_held(headgate.process.pid, "deriver"))
        sent, watch, visible_ms = _load(run, address, roots, data, drained)
    stored, distinct = _stored(data)
    expected = int(sent["spans"]) + len(visible_ms)
    return Outcome(
        run=run,
        sent=sent,
        cpu_s=watch.cpu_s,
        rss_bytes=watch.rss_bytes,
        visible_ms=visible_ms,
        missing=abs(expected - stored) + stored - distinct,
        stored=stored,
    )


def _load(
    run: Run, address: str, roots: list[int], data: Path, drained: Callable[[], None] = lambda: None
) -> tuple[dict[str, Any], Watch, list[float]]:
    """Send, and watch until nothing is under way any more; `passed_on_s` is how long that took."""
    command = [sys.executable, str(SENDER), "--endpoint", f"grpc://{address}", "--seconds", str(run.seconds)]
    command += ["--in-flight", str(run.in_flight), "--rate", str(run.rate)] + (["--sdk"] if run.is_sdk else [])
    command += ["--mix", json.dumps(dict(UNFILTERED))] if run.through_collector else []
    sender = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert sender.stdout is not None
    sender.stdout.readline()
    probes = Probes(address, data) if run.probes else None
    with Watch([*roots, sender.pid]) as watch:
        if probes is not None:
            probes.start()
        began_s = time.monotonic()
        told = json.loads(sender.stdout.readline())
        drained()
        told["passed_on_s"] = time.monotonic() - began_s
    sender.wait()
    visible_ms = probes.stop() if probes is not None else []
    return told, watch, visible_ms


@contextmanager
def _held(root: int, part: str) -> Iterator[None]:
    """One part stands still; it goes on at the end, so that it can drain."""
    held = [pid for pid in below(root) if part_of(pid) == part]
    for pid in held:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in held:
            os.kill(pid, signal.SIGCONT)


def _stored(data: Path) -> tuple[int, int]:
    with open_views(load_settings({"data": data}).settings) as views:
        row = views.execute("SELECT count(*), count(DISTINCT record_id) FROM spans").fetchone()
    assert row is not None
    return row


class Probes:
    """Sends a span each second, and asks the query side for it from its acknowledgement on."""

    def __init__(self, address: str, data: Path) -> None:
        self._settings = load_settings({"data": data}).settings
        self._channel = grpc.insecure_channel(address)
        self._export = self._channel.unary_unary(EXPORT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._visible_ms: list[float] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> list[float]:
        """End; gives the milliseconds from each acknowledgement to the answer that held the span."""
        self._stop.set()
        self._thread.join()
        self._channel.close()
        return self._visible_ms

    def _run(self) -> None:
        while not self._stop.wait(PROBE_S):
            trace_id = os.urandom(16)
            if self._acknowledged(trace_id):
                began_s = time.monotonic()
                while not self._is_visible(trace_id.hex()) and time.monotonic() - began_s < GIVE_UP_S:
                    pass
                self._visible_ms.append((time.monotonic() - began_s) * 1e3)

    def _acknowledged(self, trace_id: bytes) -> bool:
        request = ExportTraceServiceRequest()
        span = request.resource_spans.add().scope_spans.add().spans.add()
        span.trace_id, span.span_id, span.name = trace_id, os.urandom(8), "probe"
        span.start_time_unix_nano = time.time_ns() - 1000
        span.end_time_unix_nano = span.start_time_unix_nano + 1000
        while not self._stop.is_set():
            try:
                self._export(request.SerializeToString(), timeout=30)
            except grpc.RpcError:
                time.sleep(0.1)
            else:
                return True
        return False

    def _is_visible(self, trace_id: str) -> bool:
        try:
            with open_views(self._settings) as views:
                row = views.execute("SELECT count(*) FROM spans WHERE trace_id = ?", [trace_id]).fetchone()
        except StoreError:
            return False
        return row is not None and row[0] == 1


def bare_cpu(kind: str, *, is_sdk: bool, seconds: float, folder: Path) -> Outcome:
    """The same load into a sink that only answers."""
    run = Run(name=f"sink-{kind}", seconds=seconds, is_sdk=is_sdk, probes=False)
    with sink(kind) as running:
        sent, watch, _ = _load(run, running.listeners["otlp-grpc"], [running.process.pid], folder)
    cpu_s = {"sink": sum(cpu for part, cpu in watch.cpu_s.items() if part != "sender")}
    return Outcome(run=run, sent=sent, cpu_s=cpu_s, rss_bytes=watch.rss_bytes, visible_ms=[], missing=0, stored=0)


def shown_sinks(sinks: Mapping[tuple[str, bool], Outcome]) -> Section:
    """What it costs to receive, next to the least that it could cost."""
    figures = []
    for is_sdk in (False, True):
        size = "SDKs'" if is_sdk else "512 records"
        bare, ours = (_each_us(sinks[kind, is_sdk], "sink") for kind in ("bare", "ours"))
        figures += [
            Figure(what=f"baseline: bare gRPC sink, {size}", value=bare, unit="µs", baseline=bare),
            Figure(what=f"gRPC receive by Headgate's server, {size}", value=ours, unit="µs", baseline=bare),
        ]
    return Section(
        title="CPU to receive a span",
        text=(
            "Processes of their own that take the load over gRPC and answer without looking at it, in microseconds of "
            "CPU for each span: grpcio with a handler that returns, and Headgate's server before an empty pipeline. "
            "Requests are as a Collector sends them (512 records), or as SDKs do."
        ),
        figures=figures,
    )


def shown_run(outcome: Outcome, bare: float | None) -> Section:
    """One run as figures; `bare` is the rate at which a bare sink takes the same load."""
    run, sent = outcome.run, outcome.sent
    figures = [
        Figure(what="acknowledged", value=outcome.rate, unit="spans/s", baseline=bare, note="baseline: bare gRPC sink"),
        *_passed_on(outcome),
        Figure(what="  and log records", value=sent["logs"] / sent["seconds"], unit="records/s"),
        Figure(what="  bytes of OTLP", value=sent["body_bytes"] / sent["seconds"] / 1e6, unit="MB/s"),
        *_evenness(sent["every_second"]),
        Figure(what="refused for the moment and sent again", value=sent["retries"], unit="requests"),
        Figure(what="refused for good", value=sent["failed"] + sent["rejected"], unit="requests and records"),
        Figure(what="acknowledged and missing, or there twice", value=outcome.missing, unit="spans"),
    ]
    if outcome.visible_ms:
        figures += [
            Figure(what=f"acknowledged to visible in spans, {name}", value=_quantile(outcome.visible_ms, at), unit="ms")
            for name, at in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
        ]
    cpu = {part: seconds for part, seconds in outcome.cpu_s.items() if part != "gone"}
    figures.append(Figure(what="CPU of everything but the sender", value=_all_us(outcome), unit="µs/span"))
    figures += [
        Figure(what=f"  {part}", value=seconds / sent["spans"] * 1e6, unit="µs/span")
        for part, seconds in sorted(cpu.items(), key=lambda item: -item[1])
    ]
    figures += _memory(outcome)
    return Section(title=_title(run), text=_text(run), figures=figures)


def _title(run: Run) -> str:
    through = "through the Collector" if run.through_collector else "the receiver alone"
    derived = "" if run.is_derived else ", sessions not derived"
    return f"Durable ingest, {through}, {'requests of SDKs' if run.is_sdk else 'requests of 512 records'}{derived}"


def _text(run: Run) -> str:
    pace = (
        f"held to {run.rate:,.0f} spans a second"
        if run.rate
        else f"as fast as it is acknowledged, {run.in_flight} under way"
    )
    text = f"`headgate up` as it is installed, {run.seconds:,.0f} s, {pace}; the sender runs on the same machine."
    if run.through_collector:
        text += " `local.yaml` acknowledges from its queue on disk; without Codex, whose noise its filter drops."
    if not run.is_derived:
        text += " The deriver's process stands still meanwhile."
    return text


def _each_us(outcome: Outcome, part: str) -> float:
    return float(outcome.cpu_s[part] / outcome.sent["spans"] * 1e6)


def _all_us(outcome: Outcome) -> float:
    ours = sum(seconds for part, seconds in outcome.cpu_s.items() if part != "sender")
    return float(ours / outcome.sent["spans"] * 1e6)


def _evenness(every_second: Sequence[int]) -> list[Figure]:
    """The rate of the first and the last minute, or third of a shorter run."""
    length = min(60, len(every_second) // 3)
    if length < 3:
        return []
    first = (every_second[length - 1] - every_second[0]) / (length - 1)
    last = (every_second[-1] - every_second[-length]) / (length - 1)
    return [
        Figure(what=f"  in the first {length} s", value=first, unit="spans/s"),
        Figure(what=f"  in the last {length} s", value=last, unit="spans/s"),
    ]


def _passed_on(outcome: Outcome) -> list[Figure]:
    if not outcome.run.through_collector:
        return []
    rate = outcome.sent["spans"] / outcome.sent["passed_on_s"]
    return [Figure(what="passed on by the Collector and stored", value=rate, unit="spans/s")]


def _memory(outcome: Outcome) -> list[Figure]:
    """Resident memory of all parts but the sender: at the beginning, the end, and at most."""
    totals = [sum(size for part, size in one.items() if part != "sender") for one in outcome.rss_bytes]
    length = max(1, min(60, len(totals) // 3))
    first, last = (statistics.mean(part) / 2**20 for part in (totals[:length], totals[-length:]))
    return [
        Figure(what=f"memory, mean of the first {length} s", value=first, unit="MiB"),
        Figure(what=f"memory, mean of the last {length} s", value=last, unit="MiB"),
        Figure(what="memory, most", value=max(totals) / 2**20, unit="MiB"),
    ]


def _quantile(values: Sequence[float], at: float) -> float:
    listed = sorted(values)
    return listed[min(len(listed) - 1, int(at * len(listed)))]


def has_collector() -> bool:
    """Whether the Collector was built here."""
    return COLLECTOR.exists()
