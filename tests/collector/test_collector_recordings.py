import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headgate_analytics import open_views
from headgate_console.testing.up import listeners

pytestmark = [pytest.mark.slow, pytest.mark.recordings, pytest.mark.e2e]

RECORDINGS = Path(__file__).parents[1] / "recordings"
HEADGATE = [sys.executable, "-m", "headgate_console"]
WAIT_S = 180.0
VIEWS = {
    "sessions": "session_id, source_key, session_source, task, model_call_count, tool_call_count, tool_error_count,"
    " retry_count, handoff_count, input_tokens, output_tokens, cache_read_tokens, reasoning_tokens, cost_usd,"
    " agent_names, models, tools, team, workflow, user_id, repo",
    "model_calls": "model_call_id, session_id, provider, model, status, error_type, attempts, failed_attempts,"
    " input_tokens, output_tokens, cache_read_tokens, cost_usd, duration_ns, dialect",
    "tool_calls": "tool_call_id, session_id, model_call_id, tool, tool_type, state, result_class, error_type, attempts,"
    " mcp_server, action, arguments, duration_ns",
}


class Stores(NamedTuple):
    """The same recordings in two stores: replayed into the one, sent through a Collector into the other."""

    direct: Path
    through: Path


def _files() -> list[Path]:
    """The main scenario of every set-up, and everything that was recorded of Codex."""
    main = [path.parent / f"{next(iter(_scenarios(path)))}.jsonl.gz" for path in RECORDINGS.glob("*/expected.json")]
    codex = [*RECORDINGS.glob("codex/*.jsonl.gz"), *RECORDINGS.glob("extra/codex*/*.jsonl.gz")]
    return sorted({path for path in (*main, *codex) if path.parent.name != "captures"})


def _scenarios(path: Path) -> Sequence[str]:
    named = sorted(json.loads(path.read_text(encoding="utf-8")))
    return ["multi_step"] if "multi_step" in named else named


def _headgate(*arguments: object) -> None:
    done = subprocess.run([*HEADGATE, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr


def _rows(store: Path, query: str) -> list[dict[str, Any]]:
    with open_views(store) as connection:
        rows: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
    return rows


@pytest.fixture
def stores(start_collector: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """Filled once; the one behind the Collector is still served by `headgate up --behind-collector`."""
    folder, files = tmp_path_factory.mktemp("stores"), _files()
    both = Stores(folder / "direct", folder / "through")
    _headgate("replay", *files, "--data", both.direct)
    ports = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--console", "127.0.0.1:0"]
    command = [*HEADGATE, "up", "--behind-collector", "--data", str(both.through), *ports]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as up:
        try:
            receiver = listeners(up, {"otlp-grpc"})["otlp-grpc"]
            collector = start_collector("local", HEADGATE_COLLECTOR_RECEIVER=receiver)
            _headgate("replay", *files, "--endpoint", f"grpc://{collector.address('GRPC')}")
            _wait_for_all(both)
            yield both
        finally:
            up.terminate()


def _told(store: Path) -> list[list[dict[str, Any]]]:
    # What a running control tells of itself is of no recording.
    logs = "SELECT count(*) FROM log_events WHERE event_name IS NULL OR NOT starts_with(event_name, 'headgate.')"
    counts = f"SELECT ({logs}) AS logs, (SELECT count(*) FROM metric_points) AS points"
    return [_rows(store, counts), *(_rows(store, _query(view)) for view in VIEWS)]


def _query(view: str) -> str:
    return f"SELECT {VIEWS[view]} FROM {view} ORDER BY ALL"


def _wait_for_all(stores: Stores) -> None:
    """Until the one tells what the other tells; what is missing in the end is the tests' to say."""
    expected = _told(stores.direct)
    deadline = time.monotonic() + WAIT_S
    while _told(stores.through) != expected and time.monotonic() < deadline:
        time.sleep(0.5)


def _spans(store: Path, whose: str) -> list[dict[str, Any]]:
    codex = "coalesce(service_name, '') LIKE 'codex%'"
    query = f"SELECT trace_id, span_id, parent_span_id, name FROM spans WHERE {whose} {codex} ORDER BY ALL"
    return _rows(store, query)


def _check_that_no_parent_is_lost(sent: list[dict[str, Any]], kept: list[dict[str, Any]]) -> None:
    there = {(row["trace_id"], row["span_id"]) for row in kept}
    parents = {(row["trace_id"], row["parent_span_id"]) for row in kept if row["parent_span_id"]}
    assert set() == (parents & {(row["trace_id"], row["span_id"]) for row in sent}) - there
    assert 0 < len(there) < len(sent) / 8


def test_recordings_tell_the_same_through_the_collector_as_by_direct_replay(stores: Stores) -> None:
    """Sessions, model calls and tool calls row by row; log records and data points; every span of other agents.

    Of Codex nine spans of ten are noise and do not come, but the parent of each that does, if Codex sent it.
    One test, because its stores are filled once in a process, and tests are spread over several.
    """
    for view in VIEWS:
        direct = _rows(stores.direct, _query(view))
        assert direct == _rows(stores.through, _query(view)), view
        assert len(direct) > 20, view
    assert _told(stores.direct)[0] == _told(stores.through)[0]
    assert _spans(stores.direct, "NOT") == _spans(stores.through, "NOT")
    _check_that_no_parent_is_lost(_spans(stores.direct, ""), _spans(stores.through, ""))
