"""The derive job: incremental as if from scratch, killable anywhere, blind to compaction."""

import json
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from headgate_analytics import DeriveConfig, Derived, Deriver
from headgate_analytics.gather import Wanted, pieces, wanted_rows
from headgate_processors.enrich.price import PriceBook
from headgate_processors.errors import StoreError
from headgate_processors.otlp.port import Signal
from headgate_processors.store import compact
from headgate_processors.store.disk import LocalDisk
from headgate_processors.store.manifest import LiveFile, read_manifest, update_manifest
from headgate_processors.store.repair import repair
from headgate_processors.testing.otlp import logs_request, to_json, traces_request

NOW = time.time_ns() // 10**9 * 10**9 - 3_600 * 10**9
SECOND = 10**9

Turn = Callable[..., Any]


def _deriver(workbench: Any, **config: Any) -> Deriver:
    """A deriver of another process: it knows nothing but what is on disk."""
    return Deriver(
        workbench.folder,
        registry=workbench.normaliser.registry,
        prices=PriceBook.load(),
        config=DeriveConfig(**config),
    )


def _sessions(workbench: Any) -> list[dict[str, Any]]:
    query = "SELECT source_key, trace_count, model_call_count, tool_call_count, input_tokens FROM sessions ORDER BY ALL"
    rows: list[dict[str, Any]] = workbench.query(query)
    return rows


def test_each_run_derives_what_came_and_ends_as_if_all_came_at_once(
    make_workbench: Callable[[], Any], turn: Turn
) -> None:
    """Three turns in three runs and in one: the same tables; a session whose turn comes late is restated."""
    turns = [turn(n, key="thread-1" if n else "thread-0", at_unix_nano=NOW + n * 60 * SECOND) for n in range(3)]
    steps, whole = make_workbench(), make_workbench()
    counts = []
    for one in turns:
        steps.ingest([one])
        counts.append(steps.deriver.run().sessions)
    whole.ingest(turns)
    whole.derive()
    assert [1, 1, 1] == counts
    assert whole.tables() == steps.tables()
    assert [("thread-0", 1), ("thread-1", 2)] == [(row["source_key"], row["trace_count"]) for row in _sessions(steps)]


def test_a_run_with_nothing_new_does_nothing(workbench: Any, turn: Turn) -> None:
    """In the same process and in another."""
    workbench.ingest([turn(1, key="thread-1", at_unix_nano=NOW)])
    first = workbench.deriver.run()
    assert (first.sessions, first.revision) == (1, 1)
    for deriver in (workbench.deriver, _deriver(workbench)):
        assert Derived(files=0, sessions=0, removed=0, revision=1) == deriver.run()


@pytest.mark.slow
def test_a_full_run_rebuilds_every_session_and_changes_no_row(workbench: Any, turn: Turn) -> None:
    """All of them under a higher revision, with the same content."""
    workbench.ingest([turn(n, key=f"thread-{n}", at_unix_nano=NOW) for n in range(3)])
    workbench.derive()
    before = workbench.tables()
    assert 3 == _deriver(workbench).run(full=True).sessions
    assert before == workbench.tables()
    assert [{"revision": 2}] == workbench.query("SELECT DISTINCT revision FROM sessions")


def test_a_run_that_was_killed_between_two_writes_is_done_again(workbench: Any, turn: Turn) -> None:
    """Some sessions were written, the rest were not: the next process writes all, and nothing is there twice."""
    workbench.ingest([turn(n, key=f"thread-{n}", at_unix_nano=NOW) for n in range(4)])

    def killed(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _deriver(workbench, anchors_max=1).run(report=killed)
    assert 2 == len(_sessions(workbench))
    assert 4 == _deriver(workbench, anchors_max=1).run().sessions
    assert [1] * 4 == [row["model_call_count"] for row in _sessions(workbench)]
    assert [{"n": 4}] == workbench.query("SELECT count(*) AS n FROM model_calls")


def test_a_run_takes_in_so_many_rows_and_leaves_the_rest_to_the_next(
    make_workbench: Callable[[], Any], turn: Turn
) -> None:
    """What came while nobody derived: one step after the other, each in bounded memory, ends as all at once."""
    turns = [turn(n, key="thread-1" if n else "thread-0", at_unix_nano=NOW + n * 60 * SECOND) for n in range(4)]
    steps, whole = make_workbench(), make_workbench()
    for one in turns:
        steps.ingest([one])
    left = [_deriver(steps, rows_max=1).run().files_left > 0 for _ in turns]
    whole.ingest(turns)
    whole.derive()
    assert [True, True, True, False] == left
    assert whole.tables() == steps.tables()
    assert 0 == _deriver(steps, rows_max=1).run().files


def test_a_full_run_leaves_nothing(workbench: Any, turn: Turn) -> None:
    """Its tables take the place of all that were."""
    for number in range(3):
        workbench.ingest([turn(number, key="thread-1", at_unix_nano=NOW + number * SECOND)])
    found = _deriver(workbench, rows_max=1).run(full=True)
    assert (0, 1) == (found.files_left, found.sessions)
    assert 0 == _deriver(workbench).run().files


@pytest.mark.slow
def test_a_run_that_could_not_record_its_progress_is_done_again(workbench: Any, turn: Turn) -> None:
    """Everything was written and nobody knows: the same rows come out, and old names stay removed."""
    workbench.ingest([turn(1, at_unix_nano=NOW)])
    workbench.derive()
    named = turn(1, key="thread-1", at_unix_nano=NOW + SECOND, rooted=False)
    for span in named[1]["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        span["spanId"] = span["spanId"][:-1] + "f" if span["spanId"].endswith("2") else span["spanId"][:-1] + "e"
    workbench.ingest([named])
    obstacle = Path(workbench.folder) / "derived-progress.tmp"
    obstacle.mkdir()
    with pytest.raises(IsADirectoryError):
        _deriver(workbench).run()
    before = workbench.tables()
    obstacle.rmdir()
    assert 1 == _deriver(workbench).run().sessions
    assert before == workbench.tables()
    assert ["thread-1"] == [row["source_key"] for row in _sessions(workbench)]


def test_a_session_that_gets_a_name_hides_the_one_that_it_was(workbench: Any, turn: Turn) -> None:
    """The trace's own session is gone from every view, the named one has all of it."""
    workbench.ingest([turn(1, at_unix_nano=NOW, rooted=False)])
    workbench.derive()
    assert [f"{2:032x}"] == [row["source_key"] for row in _sessions(workbench)]
    workbench.ingest([turn(1, key="thread-1", at_unix_nano=NOW)])
    assert 1 == workbench.deriver.run().removed
    assert ["thread-1"] == [row["source_key"] for row in _sessions(workbench)]
    for view in ("model_calls", "tool_calls", "timeline", "usage_records"):
        query = f"SELECT count(*) AS n FROM {view} WHERE session_id NOT IN (SELECT session_id FROM sessions)"
        assert [{"n": 0}] == workbench.query(query), view


@pytest.mark.slow
def test_compaction_is_nothing_new(workbench: Any, turn: Turn) -> None:
    """Rows that were only written anew are not derived again, before and after a restart, and no view changes."""
    for number in range(5):
        workbench.ingest([turn(number, key="thread-1", at_unix_nano=NOW + number * SECOND)])
        workbench.derive()
    before = workbench.tables()
    report = compact(workbench.folder)
    assert report.files_after < report.files_before
    for deriver in (workbench.deriver, _deriver(workbench)):
        assert (0, 0) == ((found := deriver.run()).files, found.sessions)
    assert before == workbench.tables()
    workbench.ingest([turn(9, key="thread-1", at_unix_nano=NOW + 60 * SECOND)])
    assert 1 == workbench.deriver.run().sessions
    assert [6] == [row["trace_count"] for row in _sessions(workbench)]


def test_a_record_that_comes_twice_changes_no_row(workbench: Any, turn: Turn) -> None:
    """Within one request file or a run later."""
    one = turn(1, key="thread-1", at_unix_nano=NOW)
    workbench.ingest([one, one])
    workbench.derive()
    before = workbench.tables()
    workbench.ingest([one], writer="another")
    workbench.derive()
    assert before == workbench.tables()
    assert [(1, 1, 100)] == [
        (row["model_call_count"], row["tool_call_count"], row["input_tokens"]) for row in _sessions(workbench)
    ]


def test_a_store_without_rows_derives_to_empty_views(workbench: Any) -> None:
    """Nothing is no error."""
    workbench.ingest([])
    assert 0 == workbench.deriver.run().sessions
    assert [] == _sessions(workbench)


def test_what_no_dialect_reads_is_no_session(workbench: Any, turn: Turn) -> None:
    """An unknown agent beside a known one is kept raw and counted nowhere."""
    signal, unknown = turn(7, at_unix_nano=NOW)
    for scope in unknown["resourceSpans"][0]["scopeSpans"]:
        scope["scope"]["name"] = "orchid"
        for span in scope["spans"]:
            span["attributes"] = [{"key": "orchid.x", "value": {"stringValue": "1"}}]
    workbench.ingest([(signal, unknown), turn(1, key="thread-1", at_unix_nano=NOW)])
    workbench.derive()
    assert ["thread-1"] == [row["source_key"] for row in _sessions(workbench)]
    assert [{"n": 3}] == workbench.query("SELECT count(*) AS n FROM spans WHERE dialect IS NULL")


MAX = 2**63 - 1
HOSTILE: list[dict[str, Any]] = [
    {"gen_ai.usage.input_tokens": MAX, "gen_ai.usage.output_tokens": "9e18", "gen_ai.usage.cost": 1e300},
    {"gen_ai.usage.cost": "NaN", "gen_ai.response.id": "", "gen_ai.request.model": "x" * 5_000},
    {"gen_ai.output.messages": "[" * 900 + "]" * 900, "gen_ai.input.messages": '{"a":' * 900 + "1" + "}" * 900},
    {"gen_ai.output.messages": '[{"type":["a"],"tool_calls":[{"name":{},"id":[]},{"name":"x","id":7,"args":[[]]}]}]'},
    {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "a\0b'\"; DROP", "gen_ai.tool.call.id": "\0"},
    {"gen_ai.conversation.id": "k\0k'", "gen_ai.agent.name": "' OR 1=1 --", "gen_ai.agent.id": "\0"},
    {"http.request.resend_count": MAX, "http.response.status_code": -MAX, "error.type": ""},
]
TIMES = [(0, 0), (MAX, 0), (MAX, MAX), (0, MAX), (NOW, NOW - SECOND)]


def test_no_record_stops_the_tables_of_others(workbench: Any, turn: Turn) -> None:
    """Whatever a sender writes into attributes, ids and times, every session is derived, and the good one right."""
    base = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai"}
    spans = [
        {
            "trace_id": f"{90 + number % 3:032x}",
            "span_id": f"{number + 1:016x}",
            "parent_span_id": f"{number * 7 % 5 + 1:016x}",
            "start_time_unix_nano": start,
            "end_time_unix_nano": end,
            "attributes": base | hostile,
        }
        for number, (hostile, (start, end)) in enumerate(product(HOSTILE, TIMES))
    ]
    logs = [
        {"time_unix_nano": start, "event_name": "claude_code.api_request", "body": "x"}
        | {"attributes": {"duration_ms": 9e15, "session.id": "s'\0", "input_tokens": MAX, "cost_usd": "999999"}}
        for start, _ in TIMES
    ]
    requests = [traces_request(spans, scope="s'\0"), logs_request(logs)]
    workbench.ingest([turn(1, key="thread-1", at_unix_nano=NOW)])
    workbench.ingest(zip((Signal.TRACES, Signal.LOGS), (json.loads(to_json(one)) for one in requests), strict=True))
    workbench.derive()
    found = {row["source_key"]: (row["trace_count"], row["input_tokens"]) for row in _sessions(workbench)}
    assert (1, 100) == found["thread-1"]
    assert "s'\0" in found
    assert len(spans) + 3 == workbench.query("SELECT count(*) AS n FROM spans")[0]["n"]


def _lose(workbench: Any, derived: LiveFile, raw: set[str]) -> None:
    """Raw files as retention takes them away, and a derived file that a disk lost."""
    update_manifest(
        workbench.folder, lambda one: one.swap(remove=frozenset(raw), add=(), now_unix_nano=NOW), disk=LocalDisk()
    )
    (workbench.folder / derived.path).unlink()
    assert repair(workbench.folder).derive


def test_lost_derived_files_are_made_again_and_what_cannot_be_made_again_stays(workbench: Any, turn: Turn) -> None:
    """After repair one run brings the lost rows back; a session whose raw rows are gone keeps those that it has."""
    workbench.ingest([turn(1, key="thread-1", at_unix_nano=NOW)])
    workbench.derive()
    before = read_manifest(workbench.folder).files
    workbench.ingest([turn(2, key="thread-2", at_unix_nano=NOW)])
    workbench.derive()
    expected = _sessions(workbench)
    lost = next(file for file in read_manifest(workbench.folder).of("sessions", derived=True) if file not in before)
    _lose(workbench, lost, {file.path for file in before if not file.derived})
    assert ["thread-1"] == [row["source_key"] for row in _sessions(workbench)]

    assert 1 == _deriver(workbench).run().sessions
    assert expected == _sessions(workbench)
    assert 0 == _deriver(workbench).run().sessions


@pytest.mark.parametrize("rows", [1, 2])
def test_a_raw_file_that_cannot_be_read_is_named(rows: int, tmp_path: Path) -> None:
    """Whoever looks after the job learns which file to restore, be it read whole or in pieces."""
    path = tmp_path / "w-0000000001.parquet"
    path.write_bytes(b"half")

    with pytest.raises(StoreError, match=f"{path} cannot be read"):
        wanted_rows(next(pieces("spans", path, rows=rows, rows_max=1)), Wanted.of([]))
