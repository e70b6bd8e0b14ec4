"""Stops carried out: many at once, each with an epoch and an answer of its own."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from headgate_control.budgets.owner import BudgetOwner
from headgate_control.kinds import EPOCH
from headgate_control.room import Room
from headgate_control.server.doors import Doors
from headgate_control.state import ControlState, State
from headgate_control.stops.enact import enact, lift
from headgate_control.stops.points import EnforcementPoints
from headgate_control.stops.stop import Key, Mode
from headgate_control.store.opening import open_sqlite
from headgate_control.store.record import Event
from headgate_processors.errors import ConfigError

POINT = "gateway"
TOGETHER = 8


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """Control with one point, which acknowledges each epoch as it hears of it."""
    points = EnforcementPoints()
    points.join(POINT)

    def acknowledge(_: State, events: list[Event]) -> None:
        for event in events:
            if event.kind == EPOCH and event.after is not None:
                points.acknowledge(POINT, int(str(event.after["epoch"])), cut=0)

    with (
        closing(open_sqlite(tmp_path / "control.db", writer="control")) as store,
        closing(BudgetOwner.open(tmp_path / "budgets", [])) as owner,
    ):
        state = ControlState(store)
        state.listen(acknowledge)
        doors = Doors(keys=lambda: state.now.keys, authenticate=lambda _: None, clock=lambda: 0)
        yield Room(
            store=store, state=state, owner=owner, points=points, doors=doors, telemetry_token=lambda _: "a token"
        )


def test_stops_that_come_together_have_an_epoch_each(room: Room) -> None:
    """And each is acknowledged for itself; all of them hold at the end."""

    async def go() -> list[int]:
        async with asyncio.timeout(60):
            done = await asyncio.gather(
                *(
                    enact(room, ("team", str(number)), mode="stop", author="ada", reason="all")
                    for number in range(TOGETHER)
                )
            )
        assert [()] * TOGETHER == [found.silent for _, found in done]
        return [made.epoch for made, _ in done]

    assert list(range(1, TOGETHER + 1)) == sorted(asyncio.run(go()))
    assert TOGETHER == len(list(room.now.snapshot.stops))


def test_a_stop_and_a_pause_of_one_key_end_together(room: Room) -> None:
    """With one epoch, after which nothing is left to end."""
    key: Key = ("team", "x")
    modes: tuple[Mode, ...] = ("stop", "pause")

    async def go() -> None:
        for mode in modes:
            await enact(room, key, mode=mode, author="ada", reason="both")
        ended, epoch, found = await lift(room, key, author="ada", reason="over")
        assert ({*modes}, 3, ()) == ({one.mode for one in ended}, epoch, found.silent)
        with pytest.raises(ConfigError, match="team x is neither stopped nor paused"):
            await lift(room, key, author="ada", reason="again")

    asyncio.run(go())
    assert [] == list(room.now.snapshot.stops)


def test_a_stop_without_a_reason_is_none(room: Room) -> None:
    """Nobody hears of it, and no epoch is spent on it."""
    with pytest.raises(ConfigError, match="a pause has a reason"):
        asyncio.run(enact(room, ("platform", ""), mode="pause", author="ada", reason="  "))
    assert [] == list(room.store.events())
