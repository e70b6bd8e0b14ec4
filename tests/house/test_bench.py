"""The bench runs, prints what it promises, and loses nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"
PARTS = (
    "baseline: protobuf parsed to a list",
    "decode alone, request by request",
    "decode and normalise, in groups",
    "commit: repeats, segment, fsync",
    "seal: Parquet",
    "compaction, all files once",
    "derive sessions, calls, timelines",
)
RUN = (
    "acknowledged",
    "refused for good",
    "acknowledged and missing, or there twice",
    "acknowledged to visible in spans, p99",
    "CPU of everything but the sender",
    "decode workers",
    "receiver",
    "deriver",
    "memory, most",
)
QUESTIONS = (
    "sessions that run, cold",
    "sessions that run, warm",
    "timeline of one session, warm",
    "cost by workflow, warm",
    "search in the ledger, warm",
    "rebuild of all derived tables",
)

CONTROL = (
    "decide(), p50",
    "with a logged allow, p50",
    "with a reservation and a logged allow, p99",
    "AuthZEN over HTTP, p99",
    "added by model gateway, p50",
    "stream of 20 chunks, model gateway, p50",
    "model gateway, 16 callers",
    "CPU of a request, model gateway",
    "memory of control and gateway, after 100 requests",
    "streaming: upstream closed, max",
    "stalled: effect, acknowledged, p99",
    "in 7 scopes: end of the client's call, max",
)


def bench(folder: Path, *arguments: str) -> dict[str, list[str]]:
    """The figures that a run writes into its page, by what they are; one that several runs have several times."""
    page = folder / "performance.md"
    command = [sys.executable, str(BENCH), "--page", str(page), "--folder", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    found: dict[str, list[str]] = {}
    for what, value in re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", page.read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(what.strip(), []).append(value)
    return found


@pytest.mark.e2e
@pytest.mark.slow
def test_the_bench_tells_what_each_part_costs_and_asks_its_questions(tmp_path: Path) -> None:
    """Every part has a row, every question an answer, cold and warm, and everything can be rebuilt."""
    found = bench(tmp_path, "--only", "parts,questions", "--spans", "500")
    assert set(PARTS) | set(QUESTIONS) <= set(found)
    assert {"size of a span", "spans with content"} <= set(found)


@pytest.mark.e2e
@pytest.mark.slow
def test_the_bench_runs_headgate_under_load_and_finds_every_span_once(tmp_path: Path) -> None:
    """Everything that was acknowledged is stored once, and what each process used is told."""
    found = bench(tmp_path, "--only", "runs", "--runs", "full", "--seconds", "4")
    assert set(RUN) <= set(found)
    assert {"0 spans"} == set(found["acknowledged and missing, or there twice"])
    assert {"0 requests and records"} == set(found["refused for good"])


@pytest.mark.e2e
@pytest.mark.slow
def test_the_bench_tells_what_decisions_calls_and_stops_take(tmp_path: Path) -> None:
    """By policies and through a gateway that really run; a stop that does not do all that it should ends the bench."""
    found = bench(tmp_path, "--only", "decisions,gateway,stops", "--requests", "100")
    assert set(CONTROL) <= set(found)
