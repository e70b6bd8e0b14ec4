"""The load that everything is measured with, and what is in it."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import zstandard
from figures import Figure, Section

from headgate_processors.generate import Load, PlanConfig, compiled, read_sessions
from headgate_processors.generate.load import build_plan
from headgate_processors.otlp.port import Signal
from headgate_processors.replay.requests import ReplayRequest

COLLECTOR_SIZE = 512
# The filter of the Collector drops nine of ten of its spans on purpose.
UNFILTERED: Mapping[str, float] = {"codex": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Requests with the number of spans and records in them, and what making them cost."""

    requests: Sequence[ReplayRequest]
    spans: int
    records: int
    body_bytes: int
    cpu_s: float


def encoded(spans: int, *, request_records: int | None, seed: int = 1) -> Encoded:
    """So many spans as requests, as of now."""
    plan = build_plan(PlanConfig(seed=seed, spans=spans), [compiled(session) for session in read_sessions()])
    load = Load(plan, lambda _: time.time_ns(), request_records)
    began = time.process_time()
    requests = list(load)
    made = load.made
    return Encoded(
        requests=requests,
        spans=made.spans,
        records=made.spans + made.logs,
        body_bytes=made.bytes,
        cpu_s=time.process_time() - began,
    )


def described(load: Encoded, content_share: float) -> Section:
    """What the load is made of."""
    sizes = Counter(request.signal for request in load.requests)
    whole = b"".join(request.body for request in load.requests)
    logs = load.records - load.spans
    agents = len({session.agent for session in read_sessions()})
    ratio = len(whole) / len(zstandard.ZstdCompressor(level=1).compress(whole))
    span_bytes = sum(len(request.body) for request in load.requests if request.signal is Signal.TRACES)
    return Section(
        title="The load",
        text=(
            "Sessions as `headgate generate` makes them: sizes, shapes and spacing are those that agents of "
            f"{agents} set-ups sent, ids, keys, times, claims and words are made anew. Spans are sent with the "
            "log records that belong to them; figures are per span, and the logs are worked for too."
        ),
        figures=[
            Figure(what="size of a span", value=span_bytes / load.spans, unit="bytes", note="in OTLP protobuf"),
            Figure(what="spans with content", value=100 * content_share, unit="%", note="messages, arguments, results"),
            Figure(what="log records for each span", value=logs / load.spans, unit=""),
            Figure(what="records in a request of an SDK", value=load.records / len(load.requests), unit=""),
            Figure(what="requests with traces", value=sizes[Signal.TRACES], unit=""),
            Figure(what="compressed by zstd -1", value=ratio, unit="times", note="how alike sessions are"),
            Figure(what="to make a span", value=load.cpu_s / load.spans * 1e6, unit="µs CPU", note="the sender's part"),
        ],
    )
