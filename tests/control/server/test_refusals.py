"""What control's door refuses leaves a trace, however often it is refused."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from headgate_control.server.answers import REFUSALS, told_errors
from headgate_control.server.doors import Caller, Doors, NotYoursError, only
from headgate_control.server.refusals import EVENTS_A_MINUTE, WAITING_MAX, Refusals
from headgate_control.store.opening import open_sqlite, read_sqlite
from headgate_control.store.port import ControlStore
from headgate_processors.errors import ForbiddenError, TransientError, UnauthenticatedError

MINUTE_NS = 60_000_000_000
ASKED = "POST /v1/stops"
AGENT = Caller(role="agent", name="key k1", instance_id="ai-1", key_id="k1")
NOBODY = UnauthenticatedError("show a token")


class Clock:
    """A clock that is set."""

    now_ns = 1

    def __call__(self) -> int:
        """What it shows."""
        return self.now_ns


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ControlStore]:
    """A fresh store."""
    with closing(open_sqlite(tmp_path / "control.sqlite", writer="control")) as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    """The clock of both."""
    return Clock()


@pytest.fixture
def refusals(clock: Clock) -> Refusals:
    """Nothing was refused yet."""
    return Refusals(clock=clock, monotonic_ns=clock)


def refused(caller: Caller) -> NotYoursError:
    """The error of a caller who asks for what is not theirs."""
    return NotYoursError("this is for operators", caller)


def test_an_agent_that_commands_is_in_the_journal(refusals: Refusals, store: ControlStore) -> None:
    """By whom, what for, and how often."""
    for _ in range(3):
        refusals.note(refused(AGENT), ASKED, "10.0.0.1")
    refusals.tell(store)
    (event,) = store.events()
    expected = ("key k1", "command.refuse", "ai-1", f"{ASKED}: it is not for agents", 3)
    assert expected == (event.author, event.action, event.id, event.reason, (event.after or {})["times"])


def test_nobody_we_know_is_logged_and_counted(
    refusals: Refusals, store: ControlStore, caplog: pytest.LogCaptureFixture
) -> None:
    """And nothing of it is journalled: anybody can cause it."""
    for _ in range(2):
        refusals.note(NOBODY, ASKED, "10.0.0.1")
    refusals.tell(store)
    line = f"{ASKED} was refused 2 times, the last time from 10.0.0.1: no token or key that is good here"
    assert ([line], [], {(ASKED, "401"): 2}) == (caplog.messages, store.events(), refusals.counts)


def test_a_flood_is_told_once_a_minute(refusals: Refusals, store: ControlStore, clock: Clock) -> None:
    """With how often it was meanwhile."""
    for second in range(90):
        clock.now_ns = 1 + second * MINUTE_NS // 60
        for _ in range(100):
            refusals.note(refused(AGENT), ASKED, "10.0.0.1")
        refusals.tell(store)
    assert [100, 6_000] == [(event.after or {})["times"] for event in store.events()]


def test_many_callers_fill_neither_memory_nor_journal(
    refusals: Refusals, store: ControlStore, caplog: pytest.LogCaptureFixture
) -> None:
    """What there is no room for is counted."""
    for number in range(WAITING_MAX + 50):
        refusals.note(refused(Caller(role="agent", name=f"key {number}", instance_id=f"ai-{number}")), ASKED, "::1")
    refusals.tell(store)
    refusals.tell(store)
    counted = refusals.counts[ASKED, "403"]
    assert (EVENTS_A_MINUTE, WAITING_MAX + 50, True) == (
        len(store.events()),
        counted,
        len(caplog.messages) <= EVENTS_A_MINUTE + 1,
    )


def test_what_cannot_be_journalled_waits(refusals: Refusals, store: ControlStore, tmp_path: Path) -> None:
    """And is told with what comes meanwhile."""
    refusals.note(refused(AGENT), ASKED, "::1")
    with closing(read_sqlite(tmp_path / "control.sqlite")) as sealed, pytest.raises(TransientError):
        refusals.tell(sealed)
    refusals.note(refused(AGENT), ASKED, "::1")
    refusals.tell(store)
    assert [2] == [(event.after or {})["times"] for event in store.events()]


def test_what_is_refused_for_another_reason_is_none(refusals: Refusals) -> None:
    """Such as a token for an instance that is stopped."""
    refusals.note(ForbiddenError("it is stopped"), ASKED, "::1")
    assert {} == refusals.counts


def test_a_route_is_named_and_not_what_was_asked_for_on_it(
    refusals: Refusals, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor anything that was shown."""
    doors = Doors(keys=dict, authenticate={"an-agent": AGENT}.get, clock=lambda: 1)

    async def command(http: web.Request) -> web.Response:
        only(doors.caller(http.headers.get("authorization")), "operator")
        return web.Response()

    async def ask() -> list[int]:
        app = web.Application(middlewares=[told_errors])
        app[REFUSALS] = refusals
        app.add_routes([web.post("/v1/instances/{id}/token", command)])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/instances/ai-7/token"
        try:
            async with aiohttp.ClientSession() as client:
                sent = [{"authorization": f"Bearer {token}"} for token in ("an-agent", "a-secret")]
                return [(await client.post(url, headers=headers)).status for headers in sent]
        finally:
            await runner.cleanup()

    asked = "POST /v1/instances/{id}/token"
    assert ([403, 401], {(asked, "403"): 1, (asked, "401"): 1}, False) == (
        asyncio.run(ask()),
        refusals.counts,
        "a-secret" in caplog.text,
    )
