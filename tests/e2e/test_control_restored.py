"""Control that is put back from an older copy while a gateway elsewhere lives on."""

import json
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from headgate_console.testing.commands import Run, runner
from headgate_console.testing.up import listeners
from headgate_processors.testing.model_server import ModelServer, parsed_scenario
from headgate_processors.testing.ports import free_port
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
ANSWERS = "turns: [{say: hello}]\nusage: {input_tokens: 100, output_tokens: 10}\n"
NAME = "eu-1"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `headgate` on the folder of the site."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADGATE_DATA", str(tmp_path / "store"))
    return runner(capsys)


@pytest.fixture
def told(command: Run) -> Callable[..., Any]:
    """Run a command that must succeed, and read its JSON."""

    def read(*arguments: str) -> Any:
        result = command(*arguments, "--json")
        assert 0 == result.code, result.err
        return json.loads(result.out)

    return read


@pytest.fixture
def model() -> Iterator[ModelServer]:
    """A provider."""
    with ModelServer(parsed_scenario(ANSWERS)) as made:
        yield made


@contextmanager
def elsewhere(folder: Path, control: str, model: ModelServer, headgate: list[str]) -> Iterator[str]:
    """A gateway as a process of its own: where agents call it."""
    upstreams = {"openai": {"base_url": f"{model.url}/v1", "api_key": "env:SCRIPTED_KEY"}}
    variables = {"SCRIPTED_KEY": "sk-of-the-provider", "HEADGATE_GATEWAYS__MODEL__UPSTREAMS": json.dumps(upstreams)}
    words = ["--control", control, "--token-file", str(folder / "gateway.token"), "--name", NAME]
    words += ["--folder", str(folder / NAME), "--listen", "127.0.0.1:0"]
    with (folder / f"{NAME}.err").open("w") as errors:
        process = subprocess.Popen(
            [*headgate, "gateway", "model", *words],
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield listeners(process, {"model-gateway"}, said=folder / f"{NAME}.err")["model-gateway"]
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


def test_what_was_stopped_after_the_copy_stays_stopped_everywhere_and_new_stops_are_heard(
    start_site: Callable[..., Any],
    told: Callable[..., Any],
    model: ModelServer,
    headgate: list[str],
    tmp_path: Path,
) -> None:
    """The gateway takes a snapshot of the control that was put back, and its next stop has a later epoch."""
    control = f"127.0.0.1:{free_port()}"
    variables = {"HEADGATE_CONTROL__LISTEN": control}
    with start_site(tmp_path, model, **variables) as site:
        made = [told("instance", "create", "--manifest", str(site.manifest())) for _ in range(2)]
        told("token", "create", "--role", "gateway", "--name", NAME, "--file", str(tmp_path / "gateway.token"))
    first, second = (one["gateway_key"] for one in made)
    with elsewhere(tmp_path, f"http://{control}", model, headgate) as address:

        def code(key: str) -> str | None:
            response = site.call(key, gateway=address)
            return None if response.status_code == 200 else str(response.json()["error"]["code"])

        with start_site(tmp_path, model, **variables):
            wait_until(lambda: code(first) is None)
            told("control", "backup", "copy.tar.gz")
            stopped = told("stop", "instance", made[0]["instance_id"], "--reason", "after the copy")
            assert "stopped" == code(first)
        done = told("control", "restore", "copy.tar.gz")[0]
        with start_site(tmp_path, model, **variables):
            wait_until(lambda: code(second) is None)
            kept = code(first)
            later = told("stop", "instance", made[1]["instance_id"], "--reason", "after the restore")
            assert ("stopped", "stopped") == (kept, code(second))
    assert [stopped["stop_id"]] == [one["stop_id"] for one in done["stops_not_in_copy"]]
    assert ({NAME, "model-gateway"}, True) == (
        {one["enforcement_point"] for one in later["effects"]},
        stopped["epoch"] < done["epoch"] < later["epoch"],
    )


def test_control_whose_database_is_put_back_by_other_tools_starts_anew_above_the_epoch(
    start_site: Callable[..., Any], told: Callable[..., Any], model: ModelServer, tmp_path: Path
) -> None:
    """It notices while it runs; what was stopped since is not known then, and new stops are carried out."""
    copy = tmp_path / "copy.sqlite"
    with start_site(tmp_path, model) as site:
        database = site.data / "control" / "control.sqlite"
        made = told("instance", "create", "--manifest", str(site.manifest()))
        copied(database, copy)
        since = [told("stop", "instance", made["instance_id"], "--reason", f"number {number}") for number in range(3)]
        assert 403 == site.call(made["gateway_key"]).status_code
        (pid,) = site.control_pids()
        copied(copy, database)
        wait_until(lambda: pid not in site.control_pids())
        wait_until(site.is_answering)
        wait_until(lambda: site.call(made["gateway_key"]).status_code == 200)
        later = told("stop", "instance", made["instance_id"], "--reason", "again")
        denied = site.call(made["gateway_key"]).status_code
        assert "control must start anew" in site.said()
    assert (403, True, []) == (denied, since[-1]["epoch"] < later["epoch"], later["silent"])


def copied(source: Path, to: Path) -> None:
    """Copy a database, as SQLite's own tool does."""
    with closing(sqlite3.connect(source)) as found, closing(sqlite3.connect(to, timeout=30)) as copy:
        found.backup(copy)
