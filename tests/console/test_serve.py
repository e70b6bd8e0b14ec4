"""The supervisor and the console's listener, without a receiver behind them."""

import os
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from headgate_console.errors import CommandError
from headgate_console.serve.children import Part
from headgate_console.serve.console import address_of, console_app, listen
from headgate_console.serve.supervisor import PartState, Supervisor, SupervisorConfig
from headgate_console.serve.up import metrics, supervisor_meter
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

BRIEF = Part(name="brief", module="this")


class Told:
    """What a supervisor said, on either stream."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.said: list[str] = []


@pytest.fixture
def told() -> Told:
    """Collects what is said."""
    return Told()


@pytest.fixture
def supervisor(told: Told) -> Supervisor:
    """A supervisor of one part, a module of Python that prints and ends at once."""
    return Supervisor([BRIEF], {"data": "x"}, out=told.out.append, say=told.said.append)


@pytest.fixture
def taken() -> Iterator[str]:
    """An address that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield address_of(sock)


def test_a_part_that_ends_before_it_was_ready_ends_everything(supervisor: Supervisor, told: Told) -> None:
    """The exit code is 1, what it printed is passed on, and it is not started again."""
    assert 1 == supervisor.run()
    assert "The Zen of Python, by Tim Peters" in told.said
    assert ([], False, False) == (told.out, supervisor.ready, supervisor.healthy)


def test_a_part_has_the_sparing_allocator_unless_the_environment_says_otherwise(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it frees then goes back to the system; who runs it has the last word."""
    names = ("ARROW_DEFAULT_MEMORY_POOL", "MALLOC_ARENA_MAX")
    (tmp_path / "telling.py").write_text(f"import os\nprint(*map(os.environ.get, {names}))")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv(names[0], raising=False)
    monkeypatch.setenv(names[1], "7")
    part = Part(name="telling", module="telling")
    Supervisor([part], {}, out=told.out.append, say=told.said.append).run()
    assert "system 7" in told.said


def test_a_second_signal_ends_every_part_at_once(told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, and however long they would have had."""
    lines = ("import signal, time", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    more = ("""print('{"event": "ready"}', flush=True)""", "time.sleep(600)")
    (tmp_path / "deaf.py").write_text("\n".join([*lines, *more]))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    parts = [Part(name=name, module="deaf") for name in ("one", "two")]
    config = SupervisorConfig(drain_s=600)
    supervisor = Supervisor(parts, {}, out=told.out.append, say=told.said.append, config=config)

    def signal_twice() -> None:
        wait_until(lambda: supervisor.ready)
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(lambda: bool(told.said))
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=signal_twice, daemon=True)
    thread.start()
    assert 0 == supervisor.run()
    thread.join(PATIENCE_S)
    assert any(said.startswith("Ended at once: one, two.") for said in told.said)


def test_a_part_that_cannot_be_started_again_is_tried_until_it_can(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moment without files, processes or memory for it ends nothing else."""
    (tmp_path / "alive.py").write_text("""import time\nprint('{"event": "ready"}', flush=True)\ntime.sleep(600)""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    config = SupervisorConfig(restart_wait_s=0.1)
    supervisor = Supervisor(
        [Part(name="one", module="alive")], {}, out=told.out.append, say=told.said.append, config=config
    )

    def harm() -> None:
        wait_until(lambda: supervisor.ready)
        child = supervisor.states["one"].child
        assert child is not None
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            os.kill(child.pid, signal.SIGKILL)
            wait_until(lambda: any("cannot be started" in said for said in told.said))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        wait_until(lambda: supervisor.ready)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=harm, daemon=True)
    thread.start()
    assert 0 == supervisor.run()
    thread.join(PATIENCE_S)


def test_a_part_that_was_ready_is_started_again_however_often_it_ends(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one that ends before it is ready, again and again, ends everything."""
    (tmp_path / "brave.py").write_text("""print('{"event": "ready"}', flush=True)""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    config = SupervisorConfig(restart_wait_s=0.001, restart_wait_s_max=0.002, attempts_max=2)
    supervisor = Supervisor(
        [Part(name="one", module="brave")], {}, out=told.out.append, say=told.said.append, config=config
    )

    def end() -> None:
        wait_until(lambda: len(told.said) >= 6)
        (tmp_path / "brave.py").write_text("raise SystemExit(3)")

    thread = threading.Thread(target=end, daemon=True)
    thread.start()
    assert 1 == supervisor.run()
    thread.join(PATIENCE_S)
    assert "The one ended with code 3, 2 times before it was ready." == told.said[-1]


def test_health_tells_each_part(supervisor: Supervisor) -> None:
    """Healthy while parts run or are started again, ready when all take work."""
    client = TestClient(console_app(supervisor, lambda: "x 1\n"))
    assert [200, 503] == [client.get(path).status_code for path in ("/healthz", "/readyz")]
    supervisor.states["brief"] = PartState(ready=True, listeners={"otlp-grpc": "127.0.0.1:4317"})
    answer = client.get("/readyz")
    expected = {"ready": True, "restarts": 0, "listeners": {"otlp-grpc": "127.0.0.1:4317"}}
    assert (200, expected) == (answer.status_code, answer.json()["parts"]["brief"])
    supervisor.states["brief"] = PartState(failed=True)
    assert 503 == client.get("/healthz").status_code
    assert "x 1\n" == client.get("/metrics").text


def test_metrics_hold_those_of_the_parts(supervisor: Supervisor) -> None:
    """The supervisor's own, and the text that each part last told."""
    supervisor.states["brief"] = PartState(ready=True, facts={"metrics": "headgate_x 1\n"})
    text = metrics(supervisor, supervisor_meter(supervisor))
    assert 'headgate_part_ready{part="brief"} 1' in text
    assert text.endswith("headgate_x 1\n")


def test_a_default_port_that_is_taken_gives_way(taken: str) -> None:
    """Another free port of the same host is used, so that two of them can run on one machine."""
    with listen(taken, chosen=False) as sock:
        assert taken != address_of(sock)


def test_a_chosen_port_that_is_taken_is_an_error(taken: str) -> None:
    """Whoever chose it is told what to do."""
    with pytest.raises(CommandError, match=r"cannot listen on 127\.0\.0\.1:\d+: .*Choose another console\.listen"):
        listen(taken, chosen=True)


def test_an_address_of_another_machine_is_an_error() -> None:
    """It never silently becomes another one."""
    with pytest.raises(CommandError, match="cannot listen on"):
        listen("192.0.2.1:0", chosen=False)
