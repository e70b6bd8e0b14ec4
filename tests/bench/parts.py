"""What each part of the span path costs in CPU, one after the other in one process, and the least it could cost."""

import signal as signals
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from figures import Figure, Section
from loads import Encoded

from headgate_console.settings import load_settings
from headgate_console.wiring import open_deriver, preparer_config
from headgate_processors.otlp import decode
from headgate_processors.receiver.port import CLIENT
from headgate_processors.replay.convert import LEVELS, REQUESTS, records_of
from headgate_processors.replay.requests import ReplayRequest
from headgate_processors.store import Store, StoreConfig, compact
from headgate_processors.workers import ExportRequest
from headgate_processors.workers.build import build_preparer

GROUP_RECORDS = 512
SAMPLE_S = 0.001
# The innermost module of ours on the stack decides the pass; the first that fits counts.
PASSES = {
    "headgate_processors.otlp": "decode",
    "headgate_processors.dialects.predicate": "tell the dialect",
    "headgate_processors.dialects.table": "tell the dialect",
    "headgate_processors.dialects.content": "content: messages, tools, hashes",
    "headgate_processors.dialects.messages": "content: messages, tools, hashes",
    "headgate_processors.dialects.normalise": "rows and columns",
    "headgate_processors.dialects.columns": "rows and columns",
    "headgate_processors.dialects.records": "rows and columns",
    "headgate_processors.dialects": "meaning of attributes",
    "headgate_processors.enrich.redact": "redaction",
    "headgate_processors.enrich._secrets": "redaction",
    "headgate_processors.enrich.canonical": "content: messages, tools, hashes",
    "headgate_processors.enrich.hashing": "content: messages, tools, hashes",
    "headgate_processors.enrich.identity": "identity",
    "headgate_processors.enrich": "actions of tool calls",
}


class Passes:
    """Samples which pass this thread is in, each millisecond of CPU that it uses."""

    def __init__(self) -> None:
        self.samples: Counter[str] = Counter()

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Sample for as long as the context lasts; only on the main thread."""
        before = signals.signal(signals.SIGPROF, self._sample)
        signals.setitimer(signals.ITIMER_PROF, SAMPLE_S, SAMPLE_S)
        try:
            yield
        finally:
            signals.setitimer(signals.ITIMER_PROF, 0)
            signals.signal(signals.SIGPROF, before)

    def shares(self) -> dict[str, float]:
        """The share of each pass, largest first."""
        total = sum(self.samples.values()) or 1
        return {name: count / total for name, count in self.samples.most_common()}

    def _sample(self, _: int, frame: FrameType | None) -> None:
        while frame is not None:
            module = frame.f_globals.get("__name__", "")
            for prefix, name in PASSES.items():
                if module == prefix or module.startswith(f"{prefix}."):
                    self.samples[name] += 1
                    return
            frame = frame.f_back
        self.samples["the rest"] += 1


def measure_parts(load: Encoded, folder: Path) -> tuple[Section, float]:
    """CPU of each part for each span; and the share of spans with content."""
    spans = load.spans
    settings = load_settings({"data": folder / "parts"}).settings
    thrown = _cpu(lambda: [_parsed(request) for request in load.requests]) / spans * 1e6
    decoding = _cpu(lambda: [_decoded(request) for request in load.requests]) / spans * 1e6
    preparer = build_preparer(preparer_config(settings))
    groups = list(_groups(load.requests))
    preparer.prepare(groups[0])
    passes = Passes()
    with passes.sampling():
        began = time.process_time()
        prepared = [preparer.prepare(group).batches for group in groups]
        preparing = (time.process_time() - began) / spans * 1e6
    figures = [
        Figure(what="baseline: protobuf parsed to a list", value=thrown, unit="µs", baseline=thrown),
        Figure(what="decode alone, request by request", value=decoding, unit="µs", baseline=thrown),
        Figure(what="decode and normalise, in groups", value=preparing, unit="µs", baseline=thrown),
    ]
    figures += [
        Figure(what=f"  {name}", value=share * preparing, unit="µs", baseline=thrown)
        for name, share in passes.shares().items()
    ]
    with Store.open(settings.data, config=_quiet()) as store:
        committing = _cpu(lambda: [store.append(batches) for batches in prepared]) / spans * 1e6
        sealing = _cpu(store.seal) / spans * 1e6
    compacting = _cpu(lambda: compact(settings.data)) / spans * 1e6
    with open_deriver(settings) as deriver:
        deriving = _cpu(deriver.run) / spans * 1e6
    for what, value in (("commit: repeats, segment, fsync", committing), ("seal: Parquet", sealing)):
        figures.append(Figure(what=what, value=value, unit="µs", baseline=thrown))
    figures.append(Figure(what="compaction, all files once", value=compacting, unit="µs", baseline=thrown))
    figures.append(Figure(what="derive sessions, calls, timelines", value=deriving, unit="µs", baseline=thrown))
    owners = {text for batches in prepared if "content" in batches for text in _owners(batches)}
    section = Section(
        title="CPU for each span, part by part",
        text=(
            "In one process, one part after the other, in microseconds of CPU for each span. The passes of decode and "
            f"normalise are told apart by sampling the stack every millisecond of CPU; groups are of {GROUP_RECORDS} "
            "records, as they form under load. The baseline parses the same bytes with protobuf and throws them away."
        ),
        figures=figures,
    )
    return section, len(owners) / spans


def _owners(batches: dict[str, object]) -> list[str]:
    content = batches["content"]
    signal, record_id = content.column("signal").to_pylist(), content.column("record_id").to_pylist()  # type: ignore[attr-defined]
    return [text[:48] for text, one in zip(record_id, signal, strict=True) if one == "traces"]


def _quiet() -> StoreConfig:
    """Nothing is sealed or compacted by itself."""
    return StoreConfig(seal_interval_s=3600, seal_bytes=1 << 40, unsealed_bytes_max=1 << 40, compact_interval_s=0)


def _cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _parsed(request: ReplayRequest) -> None:
    message = REQUESTS[request.signal].FromString(request.body)
    assert LEVELS[request.signal]
    records_of(message, request.signal, at_most=1 << 30)


def _decoded(request: ReplayRequest) -> None:
    decode(request.body, signal=request.signal, encoding=request.encoding)


def _groups(requests: Sequence[ReplayRequest]) -> Iterator[list[ExportRequest]]:
    group: list[ExportRequest] = []
    records = 0
    for request in requests:
        message = REQUESTS[request.signal].FromString(request.body)
        records += len(records_of(message, request.signal, at_most=1 << 30))
        group.append(
            ExportRequest(
                body=request.body,
                signal=request.signal,
                encoding=request.encoding,
                sender=CLIENT,
                received_unix_nano=time.time_ns(),
            )
        )
        if records >= GROUP_RECORDS:
            yield group
            group, records = [], 0
    if group:
        yield group
