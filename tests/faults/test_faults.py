"""The fault plans and the fuzzer at a tenth of their size; `make faults` runs them whole."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
pytestmark = [pytest.mark.slow, pytest.mark.e2e]


def told(script: str, *arguments: str) -> Any:
    """What a script of this folder prints as JSON; its exit code says the same. It is ended with its test."""
    command = [sys.executable, str(HERE / script), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            out, said = running.communicate()
        finally:
            running.terminate()
    assert 0 == running.returncode, said[-4000:] + out[-4000:]
    return json.loads(out)


def lost_or_doubled(outcomes: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """For each seed, how many acknowledged records are missing and how many are there more than once."""
    assert all(outcome["acknowledged"] for outcome in outcomes)
    return [(outcome["missing"], outcome["doubled"]) for outcome in outcomes]


def test_nothing_is_lost_when_parts_of_headgate_are_killed() -> None:
    """Sender, receiver, worker, deriver and supervisor, killed at random."""
    assert [(0, 0)] * 2 == lost_or_doubled(told("kill.py", "--topology", "direct", "--seeds", "2"))


def test_nothing_is_lost_through_a_killed_collector(collector_binary: Path) -> None:
    """The same through `local.yaml`, whose Collector is killed too, also while Headgate is down."""
    assert collector_binary.exists()
    assert [(0, 0)] * 2 == lost_or_doubled(told("kill.py", "--topology", "local", "--seeds", "2"))


def test_nothing_is_lost_through_two_killed_collectors(collector_binary: Path) -> None:
    """The same through `agent.yaml` and `gateway.yaml`."""
    assert collector_binary.exists()
    assert [(0, 0)] * 2 == lost_or_doubled(told("kill.py", "--topology", "chain", "--seeds", "2"))


def test_nothing_is_lost_when_the_receiver_is_killed_under_full_load() -> None:
    """`kill -9` of the receiver alone, while its senders do not pause."""
    only = ["--victims", "receiver", "--faults", "20", "--pause", "0"]
    assert [(0, 0)] == lost_or_doubled(told("kill.py", "--topology", "direct", *only))


@pytest.mark.parametrize(("encoding", "runs"), [("protobuf", 100_000), ("json", 1_000)])
def test_whatever_arrives_is_accounted_for(encoding: str, runs: int) -> None:
    """Guided mutations end in no crash and no hang, and each record received is stored, known or refused."""
    tally = told("fuzz.py", encoding, "--runs", str(runs))
    assert (True, runs) == (tally["holds"], tally["runs"])
    assert tally["received"] == tally["stored"] + tally["known"] + tally["refused"]
