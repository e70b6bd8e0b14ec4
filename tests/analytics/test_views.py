"""The state of sessions in the views: told by idle time against a watermark that no broken clock moves."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from headgate_analytics import open_views

NOW = time.time_ns() // 10**9 * 10**9 - 3_600 * 10**9
MINUTE = 60 * 10**9

Turn = Callable[..., Any]


def _states(workbench: Any, *, now_unix_nano: int | None = None, idle_gap_ns: int = 30 * MINUTE) -> dict[str, str]:
    with open_views(workbench.folder, now_unix_nano=now_unix_nano, idle_gap_ns=idle_gap_ns) as connection:
        return dict(connection.execute("SELECT source_key, state FROM sessions").fetchall())


@pytest.fixture
def fleet(workbench: Any, turn: Turn) -> Any:
    """A session that ended, one that lost its root, and one that is at work ten minutes later."""
    workbench.ingest(
        [
            turn(1, key="ended", at_unix_nano=NOW),
            turn(2, key="lost", at_unix_nano=NOW, rooted=False),
            turn(3, key="working", at_unix_nano=NOW + 10 * MINUTE, rooted=False),
        ]
    )
    workbench.derive()
    return workbench


def test_a_session_without_an_end_runs_while_the_fleet_is_young(fleet: Any) -> None:
    """The newest record of all is ten minutes away."""
    assert {"ended": "done", "lost": "running", "working": "running"} == _states(fleet)


def test_a_session_that_is_idle_for_longer_than_the_gap_is_abandoned(fleet: Any) -> None:
    """The gap is a setting; what ended stays done."""
    assert {"ended": "done", "lost": "abandoned", "working": "running"} == _states(fleet, idle_gap_ns=5 * MINUTE)


def test_now_stands_for_the_watermark(fleet: Any) -> None:
    """At a time that somebody gives, before and after the gap."""
    quiet_since = NOW + 2 * 10**9
    at = {minutes: _states(fleet, now_unix_nano=quiet_since + minutes * MINUTE) for minutes in (30, 31, 41)}
    assert ["running", "abandoned", "abandoned"] == [at[minutes]["lost"] for minutes in (30, 31, 41)]
    assert ["running", "running", "abandoned"] == [at[minutes]["working"] for minutes in (30, 31, 41)]
    assert {"done"} == {states["ended"] for states in at.values()}


def test_another_session_moves_the_watermark(fleet: Any, turn: Turn) -> None:
    """An hour of work elsewhere makes what is silent abandoned."""
    fleet.ingest([turn(4, key="later", at_unix_nano=NOW + 59 * MINUTE)])
    fleet.derive()
    assert {"ended": "done", "lost": "abandoned", "working": "abandoned", "later": "done"} == _states(fleet)


@pytest.mark.parametrize("at_unix_nano", [0, 4_102_444_800 * 10**9], ids=["1970", "2100"])
def test_a_time_that_cannot_be_right_never_moves_the_watermark(fleet: Any, turn: Turn, at_unix_nano: int) -> None:
    """A record from 2100 does not make the whole fleet abandoned."""
    fleet.ingest([turn(5, key="broken-clock", at_unix_nano=at_unix_nano or 1)])
    fleet.derive()
    states = _states(fleet)
    assert "done" == states.pop("broken-clock")
    assert {"ended": "done", "lost": "running", "working": "running"} == states


def test_a_running_session_has_no_end(fleet: Any) -> None:
    """One that is done or abandoned ended with its last activity."""
    query = (
        "SELECT source_key, end_time IS NULL AS open, end_time = last_activity_time AS last, state_reason FROM sessions"
    )
    with open_views(fleet.folder, idle_gap_ns=5 * MINUTE) as connection:
        rows = {row[0]: row[1:] for row in connection.execute(query).fetchall()}
    assert (False, True, "idle for longer than 5 minutes") == rows["lost"]
    assert (True, None) == rows["working"][:2]
    assert (False, True) == rows["ended"][:2]


def test_the_views_can_be_read_by_several_at_once(fleet: Any) -> None:
    """Each connection stands alone."""
    with open_views(fleet.folder) as one, open_views(fleet.folder, idle_gap_ns=MINUTE) as other:
        counts = [
            connection.execute("SELECT count(*) FROM sessions WHERE state = 'abandoned'").fetchall()[0][0]
            for connection in (one, other)
        ]
    assert [0, 1] == counts
