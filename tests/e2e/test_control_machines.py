"""Several machines on one PostgreSQL: one has control, the others run gateways; and control moves to another."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from headgate_console.testing.commands import Run, runner
from headgate_console.testing.up import listeners
from headgate_control.testing.postgresql import Postgresql
from headgate_processors.testing.model_server import ModelServer, parsed_scenario
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SCENARIO = "turns: [{say: hello}]\nusage: {input_tokens: 100, output_tokens: 10}\n"
REFUSED = 403
TAKE = "SELECT pg_try_advisory_lock(1214603620, 1734440037)"
END = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1734440037"
Machine = Callable[[str], Any]


@pytest.fixture
def database(postgresql: Postgresql, request: pytest.FixtureRequest) -> str:
    """A database of the test's own."""
    return postgresql.create(f"machines_{abs(hash(request.node.name)):x}")


@pytest.fixture
def model() -> Iterator[ModelServer]:
    """The provider behind every gateway."""
    with ModelServer(parsed_scenario(SCENARIO)) as made:
        yield made


@pytest.fixture
def machine(start_site: Any, database: str, model: ModelServer, tmp_path: Path) -> Machine:
    """Starts `headgate up` on a machine with a data folder of its own."""

    def start(name: str) -> Any:
        (tmp_path / name).mkdir(exist_ok=True)
        return start_site(tmp_path / name, model, HEADGATE_CONTROL__DATABASE=database)

    return start


@pytest.fixture
def refused(headgate: Sequence[str], database: str, tmp_path: Path) -> Callable[[str], tuple[int, str]]:
    """How `headgate up` ends on a machine, and what it says."""

    def start(name: str) -> tuple[int, str]:
        ports = [f"--{one}=127.0.0.1:0" for one in ("grpc", "http", "console", "platform")]
        ended = subprocess.run(
            [*headgate, "up", "--data", str(tmp_path / name / "store"), *ports],
            env={**os.environ, "HEADGATE_CONTROL__DATABASE": database, "HEADGATE_CONTROL__LISTEN": "127.0.0.1:0"},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return ended.returncode, ended.stderr

    return start


@pytest.fixture
def run_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, database: str) -> Callable[..., Any]:
    """Run `headgate` on the machine of a site and read its JSON."""
    run: Run = runner(capsys)
    monkeypatch.setenv("HEADGATE_CONTROL__DATABASE", database)

    def read(site: Any, *arguments: str) -> Any:
        monkeypatch.chdir(site.folder)
        monkeypatch.setenv("HEADGATE_DATA", str(site.data))
        result = run(*arguments, "--json")
        assert 0 == result.code, result.err
        return json.loads(result.out)

    return read


@contextmanager
def gateway(site: Any, headgate: Sequence[str], token: Path, name: str) -> Iterator[str]:
    """`headgate gateway model` on another machine, against the control of a site; where it listens."""
    upstreams = {"openai": {"base_url": f"{site.model.url}/v1", "api_key": "env:SCRIPTED_KEY"}}
    variables = {"SCRIPTED_KEY": "sk-of-the-provider", "HEADGATE_GATEWAYS__MODEL__UPSTREAMS": json.dumps(upstreams)}
    words = ["--control", site.url("control", ""), "--token-file", str(token), "--name", name]
    words += ["--folder", str(token.parent / name), "--listen", "127.0.0.1:0"]
    said = token.parent / f"{name}.err"
    with said.open("w") as errors:
        process = subprocess.Popen(
            [*headgate, "gateway", "model", *words],
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield listeners(process, {"model-gateway"}, said=said)["model-gateway"]
    finally:
        process.kill()
        process.communicate()


def budget(run_on: Callable[..., Any], site: Any, calls: int) -> str:
    """An agent whose team may make so many calls; its key."""
    made = run_on(site, "instance", "create", "--manifest", str(site.manifest()))
    run_on(site, "budget", "set", "team", "payments", "--window", "total", "--calls", str(calls), "--mode", "hard")
    return str(made["gateway_key"])


def test_a_second_machine_runs_a_gateway_that_shares_budgets_and_stops(
    machine: Machine, refused: Any, run_on: Any, headgate: Sequence[str]
) -> None:
    """Its own control is refused with the name of the first; a budget is spent once, a stop waits for both gateways."""
    with machine("one") as site:
        code, said = refused("two")
        token = site.folder / "gateway.token"
        run_on(site, "token", "create", "--role", "gateway", "--name", "two", "--file", str(token))
        key = budget(run_on, site, calls=6)
        with gateway(site, headgate, token, "two") as address:
            wait_until(lambda: site.call(key, gateway=address).status_code == 200)
            answers = [site.call(key, gateway=where).status_code for where in (None, address) * 4]
            spent = answers.count(200) + 1
            stopped = run_on(site, "stop", "team", "payments", "--reason", "enough")
            codes = [site.call(key, gateway=where).json()["error"]["code"] for where in (None, address)]
    points = {one["enforcement_point"] for one in stopped["effects"]}
    assert 1 == code
    assert f"at {site.addresses['control']} with the data folder {site.data}" in said
    assert "Run `headgate gateway model --control URL` here against that one" in said
    assert (6, {"model-gateway", "two"}, [], ["stopped"] * 2) == (spent, points, stopped["silent"], codes)


def test_control_goes_on_in_its_own_folder_when_it_was_killed(machine: Machine, run_on: Any, refused: Any) -> None:
    """All of it, as when its machine lost power: the books are there, and elsewhere it is refused."""
    with machine("one") as site:
        key = budget(run_on, site, calls=3)
        before = [site.call(key).status_code for _ in range(2)]
        site.process.kill()
        site.process.wait(PATIENCE_S)
    code, said = refused("two")
    with machine("one") as again:
        after = [again.call(key).status_code for _ in range(2)]
    assert f"are kept in {site.data} on " in said
    assert 1 == code
    assert [200, 200, 200, REFUSED] == before + after


def test_control_moves_to_a_machine_that_has_the_store_alone(machine: Machine, run_on: Any, tmp_path: Path) -> None:
    """It adopts the books from what the store was told; nothing is spent again, and a stop holds on."""
    with machine("one") as site:
        key = budget(run_on, site, calls=3)
        before = [site.call(key).status_code for _ in range(3)]
        site.seen("SELECT 1 FROM budgets WHERE scope = 'team' AND settled_calls = 3")
    shutil.copytree(site.data, tmp_path / "two" / "store", ignore=shutil.ignore_patterns("control"))
    moved = type(site)(folder=tmp_path / "two", model=site.model, process=site.process, addresses={})
    done = run_on(moved, "control", "adopt", "--reason", "one is lost")[0]
    with machine("two") as two:
        after = two.call(key)
    assert [200] * 3 == before
    assert (REFUSED, "budget") == (after.status_code, after.json()["error"]["code"])
    assert [3] == [one["calls"] for one in done["spent"] if one["budget_id"].startswith("set/team:payments")]


def test_a_control_that_loses_its_database_to_another_ends(machine: Machine, run_on: Any, database: str) -> None:
    """With code 1, and says who has it; no call passes until the other lets go."""
    with machine("one") as site:
        key = budget(run_on, site, calls=100)
        before = site.call(key).status_code
        with psycopg.connect(database, autocommit=True, application_name="control of two") as other:
            other.execute(END)
            wait_until(lambda: other.execute(TAKE).fetchone() == (True,))
            wait_until(lambda: "The control ended with code 1" in site.said())
            during = passed(site, key)
        wait_until(site.is_answering)
        after = site.call(key).status_code
    assert "is held by the control of two from 127.0.0.1" in site.said()
    assert (200, False, 200) == (before, during, after)


def passed(site: Any, key: str) -> bool:
    """Whether a call gets through."""
    try:
        return bool(site.call(key).status_code == httpx2.codes.OK)
    except httpx2.TransportError:
        return False
