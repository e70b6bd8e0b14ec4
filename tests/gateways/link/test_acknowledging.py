"""What a gateway says it has done about stops: all of it, once, and nothing that it has not."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from headgate_control.decide.core import Snapshot
from headgate_control.state import State
from headgate_control.stops.points import EPOCHS_MAX
from headgate_control.stops.stop import Facts, Mode, Stop
from headgate_control.stops.stop_set import StopSet
from headgate_gateways.link.acknowledging import Acknowledging
from headgate_processors.testing.waiting import until

Matching = Callable[[Facts], Stop | None]


def state(*teams: str, epoch: int, mode: Mode = "stop") -> State:
    """Stops of these teams, the first with epoch 1."""
    stops = [
        Stop(
            stop_id=f"s{number}",
            key=("team", team),
            mode=mode,
            reason="r",
            author="a",
            accepted_unix_nano=1,
            epoch=number,
        )
        for number, team in enumerate(teams, 1)
    ]
    return State(snapshot=Snapshot(stops=StopSet.of(stops, epoch=epoch)))


class Heard:
    """What control was told; `open_teams` have an open call each."""

    def __init__(self, *open_teams: str, closes: bool = True) -> None:
        self.told: list[Mapping[str, Any]] = []
        self.open_teams, self.closes = open_teams, closes
        self.acknowledging = Acknowledging(self.cut, self.tell, point="gw", clock=lambda: 5)

    async def cut(self, matching: Matching) -> int:
        """End the calls that are stopped."""
        struck = [team for team in self.open_teams if matching(Facts(team=team)) is not None]
        self.open_teams = tuple(team for team in self.open_teams if team not in struck)
        if struck and not self.closes:
            await asyncio.Event().wait()
        return len(struck)

    async def tell(self, said: Mapping[str, Any]) -> None:
        """Keep what is said."""
        self.told.append(said)

    def epochs(self) -> list[dict[int, int]]:
        """For each telling, what was cut by epoch."""
        return [{one["epoch"]: one["cut"] for one in [*said["earlier"], said]} for said in self.told]


def run(steps: Any) -> Any:
    """Steps that end within a minute."""
    return asyncio.run(asyncio.wait_for(steps(), 60))


def test_each_epoch_is_told_once_with_what_was_cut_for_it() -> None:
    """Also when several come at once, and when a beat comes again."""
    heard = Heard("a", "b", "c", "x")

    async def steps() -> None:
        await heard.acknowledging.acknowledge(0)
        heard.acknowledging.strike(state("a", "b", epoch=2))
        await heard.acknowledging.acknowledge(2)
        await heard.acknowledging.acknowledge(2)
        heard.acknowledging.strike(state("a", "b", "c", epoch=3))
        heard.acknowledging.strike(state("a", "b", "c", epoch=4))
        await heard.acknowledging.acknowledge(4)
        await until(lambda: len(heard.told) == 3)
        await heard.acknowledging.close()

    run(steps)
    assert [{0: 0}, {1: 1, 2: 1}, {3: 1, 4: 0}] == heard.epochs()
    assert ("x",) == heard.open_teams


def test_what_does_not_close_is_not_acknowledged_and_hinders_no_other_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control takes the silence for what it is."""
    monkeypatch.setattr("headgate_gateways.link.acknowledging.CLOSE_S", 0.05)
    heard = Heard("a", closes=False)

    async def steps() -> None:
        heard.acknowledging.strike(state("a", epoch=1))
        await heard.acknowledging.acknowledge(1)
        await until(lambda: not heard.acknowledging._telling)
        heard.acknowledging.strike(state("a", "b", epoch=2))
        await heard.acknowledging.acknowledge(2)
        await until(lambda: len(heard.told) == 1)

    run(steps)
    assert [{2: 0}] == heard.epochs()


def test_a_pause_cuts_nothing_and_is_acknowledged() -> None:
    """Open calls may end."""
    heard = Heard("a")

    async def steps() -> None:
        await heard.acknowledging.acknowledge(0)
        heard.acknowledging.strike(state("a", epoch=1, mode="pause"))
        await heard.acknowledging.acknowledge(1)
        await until(lambda: len(heard.told) == 2)

    run(steps)
    assert [{0: 0}, {1: 0}] == heard.epochs()
    assert ("a",) == heard.open_teams


def test_another_run_of_control_is_told_of_the_present_epoch_alone() -> None:
    """What is stopped is struck again: a stop of another run may have the number of an old one."""
    heard = Heard("a")

    async def steps() -> None:
        await heard.acknowledging.acknowledge(7)
        heard.acknowledging.strike(state("b", epoch=1))
        heard.acknowledging.another_run()
        heard.acknowledging.strike(state("a", epoch=1))
        await heard.acknowledging.acknowledge(1)
        await until(lambda: len(heard.told) == 2)

    run(steps)
    assert [{7: 0}, {1: 1}] == heard.epochs()


def test_no_more_epochs_are_told_than_control_keeps() -> None:
    """After a long absence."""
    heard = Heard()

    async def steps() -> None:
        await heard.acknowledging.acknowledge(1)
        await heard.acknowledging.acknowledge(5_000)
        await until(lambda: len(heard.told) == 2)

    run(steps)
    assert EPOCHS_MAX == len(heard.epochs()[1])


def test_so_many_acknowledgements_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one waits for one of them."""
    monkeypatch.setattr("headgate_gateways.link.acknowledging.TASKS_MAX", 1)
    heard = Heard()

    async def steps() -> None:
        for epoch in (1, 2, 3):
            await heard.acknowledging.acknowledge(epoch)
        await heard.acknowledging.close()

    run(steps)
    assert [{1: 0}, {2: 0}, {3: 0}] == heard.epochs()
