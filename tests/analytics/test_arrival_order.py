import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate_analytics import DeriveConfig, Deriver
from headgate_analytics.runner import InProcess, ProcessPool
from headgate_processors.enrich.price import PriceBook
from headgate_processors.otlp.port import Signal

RECORDINGS = (
    "claude-code/handoff",
    "pydantic-ai/multi_step+killed",
    "openai-agents-genai/multi_step+multiturn",
    "langgraph-openinference/handoff",
    "agent-framework/multi_step",
    "autogen/handoff",
    "mcp/loop",
    "openai-genai/multi_step",
)
_LAYERS = {
    Signal.TRACES: ("resourceSpans", "scopeSpans", "spans"),
    Signal.LOGS: ("resourceLogs", "scopeLogs", "logRecords"),
}


def _single_records(signal: Signal, request: dict[str, Any]) -> Iterator[tuple[Signal, dict[str, Any]]]:
    groups, scopes, records = _LAYERS[signal]
    for group in request.get(groups, []):
        for scope in group.get(scopes, []):
            for record in scope.get(records, []):
                yield signal, {groups: [group | {scopes: [scope | {records: [record]}]}]}


def _joined(requests: list[tuple[Signal, dict[str, Any]]]) -> Iterator[tuple[Signal, dict[str, Any]]]:
    """One request per signal, and a second one for what is resent: equal events in one request are two events."""
    first = list({id(request): (signal, request) for signal, request in requests}.values())
    again = [item for number, item in enumerate(requests) if any(item[1] is seen[1] for seen in requests[:number])]
    for part in (first, again):
        for signal, (groups, _, _) in _LAYERS.items():
            merged = [group for kind, request in part if kind is signal for group in request[groups]]
            if merged:
                yield signal, {groups: merged}


@pytest.mark.slow
@settings(max_examples=16)
@given(data=st.data())
def test_any_arrival_gives_the_same_tables(
    data: st.DataObject, make_workbench: Callable[[], Any], recording: Callable[[str], Any]
) -> None:
    """Shuffled, doubled, cut otherwise, split over two receivers, derived at any moment by any process: the same."""
    name = data.draw(st.sampled_from(RECORDINGS))
    original = [item for item in recording(name) if item[0] is not Signal.METRICS]
    straight = make_workbench()
    straight.ingest(original)
    straight.derive()

    rng = random.Random(data.draw(st.integers(0, 2**32)))
    records = [single for signal, request in original for single in _single_records(signal, request)]
    records += rng.sample(records, len(records) // 3)
    rng.shuffle(records)
    crooked = make_workbench()
    for part, writer in zip(_cut(records, rng, 4), ("left", "right", "left", "right"), strict=True):
        crooked.ingest(list(_joined(part)), writer=writer)
        if rng.random() < 0.3:
            crooked.restart()
        if rng.random() < 0.6:
            crooked.derive()
    many = data.draw(st.sampled_from([None, InProcess(), ProcessPool(workers=2)]))
    if many is not None:
        crooked.deriver = Deriver(
            crooked.folder,
            registry=crooked.normaliser.registry,
            prices=PriceBook.load(),
            config=DeriveConfig(bulk_anchors_min=1),
            runner=many,
        )
    crooked.derive()
    if many is not None:
        crooked.deriver.run(full=True)
    assert straight.tables() == crooked.tables()


def _cut(records: list[Any], rng: random.Random, parts: int) -> list[list[Any]]:
    edges = sorted(rng.randrange(len(records) + 1) for _ in range(parts - 1))
    return [records[start:end] for start, end in zip([0, *edges], [*edges, len(records)], strict=True)]


def test_deriving_again_changes_nothing(workbench: Any, recording: Callable[[str], Any]) -> None:
    """A second run over the same files finds nothing to do, and a full rebuild gives the same rows."""
    workbench.ingest(recording("claude-code/handoff"))
    workbench.derive()
    first = workbench.tables()
    assert (0, 0) == ((again := workbench.deriver.run()).files, again.sessions)
    workbench.deriver.run(full=True)
    assert first == workbench.tables()


def test_a_late_root_ends_the_session(workbench: Any, recording: Callable[[str], Any]) -> None:
    """A session runs until its root comes, however late, and the row is restated."""
    [(signal, request), *rest] = [item for item in recording("pydantic-ai/handoff") if item[0] is Signal.TRACES]
    singles = [one for kind, body in [(signal, request), *rest] for one in _single_records(kind, body)]
    roots = [one for one in singles if "parentSpanId" not in one[1]["resourceSpans"][0]["scopeSpans"][0]["spans"][0]]
    others = [one for one in singles if one not in roots]
    workbench.ingest(others)
    workbench.derive()
    assert [{"state": "running"}] == workbench.query("SELECT state FROM sessions")
    workbench.ingest(roots)
    workbench.derive()
    assert [{"state": "done"}] == workbench.query("SELECT state FROM sessions")
