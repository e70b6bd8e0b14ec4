"""The follower of control's own gateway: stops are carried out and told, wherever a page of the journal ends."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from headgate_console.control.follower import Follower
from headgate_console.control.place import Place
from headgate_control.budgets.owner import BudgetOwner
from headgate_control.room import Room
from headgate_control.server.doors import Doors
from headgate_control.state import ControlState
from headgate_control.stops.commands import resume, stop
from headgate_control.stops.points import EnforcementPoints
from headgate_control.stops.stop import Facts, parse_key
from headgate_control.store.opening import open_sqlite
from headgate_control.store.record import Change
from headgate_gateways.model.open_calls import OpenCall, OpenCalls

POINT = "model-gateway"
TEAM = parse_key("team", "payments")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """Control without routes."""
    place = Place(data=tmp_path)
    with (
        closing(open_sqlite(place.database, writer="control")) as store,
        closing(BudgetOwner.open(place.logs, [])) as owner,
    ):
        state = ControlState(store)
        yield Room(
            store=store,
            state=state,
            owner=owner,
            points=EnforcementPoints(),
            doors=Doors(keys=dict, authenticate=lambda _: None, clock=time.time_ns),
            telemetry_token=lambda _: "",
        )


@pytest.mark.parametrize("before", [0, 1, 2])
def test_an_epoch_at_the_end_of_a_page_belongs_to_the_stop_on_the_next(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """It is acknowledged with what was cut for its stop, not before that is closed; the end of a stop likewise."""
    monkeypatch.setattr("headgate_control.state._PAGE", 3)
    calls = OpenCalls(calls_max=9)

    async def steps() -> list[tuple[int, int]]:
        follower = Follower(room, calls, Place(data=tmp_path), point=POINT, loop=asyncio.get_running_loop())
        room.state.listen(follower)
        room.points.join(POINT)
        opened = calls.opened(Facts(team="payments"))
        for number in range(before):
            room.store.change([Change(kind="other", id=str(number), body={})], author="ada", action="other")
        made = stop(room.store, TEAM, mode="stop", author="ada", reason="it loops")
        _, ended = resume(room.store, TEAM, author="ada", reason="mended")
        room.points.accepted(made.epoch)
        room.points.accepted(ended)
        await room.refresh()
        early = await room.points.effects(made.epoch, wait_s=0.05)
        assert (POINT,) == early.silent
        _end(calls, opened)
        found = [await room.points.effects(epoch, wait_s=10) for epoch in (made.epoch, ended)]
        return [(one.cut, len(told.silent)) for told in found for one in told.effects]

    assert [(1, 0), (0, 0)] == asyncio.run(steps())


def _end(calls: OpenCalls, call: OpenCall) -> None:
    """Its upstream is closed, as a gateway does when a call was cut."""
    assert call.reason == ("stopped", "it loops")
    calls.closed(call)
