"""Control whose database is away: nothing with effects passes at its own gateway, nor at one elsewhere."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from headgate_console.testing.commands import Run, runner
from headgate_control.testing.postgresql import Postgresql
from headgate_processors.testing.model_server import ModelServer, parsed_scenario
from headgate_processors.testing.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
BEATS = 3


@pytest.fixture
def blind_site(request: pytest.FixtureRequest, tmp_path: Path, postgresql: Postgresql) -> Iterator[Any]:
    """A site whose control state is in PostgreSQL."""
    database = postgresql.create("blind")
    started = request.getfixturevalue("start_site")
    scenario = parsed_scenario("turns: [{say: hello}]\nusage: {input_tokens: 100, output_tokens: 10}\n")
    with ModelServer(scenario) as model, started(tmp_path, model, HEADGATE_CONTROL__DATABASE=database) as site:
        yield site


@pytest.fixture
def blind_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, blind_site: Any) -> Any:
    """Run a command on that site and read its JSON."""
    monkeypatch.chdir(blind_site.folder)
    monkeypatch.setenv("HEADGATE_DATA", str(blind_site.data))
    run: Run = runner(capsys)

    def read(*arguments: str) -> Any:
        result = run(*arguments, "--json")
        assert 0 == result.code, result.err
        return json.loads(result.out)

    return read


async def heard(site: Any, token: str, wanted: str, times: int) -> list[str]:
    """The last events of the feed, once the wanted one came so many times in a row."""
    found: list[str] = []
    headers = {"authorization": f"Bearer {token}"}
    async with (
        asyncio.timeout(30),
        aiohttp.ClientSession(headers=headers) as client,
        client.get(site.url("control", "/v1/feed?point=watcher&process=one")) as response,
    ):
        async for line in response.content:
            name, _, value = line.decode().strip().partition(": ")
            if name == "event":
                found.append(value)
            if found[-times:] == [wanted] * times:
                break
    return found[-times:]


def test_a_gateway_denies_while_controls_database_is_away_and_allows_when_it_is_back(
    blind_site: Any, blind_told: Any, postgresql: Postgresql
) -> None:
    """With the code `stale`, within seconds; gateways elsewhere are told in place of each beat."""
    made = blind_told("instance", "create", "--manifest", str(blind_site.manifest()))

    def code() -> str | None:
        response = blind_site.call(made["gateway_key"])
        return None if response.status_code == 200 else str(response.json()["error"]["code"])

    assert code() is None
    beats = asyncio.run(heard(blind_site, blind_site.admin, "beat", BEATS))
    postgresql.stop()
    try:
        wait_until(lambda: code() == "stale")
        blind = asyncio.run(heard(blind_site, blind_site.admin, "blind", BEATS))
        hook = {"subject": {"type": "agent_instance", "id": made["instance_id"]}, "action": {"name": "tools/call"}}
        asked = {**hook, "resource": {"type": "tool", "id": "Bash", "properties": {"command": "pytest -q"}}}
        decided = blind_site.ask("POST", "/access/v1/evaluation", blind_site.admin, asked).json()
    finally:
        postgresql.start()
    wait_until(lambda: code() is None)
    assert 1 == len(blind_site.control_pids())
    blind_site.ask("POST", "/v1/feed/leave", blind_site.admin, {"point": "watcher"})
    blind_told("stop", "instance", made["instance_id"], "--reason", "again")
    assert "stopped" == code()
    assert (["beat"] * BEATS, ["blind"] * BEATS, False, "stale") == (
        beats,
        blind,
        decided["decision"],
        decided["context"]["code"],
    )


SAID = "calls are denied as stale: control state was not read to its end for 5 s"
LOCK_ALL = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
# Where SQLite has the marks of those that read a WAL: offsets 123 to 127 of the shared memory.
fcntl.lockf(file, fcntl.LOCK_EX, 5, 123)
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_gateway_denies_while_somebody_else_has_controls_file(control_site: Any, agent: Any) -> None:
    """And goes on when it is let go of, without a restart."""
    made, (pid,) = agent("locked"), control_site.control_pids()

    def code() -> str | None:
        response = control_site.call(made["gateway_key"])
        return None if response.status_code == 200 else str(response.json()["error"]["code"])

    assert code() is None
    command = [sys.executable, "-c", LOCK_ALL, str(control_site.data / "control" / "control.sqlite-shm")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as locking:
        assert locking.stdout is not None
        locking.stdout.readline()
        wait_until(lambda: code() == "stale")
        wait_until(lambda: SAID in control_site.said())
        locking.communicate(b"")
    wait_until(lambda: code() is None)
    assert [pid] == control_site.control_pids()
