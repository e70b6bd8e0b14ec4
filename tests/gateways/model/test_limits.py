"""Limits of calls at the gateway: refused with `rate`, before anything is reserved or sent."""

from typing import Any

from headgate_control.budgets.amount import Amount
from headgate_control.kinds import LIMIT
from headgate_control.limits.limit import Limit
from headgate_control.manifests.load import parse_manifest
from headgate_control.store.record import Change

MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: slow}
spec:
  models: [{provider: openai, model: "gpt-5*"}]
"""


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


def test_tokens_a_minute_count_with_what_calls_used(site: Any) -> None:
    """What the first did not use is there again: too little for one that may need most of it, enough for another."""
    limit(site, tokens_per_minute=2_000)

    async def steps(agent: Any) -> list[Any]:
        found = []
        for most in (1_900, 1_000, 800):
            async with agent.chat(max_tokens=most) as response:
                found.append(response.status)
                await response.read()
        return found

    assert [200, 403, 200] == site.run(steps)


def test_the_limits_of_a_manifest_hold_for_each_of_its_instances(site: Any) -> None:
    """And say so; another instance has its own."""
    text = MANIFEST + "  limits: {calls_per_minute: 1}\n"
    for name in ("carl", "dora"):
        site.join(parse_manifest(text, {}, source="manifest"), launched_by=name)

    async def steps(agent: Any) -> list[Any]:
        found = []
        for key in (2, 2, 3):
            agent.key = site.keys[key]
            async with agent.chat() as response:
                found.append(response.status if response.ok else (await response.json())["error"]["message"])
        return found

    whose = f"limit of instance {site.instances[2]}: 1 calls a minute, and as many were made"
    assert [200, whose, 200] == site.run(steps)


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
