"""Which sessions a person asks for."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from headgate_console.errors import CommandError
from headgate_console.queries.sessions import SessionFilter, find_session, list_sessions, session_timeline, states

START = 1_763_000_000_000_000_000
HOUR = 3_600_000_000_000

Rows = list[dict[str, Any]]


@pytest.fixture
def fleet(views: Any, session_row: Callable[..., dict[str, Any]]) -> Any:
    """Three sessions: one done, one abandoned an hour later, one still running."""
    return views(
        {
            "sessions": [
                session_row(session_id="aa11" + "0" * 28, source_key="thread-1"),
                session_row(
                    session_id="aa22" + "0" * 28,
                    source_key="thread-2",
                    state="abandoned",
                    team="search",
                    last_activity_time_unix_nano=START + HOUR,
                ),
                session_row(
                    session_id="bb33" + "0" * 28,
                    source_key="aa11",
                    state="running",
                    workflow="triage",
                    user_id="bob",
                    agent_name="reviewer",
                    agent_names=["reviewer"],
                    last_activity_time_unix_nano=START + 2 * HOUR,
                ),
            ]
        }
    )


def _ids(rows: Rows) -> list[str]:
    return [row["session_id"][:4] for row in rows]


def test_the_last_active_session_comes_first(fleet: Any) -> None:
    """Sessions are listed newest first, at most as many as asked for."""
    assert ["bb33", "aa22", "aa11"] == _ids(list_sessions(fleet, SessionFilter()))
    assert ["bb33"] == _ids(list_sessions(fleet, SessionFilter(limit=1)))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (SessionFilter(state="running"), ["bb33"]),
        (SessionFilter(team="search"), ["aa22"]),
        (SessionFilter(workflow="triage"), ["bb33"]),
        (SessionFilter(user="bob"), ["bb33"]),
        (SessionFilter(agent="reviewer"), ["bb33", "aa22", "aa11"]),
        (SessionFilter(agent="fixer"), ["aa22", "aa11"]),
        (SessionFilter(since=datetime.fromtimestamp(START / 1e9 + 1800, UTC)), ["bb33", "aa22"]),
        (SessionFilter(state="stuck"), []),
    ],
)
def test_filters_narrow_the_list(fleet: Any, wanted: SessionFilter, expected: list[str]) -> None:
    """Each filter keeps only what matches; an agent matches when it took part at all."""
    assert expected == _ids(list_sessions(fleet, wanted))


def test_states_are_counted_over_the_whole_store(fleet: Any) -> None:
    """Every state with how many sessions are in it."""
    assert {"abandoned": 1, "done": 1, "running": 1} == states(fleet)


@pytest.mark.parametrize("wanted", ["bb33", "bb33" + "0" * 28, "BB33"])
def test_a_session_is_found_by_its_first_digits(fleet: Any, wanted: str) -> None:
    """A whole id or a prefix that only one session has, in either case of letters."""
    assert "bb33" == find_session(fleet, wanted)["session_id"][:4]


def test_a_session_is_found_by_the_agents_own_key(fleet: Any) -> None:
    """The source's key names a session, and wins over a prefix of another's id."""
    assert "aa22" == find_session(fleet, "thread-2")["session_id"][:4]
    assert "bb33" == find_session(fleet, "aa11")["session_id"][:4]


def test_an_ambiguous_prefix_names_the_candidates(fleet: Any) -> None:
    """Several matches are an error that lists them."""
    with pytest.raises(CommandError, match=r"2 sessions match 'aa': aa22\d+, aa11\d+\. Give more digits"):
        find_session(fleet, "aa")


@pytest.mark.parametrize("wanted", ["nope", ""])
def test_an_unknown_session_says_how_to_list_them(fleet: Any, wanted: str) -> None:
    """No match is an error with the next step."""
    with pytest.raises(CommandError, match="headgate sessions"):
        find_session(fleet, wanted)


def test_a_timeline_is_in_order_of_seq(views: Any, entry: Callable[..., dict[str, Any]]) -> None:
    """Rows of one session only, by their place in it."""
    rows = [entry(2, "command", "ran it", at_s=1), entry(1, "task", "go", at_s=2), entry(1, "task", "x", at_s=0)]
    rows[2]["session_id"] = "other"
    found = session_timeline(views({"timeline": rows}), rows[0]["session_id"])
    assert ["go", "ran it"] == [row["title"] for row in found]
