"""Parts that wait for another: started when it is ready, once, and ended before it."""

import os
import signal
import threading
from pathlib import Path

import pytest

from headgate_console.serve.children import Part
from headgate_console.serve.supervisor import Supervisor, SupervisorConfig
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

LISTENING = """
import json, sys, time
settings = json.loads(sys.stdin.readline())
told = {"event": "listening", "name": "first", "address": "127.0.0.1:4711", "setting": "first.listen"}
print(json.dumps(told), flush=True)
print(json.dumps({"event": "ready"}), flush=True)
time.sleep(600)
"""
READING = """
import json, sys, time
print(json.loads(sys.stdin.readline())["first"]["listen"], flush=True)
print(json.dumps({"event": "ready"}), flush=True)
time.sleep(600)
"""
FIRST = Part(name="first", module="listening_part")
SECOND = Part(name="second", module="reading_part", after="first")
SETTINGS = {"first": {"listen": "127.0.0.1:0"}}


@pytest.fixture(autouse=True)
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the parts' modules."""
    (tmp_path / "listening_part.py").write_text(LISTENING)
    (tmp_path / "reading_part.py").write_text(READING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def made(said: list[str]) -> Supervisor:
    """A supervisor of both, the waiting one first."""
    config = SupervisorConfig(restart_wait_s=0.001)
    return Supervisor([SECOND, FIRST], SETTINGS, out=said.append, say=said.append, config=config)


def running(supervisor: Supervisor, steps: "threading.Thread") -> None:
    """Run it until the steps end it."""
    steps.start()
    assert 0 == supervisor.run()
    steps.join(PATIENCE_S)


def test_a_part_that_waits_knows_where_the_other_listens() -> None:
    """Also when the port was picked for it: it is started after that was told."""
    said: list[str] = []
    supervisor = made(said)

    def end() -> None:
        wait_until(lambda: supervisor.ready)
        os.kill(os.getpid(), signal.SIGTERM)

    running(supervisor, threading.Thread(target=end, daemon=True))
    assert ["ready first 127.0.0.1:4711", "127.0.0.1:4711"] == said[:2]


def test_a_part_that_waited_is_not_started_again_with_the_other() -> None:
    """What it waited for may die and come back; it goes on."""
    supervisor = made([])

    def harm() -> None:
        wait_until(lambda: supervisor.ready)
        child = supervisor.states["first"].child
        assert child is not None
        os.kill(child.pid, signal.SIGKILL)
        wait_until(lambda: supervisor.states["first"].starts == 2 and supervisor.ready)
        os.kill(os.getpid(), signal.SIGTERM)

    running(supervisor, threading.Thread(target=harm, daemon=True))
    assert (2, 1) == (supervisor.states["first"].starts, supervisor.states["second"].starts)


def test_a_part_is_never_started_when_the_one_before_it_fails(parts: Path) -> None:
    """Everything ends, and the code is that of the one that failed."""
    (parts / "listening_part.py").write_text("raise SystemExit(2)")
    supervisor = made([])
    assert 2 == supervisor.run()
    assert (0, None) == (supervisor.states["second"].starts, supervisor.states["second"].child)


def test_everything_ends_while_a_part_still_waits(parts: Path) -> None:
    """A signal before the other one is ready."""
    (parts / "listening_part.py").write_text("import time\nprint('begun', flush=True)\ntime.sleep(600)")
    said: list[str] = []
    supervisor = made(said)

    def end() -> None:
        wait_until(lambda: "begun" in said)
        os.kill(os.getpid(), signal.SIGTERM)

    running(supervisor, threading.Thread(target=end, daemon=True))
    assert 0 == supervisor.states["second"].starts
