"""Control that is killed: it comes back where it was, with everything that it knew."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx2
import pytest

from headgate_console.testing.commands import Run
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
Told = Callable[..., Any]
Agent = Callable[..., dict[str, Any]]


def book(told: Told, instance_id: str) -> dict[str, int]:
    """Calls that an instance has paid, and that are under way."""
    (row,) = (one for one in told("budget", "show") if one["target"] == instance_id)
    return {name: row[f"{name}_calls"] for name in ("settled", "reserved")}


def test_what_control_knew_survives_its_death(control_site: Any, told: Told, agent: Agent, run: Run) -> None:
    """On the same ports: instances, budgets, limits and stops hold, what was spent is known, chains are whole."""
    stopped, spending = agent("survivor"), agent("spender")
    told("stop", "instance", stopped["instance_id"], "--reason", "before the crash")
    told("limit", "set", "team", "elsewhere", "--calls-per-minute", "7")
    assert 200 == control_site.call(spending["gateway_key"]).status_code
    before = told("stops")
    control_site.kill_control()
    assert (before, [7]) == (told("stops"), [one["calls_per_minute"] for one in told("limit", "show")])
    assert (403, 200) == tuple(control_site.call(one["gateway_key"]).status_code for one in (stopped, spending))
    assert {"settled": 2, "reserved": 0} == book(told, spending["instance_id"])
    later = told("stop", "instance", spending["instance_id"], "--reason", "after the crash")
    assert later["epoch"] > before[0]["epoch"]
    assert "headgate: " not in control_site.said()
    assert 0 == run("audit", "verify").code


def test_a_call_under_way_when_control_dies_is_booked(
    control_site: Any, told: Told, agent: Agent, stalled_scenario: Any
) -> None:
    """Nobody knows what it used, so it counts as reserved, or as spent once its time is over."""
    made = agent("interrupted")
    control_site.model.play(stalled_scenario)
    ended: list[str] = []

    def call() -> None:
        with suppress(httpx2.TransportError):
            control_site.call(made["gateway_key"], stream=True)
        ended.append("ended")

    threading.Thread(target=call, daemon=True).start()
    wait_until(lambda: book(told, made["instance_id"])["reserved"] == 1)
    control_site.kill_control()
    wait_until(lambda: bool(ended), timeout_s=PATIENCE_S)
    assert 1 == sum(book(told, made["instance_id"]).values())


def test_records_of_control_are_in_the_store_once(control_site: Any, told: Told, agent: Agent) -> None:
    """Also those that it was about to send when it was killed."""
    made = agent("recorded")
    stopped = told("stop", "instance", made["instance_id"], "--reason", "one")
    control_site.kill_control()
    last = told("stop", "team", "recorded", "--reason", "two")
    control_site.seen(f"SELECT 1 FROM stops WHERE stop_id = '{last['stop_id']}'")
    rows = control_site.query(
        "SELECT count(*) AS rows, count(DISTINCT position) AS positions, max(position) AS last FROM audit"
    )[0]
    assert rows["rows"] == rows["positions"] == rows["last"]
    held = control_site.query(f"SELECT count(*) AS rows FROM stops WHERE stop_id = '{stopped['stop_id']}'")
    assert [{"rows": 1}] == held


def test_an_admin_token_that_is_gone_is_made_anew(control_site: Any, told: Told, run: Run) -> None:
    """At the next start, and whoever kept a copy of the one before is refused; the journal says so."""
    wait_until(control_site.is_answering)
    path = control_site.data / "admin.token"
    old = path.read_text().strip()
    path.unlink()
    result = run("stops")
    assert 1 == result.code
    assert "admin.token is not there: headgate up" in result.err
    (pid,) = control_site.control_pids()
    os.kill(pid, signal.SIGKILL)
    wait_until(path.exists)
    wait_until(control_site.is_answering)
    assert 0o600 == path.stat().st_mode & 0o777
    assert isinstance(told("stops"), list)
    rows = control_site.seen("SELECT id FROM audit WHERE action = 'token.revoke'")
    assert ([old.removeprefix("hgt_").rpartition("_")[0]], 401) == (
        [row["id"] for row in rows],
        control_site.ask("GET", "/v1/stops", old).status_code,
    )
