"""Enforcement points: who has heard of a stop, how long that took, and who has not."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from headgate_control.stops import points as points_module
from headgate_control.stops.points import Effect, Effects, EnforcementPoints


class Clock:
    """A monotonic clock that is set by hand."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        """Nanoseconds."""
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    """Stands at 0."""
    return Clock()


@pytest.fixture
def points(clock: Clock) -> EnforcementPoints:
    """Two points have joined."""
    made = EnforcementPoints(clock)
    made.join("a")
    made.join("b")
    return made


def run(steps: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """What the steps give."""

    async def go() -> Any:
        async with asyncio.timeout(60):
            return await steps()

    return asyncio.run(go())


def told(points: EnforcementPoints, epoch: int, *, wait_s: float = 60) -> Effects:
    """The effects of an epoch."""
    found: Effects = run(lambda: points.effects(epoch, wait_s=wait_s))
    return found


def test_effects_are_timed_from_the_acceptance(points: EnforcementPoints, clock: Clock) -> None:
    """The quickest first, with what each has cut; an acknowledgement said again changes nothing."""
    clock.now_ns = 100
    points.accepted(1)
    clock.now_ns = 150
    points.acknowledge("b", 1, cut=2)
    clock.now_ns = 170
    points.acknowledge("a", 1, cut=0)
    points.acknowledge("b", 1, cut=9)
    expected = (
        Effect(enforcement_point="b", effect_ns=50, cut=2),
        Effect(enforcement_point="a", effect_ns=70, cut=0),
    )
    assert Effects(effects=expected, silent=()) == told(points, 1)


def test_whoever_does_not_speak_is_silent(points: EnforcementPoints) -> None:
    """After the wait, by name; what it says of another epoch is no answer."""
    points.accepted(1)
    points.acknowledge("a", 1, cut=0)
    points.acknowledge("b", 2, cut=0)
    found = told(points, 1, wait_s=0)
    assert (["a"], ("b",)) == ([one.enforcement_point for one in found.effects], found.silent)


def test_an_acknowledgement_that_comes_during_the_wait_ends_it(points: EnforcementPoints) -> None:
    """All who wait for the epoch are told."""

    async def steps() -> list[Effects]:
        points.accepted(1)
        waiting = [asyncio.create_task(points.effects(1, wait_s=60)) for _ in range(2)]
        await asyncio.sleep(0)
        points.acknowledge("a", 1, cut=0)
        await asyncio.sleep(0)
        points.acknowledge("b", 1, cut=0)
        return await asyncio.gather(*waiting)

    assert [(), ()] == [found.silent for found in run(steps)]


def test_a_late_acknowledgement_is_heard_of_later(points: EnforcementPoints) -> None:
    """Whoever asks again sees it."""
    points.accepted(1)
    assert ("a", "b") == told(points, 1, wait_s=0).silent
    points.acknowledge("a", 1, cut=1)
    points.acknowledge("b", 1, cut=0)
    assert [1, 0] == [one.cut for one in told(points, 1).effects]


def test_whoever_was_silent_is_told_of_when_it_speaks(points: EnforcementPoints, clock: Clock) -> None:
    """Once, also when it speaks of a later epoch only; who was not there at the time says nothing of it."""
    heard: list[Effect] = []

    async def steps() -> None:
        points.accepted(1)
        points.acknowledge("a", 1, cut=1)
        await points.effects(1, wait_s=0, late=heard.append)

    run(steps)
    points.join("c")
    clock.now_ns += 7
    for epoch in (2, 3):
        points.acknowledge("b", epoch, cut=4)
        points.acknowledge("c", epoch, cut=0)
    assert [Effect(enforcement_point="b", effect_ns=7, cut=0)] == heard


def test_a_point_that_leaves_is_not_waited_for(points: EnforcementPoints) -> None:
    """Also by those who wait for it already."""

    async def steps() -> Effects:
        points.accepted(1)
        points.acknowledge("a", 1, cut=0)
        waiting = asyncio.create_task(points.effects(1, wait_s=60))
        await asyncio.sleep(0)
        points.leave("b")
        return await waiting

    assert () == run(steps).silent
    assert ("a",) == points.names


def test_an_acknowledgement_before_the_acceptance_counts_from_the_acceptance(
    points: EnforcementPoints, clock: Clock
) -> None:
    """The journal may be faster than the command that wrote to it; the moment of the command is what counts."""
    clock.now_ns = 20
    for name in points.names:
        points.acknowledge(name, 1, cut=0)
    points.accepted(1, 5)
    assert [15, 15] == [one.effect_ns for one in told(points, 1).effects]


def test_without_points_nobody_is_silent() -> None:
    """And nothing is waited for."""
    assert Effects(effects=(), silent=()) == told(EnforcementPoints(), 7)


def test_what_is_kept_is_bounded(points: EnforcementPoints, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest epochs are forgotten, and no more points join than may; one that has joined may join again."""
    monkeypatch.setattr(points_module, "EPOCHS_MAX", 2)
    monkeypatch.setattr(points_module, "POINTS_MAX", 2)
    points.acknowledge("a", 1, cut=3)
    points.accepted(2)
    points.accepted(3)
    assert () == told(points, 1, wait_s=0).effects
    points.join("a")
    with pytest.raises(OverflowError, match="2 enforcement points have joined"):
        points.join("c")
