"""`headgate up` as a process: what it prints, answers, survives and leaves."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from headgate_console.testing.up import listeners
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

RECORDING = resources.files("headgate_console.demo") / "recordings" / "claude-code-fix.jsonl.gz"
HEADGATE = [sys.executable, "-m", "headgate_console"]
LISTENERS = {"console", "otlp-grpc", "otlp-http"}

pytestmark = pytest.mark.e2e


class Up:
    """A running `headgate up` on free ports."""

    def __init__(self, data: Path, *extra: str) -> None:
        ports = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--console", "127.0.0.1:0"]
        self.errors = data.with_suffix(".err")
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*HEADGATE, "up", "--data", str(data), *ports, *extra], stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self.addresses = listeners(self.process, LISTENERS, said=self.errors)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page of the console."""
        try:
            with urllib.request.urlopen(f"http://{self.addresses['console']}{path}", timeout=PATIENCE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def send(self) -> None:
        """Replay a recording of Claude Code over gRPC."""
        endpoint = f"grpc://{self.addresses['otlp-grpc']}"
        subprocess.run([*HEADGATE, "replay", str(RECORDING), "--endpoint", endpoint], check=True, capture_output=True)

    def children(self) -> list[int]:
        """Process ids of the parts."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Start `headgate up` on a folder; whatever still runs at the end is killed."""
    started: list[Up] = []

    def starter(*extra: str) -> Up:
        started.append(Up(tmp_path / "store", *extra))
        return started[-1]

    yield starter
    for up in started:
        up.process.kill()
        up.process.communicate()


def _query(data: Path, query: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [*HEADGATE, "sql", query, "--data", str(data), "--json"], check=True, capture_output=True, text=True
    )
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_it_serves_derives_and_drains(start: Callable[..., Up], tmp_path: Path) -> None:
    """Listeners are told, health is answered, sessions follow what is sent, and SIGTERM leaves all of it sealed."""
    up = start()
    wait_until(lambda: up.get("/readyz")[0] == 200)
    assert 200 == up.get("/healthz")[0]
    up.send()
    data = tmp_path / "store"
    wait_until(lambda: _query(data, "SELECT count(*) AS n FROM model_calls")[0]["n"] == 4)
    wait_until(lambda: 'headgate_receiver_requests_total{protocol="grpc"' in up.get("/metrics")[1])
    assert 'headgate_part_ready{part="deriver"} 1' in up.get("/metrics")[1]
    assert 0 == up.end()
    assert [] == list((data / "segments").glob("*.seg"))
    assert [{"n": 1}] == _query(data, "SELECT count(*) AS n FROM sessions")


@pytest.mark.slow
def test_when_it_is_killed_its_parts_end_and_the_next_start_succeeds(start: Callable[..., Up], tmp_path: Path) -> None:
    """After `kill -9` of the main process nothing runs on, nothing acknowledged is lost, and it starts again."""
    up = start()
    up.send()
    wait_until(lambda: up.get("/readyz")[0] == 200)
    parts = up.children()
    assert 3 == len(parts)
    up.end(signal.SIGKILL)
    wait_until(lambda: not any(map(_is_alive, parts)))
    again = start()
    rows = _query(tmp_path / "store", "SELECT count(*) AS n, count(DISTINCT record_id) AS d FROM spans")
    assert rows[0]["n"] == rows[0]["d"] > 0
    assert 0 == again.end()


@pytest.mark.slow
def test_a_part_that_dies_is_started_again_where_it_was(start: Callable[..., Up]) -> None:
    """The receiver takes requests on the same ports again, and people are told."""
    up = start()
    wait_until(lambda: up.get("/readyz")[0] == 200)
    before = up.addresses["otlp-grpc"]
    os.kill(up.children()[0], signal.SIGKILL)
    wait_until(lambda: json.loads(up.get("/healthz")[1])["parts"]["receiver"]["restarts"] == 1)
    wait_until(lambda: up.get("/readyz")[0] == 200)
    assert before == json.loads(up.get("/readyz")[1])["parts"]["receiver"]["listeners"]["otlp-grpc"]
    up.send()
    assert "started again" in up.errors.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_second_one_on_the_same_folder_is_refused(start: Callable[..., Up], tmp_path: Path) -> None:
    """Exit code 1, the holder is named, and the first goes on."""
    up = start()
    command = [*HEADGATE, "up", "--data", str(tmp_path / "store"), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert 1 == second.returncode
    assert "process" in second.stderr
    assert "Traceback" not in second.stderr
    replayed = subprocess.run(
        [*HEADGATE, "replay", str(RECORDING), "--data", str(tmp_path / "store")], capture_output=True, check=False
    )
    assert 1 == replayed.returncode
    assert 200 == up.get("/healthz")[0]


@pytest.mark.slow
def test_an_address_that_is_taken_is_bad_configuration(start: Callable[..., Up], tmp_path: Path) -> None:
    """Exit code 2, and the address is named."""
    taken = start().addresses["otlp-grpc"]
    command = [*HEADGATE, "up", "--data", str(tmp_path / "other"), "--grpc", taken, "--http", "127.0.0.1:0"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert 2 == second.returncode
    assert taken in second.stderr
