"""A stop that stops, as a suite for every enforcement point: each phase of a call, each scope of a stop."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from headgate_control.budgets.ledger import Account
from headgate_control.stops.stop import Scope
from headgate_processors.testing.waiting import PATIENCE_S, until

Phase = Literal["streaming", "stalled", "retrying", "not reading"]
PHASES: tuple[Phase, ...] = get_args(Phase)
Who = Literal["struck", "neighbour"]


class RunningCall(Protocol):
    """A call of an agent that has not ended."""

    async def ended(self) -> str | None:
        """Wait for its end: the code that its agent was told, None where its connection was closed without a word."""
        ...


class EnforcementPoint(Protocol):
    """What the suite drives: an enforcement point before an upstream that shows its open calls, and two agents.

    `targets` are the scopes that it enforces, and of each what the calls of the struck agent are part of. Nothing but
    the platform is common to both agents.
    """

    @property
    def targets(self) -> Mapping[Scope, str | None]:
        """The scopes, and whom a stop names in each."""
        ...

    @property
    def phases(self) -> Collection[Phase]:
        """The phases that its calls have."""
        ...

    async def start(self, who: Who, phase: Phase) -> RunningCall:
        """A call that is in this phase when this returns."""
        ...

    async def stop(self, scope: Scope, target: str | None) -> int:
        """Stop, and return when it is in effect: how many calls were cut, their upstreams closed."""
        ...

    async def next_call(self, who: Who) -> str | None:
        """Make another call: the code by which it is denied, None when it is not."""
        ...

    def open_upstream(self, who: Who) -> int:
        """How many calls of an agent the upstream still has open."""
        ...

    def account(self, who: Who) -> Account:
        """What the agent's own budget holds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """What a stop came to, as the suite saw it."""

    cut: int
    told: str | None
    struck_upstream: int
    neighbour_upstream: int
    next_of_struck: str | None
    next_of_neighbour: str | None
    struck: Account
    neighbour: Account


async def stopped_in(point: EnforcementPoint, phase: Phase, scope: Scope) -> Stopped:
    """Stop one of two agents while both have a call, and look at all that must follow.

    Raises:
        TimeoutError: the client was not ended, or the upstream not closed.
    """
    struck = await point.start("struck", phase)
    neighbour = await point.start("neighbour", "streaming")
    async with asyncio.timeout(PATIENCE_S):
        cut = await point.stop(scope, point.targets[scope])
        told = await struck.ended()
    await until(lambda: point.open_upstream("struck") == 0)
    left = point.open_upstream("neighbour")
    next_of_struck, next_of_neighbour = await point.next_call("struck"), await point.next_call("neighbour")
    await until(lambda: point.account("struck").reserved.calls == 0)
    found = Stopped(
        cut=cut,
        told=told,
        struck_upstream=point.open_upstream("struck"),
        neighbour_upstream=left,
        next_of_struck=next_of_struck,
        next_of_neighbour=next_of_neighbour,
        struck=point.account("struck"),
        neighbour=point.account("neighbour"),
    )
    # What was left alone is ended here, so that the next stop finds nothing of this one.
    await point.stop("platform", None)
    await neighbour.ended()
    return found


def expected_of(phase: Phase, scope: Scope, found: Stopped) -> list[str]:
    """What is wrong with what a stop came to, in words; nothing when all is well."""
    is_platform = scope == "platform"
    every = {
        f"{2 if is_platform else 1} calls cut": found.cut == (2 if is_platform else 1),
        "its agent told `stopped`, or its connection closed": found.told == "stopped"
        or (phase == "not reading" and found.told is None),
        "its upstream closed": found.struck_upstream == 0,
        "its next call denied": found.next_of_struck == "stopped",
        "the neighbour's upstream left open": is_platform or found.neighbour_upstream == 1,
        "the neighbour's next call let in": is_platform or found.next_of_neighbour is None,
        "nothing left reserved": found.struck.reserved.calls == 0 and found.struck.reserved.tokens == 0,
        "what was spent booked": phase == "retrying" or found.struck.settled.tokens > 0,
    }
    return [what for what, holds in every.items() if not holds]
