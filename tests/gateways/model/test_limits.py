"""Limits of calls at the gateway: refused with `rate`, before anything is reserved or sent."""

from typing import Any

from headgate_control.budgets.amount import Amount
from headgate_control.kinds import LIMIT
from headgate_control.limits.limit import Limit
from headgate_control.store.record import Change


def limit(site: Any, **limits: int) -> None:
    """Limit the team of both agents."""
    found = Limit(limit_id="l", place=("team", "payments"), **limits)
    site.store.change([Change(kind=LIMIT, id="l", body=found.written())], author="ada", action="limit.set")
    site.state.refresh()


def test_calls_beyond_the_rate_are_refused(site: Any) -> None:
    """Those of another agent of the team count too."""
    limit(site, calls_per_minute=1)

    async def steps(agent: Any) -> list[Any]:
        async with agent.chat() as first:
            found = [first.status]
            await first.read()
        agent.key = site.keys[1]
        async with agent.chat() as second:
            return [*found, second.status, (await second.json())["error"]["code"]]

    assert [200, 403, "rate"] == site.run(steps)
    assert 1 == len(list(site.server.journal.exchanges()))
    assert Amount() == site.owner.account(site.budget(), 0).reserved


def test_a_call_that_is_over_makes_room(site: Any) -> None:
    """Also one that was refused for its cost, or that the agent left."""
    limit(site, open_calls_max=1)

    async def steps(agent: Any) -> list[int]:
        found = []
        for body in ({}, {"max_tokens": 10_000_000}, {}):
            async with agent.chat(**body) as response:
                found.append(response.status)
                await response.read()
        return found

    assert [200, 403, 200] == site.run(steps)
