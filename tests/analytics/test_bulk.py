"""Many sessions at once: the same tables as few at a time, live in one step, on any runner."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headgate_analytics import DeriveConfig, Deriver
from headgate_analytics.runner import InProcess, ProcessPool, Runner
from headgate_processors.enrich.price import PriceBook
from headgate_processors.otlp.port import Signal
from headgate_processors.store import compact
from headgate_processors.store.layout import SPILL
from headgate_processors.store.manifest import read_manifest

pytestmark = pytest.mark.slow

RECORDINGS = ("claude-code/handoff", "mcp/loop", "autogen/handoff")


def _many(workbench: Any, runner: Runner | None = None) -> Deriver:
    """A deriver of another process for which any number of sessions is many."""
    return Deriver(
        workbench.folder,
        registry=workbench.normaliser.registry,
        prices=PriceBook.load(),
        config=DeriveConfig(bulk_anchors_min=1),
        runner=runner or InProcess(),
    )


def _ingest(workbench: Any, recording: Callable[[str], Any]) -> None:
    for name in RECORDINGS:
        workbench.ingest([item for item in recording(name) if item[0] is not Signal.METRICS])


@pytest.mark.parametrize(
    "runner",
    [InProcess(), pytest.param(ProcessPool(workers=2), marks=pytest.mark.slow)],
    ids=["in process", "pool"],
)
def test_many_at_once_give_the_tables_of_few_at_a_time(
    runner: Runner, make_workbench: Callable[[], Any], recording: Callable[[str], Any]
) -> None:
    """Real agents with traces, with logs only, with content: every row, whatever ran it, also when run again."""
    few, many = make_workbench(), make_workbench()
    _ingest(few, recording)
    _ingest(many, recording)
    few.derive()
    expected = few.tables()
    seen: list[tuple[int, int]] = []
    total = _many(many, runner).run(report=lambda done, of: seen.append((done, of))).sessions
    assert (total, total) == seen[-1]
    assert expected == many.tables()
    _many(many, runner).run(full=True)
    assert expected == many.tables()
    compact(many.folder)
    assert expected == many.tables()


def test_a_rebuild_replaces_all_derived_files(workbench: Any, turn: Callable[..., Any]) -> None:
    """One file for each table is left, settled, so that no question has to compare revisions."""
    for number in range(3):
        workbench.ingest([turn(number, key="thread-1", at_unix_nano=10**18 + number)])
        workbench.derive()
    _many(workbench).run(full=True)
    derived = [file for file in read_manifest(workbench.folder).files if file.derived]
    assert ["model_calls", "sessions", "timeline", "tool_calls", "usage_records"] == sorted(
        file.dataset for file in derived
    )
    assert {True} == {file.settled for file in derived}
    assert [{"n": 3}] == workbench.query("SELECT trace_count AS n FROM sessions")


@pytest.mark.slow
def test_a_rebuild_that_was_killed_changes_nothing(workbench: Any, turn: Callable[..., Any]) -> None:
    """The tables of before stand until the end, and the next run clears what was left and does all of it."""
    workbench.ingest([turn(number, key=f"thread-{number}", at_unix_nano=10**18) for number in range(3)])
    workbench.derive()
    before = workbench.query("SELECT session_id, revision FROM sessions ORDER BY ALL")
    left = Path(workbench.folder) / SPILL / "left"

    def killed(done: int, total: int) -> None:
        if done == total:
            left.mkdir(parents=True)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _many(workbench).run(full=True, report=killed)
    assert before == workbench.query("SELECT session_id, revision FROM sessions ORDER BY ALL")
    assert 3 == _many(workbench).run(full=True).sessions
    assert not left.exists()
    assert [{"revision": 2}] == workbench.query("SELECT DISTINCT revision FROM sessions")


def test_what_came_since_joins_what_many_gave(workbench: Any, turn: Callable[..., Any]) -> None:
    """A name that comes later hides the session of the trace, also when it comes in bulk."""
    workbench.ingest([turn(number, at_unix_nano=10**18 + number, rooted=False) for number in range(3)])
    deriver = _many(workbench)
    deriver.run()
    workbench.ingest([turn(number, key="thread-1", at_unix_nano=10**18 + number) for number in range(2)])
    assert 2 == deriver.run().removed
    assert [("thread-1", 2), (f"{3:032x}", 1)] == [
        (row["source_key"], row["trace_count"])
        for row in workbench.query("SELECT source_key, trace_count FROM sessions ORDER BY trace_count DESC")
    ]
