"""The model gateway passes the suite of enforcement points: every phase of a call, every scope of a stop."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from headgate_control.budgets.amount import Amount
from headgate_control.budgets.ledger import Account
from headgate_control.manifests.load import parse_manifest
from headgate_control.stops.stop import Scope
from headgate_gateways.model.routing import Routing
from headgate_gateways.model.upstream import Upstream
from headgate_gateways.testing.kill_suite import PHASES, Phase, Stopped, Who, expected_of, stopped_in
from headgate_gateways.testing.slow_provider import SlowProvider
from headgate_processors.testing.waiting import until

SCOPES: tuple[Scope, ...] = ("instance", "session", "workflow", "team", "model", "identity", "platform")
BACKOFF_MS = 60_000
NEIGHBOUR = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: reader, team: search, workflow: read}
spec:
  models: [{provider: openai, model: "gpt-5*"}]
  budgets: [{usd: 5, tokens: 100000}]
"""


@dataclass
class Running:
    """A call through the gateway, as its agent has it."""

    phase: Phase
    response: "asyncio.Future[aiohttp.ClientResponse]"

    async def ended(self) -> str | None:
        """As `RunningCall.ended`."""
        response, body = await self.response, b""
        try:
            if self.phase == "not reading":
                return await self._closed(response)
            with suppress(aiohttp.ClientError):
                body = await response.read()
        finally:
            response.close()
        last = body.decode().strip().splitlines()[-1:] or [""]
        try:
            return str(json.loads(last[0].removeprefix("data: "))["error"]["code"])
        except (json.JSONDecodeError, KeyError):
            return None

    async def _closed(self, response: aiohttp.ClientResponse) -> str | None:
        """Read at last what is left, to find that the connection was closed in the middle of it."""
        with suppress(aiohttp.ClientError):
            await response.read()
        return None


@dataclass
class GatewayPoint:
    """The model gateway as an `EnforcementPoint`."""

    site: Any
    agent: Any
    provider: SlowProvider
    phases: tuple[Phase, ...] = PHASES
    calls: int = 0
    targets: Mapping[Scope, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.targets = {
            "instance": self.site.instances[0],
            "session": "s-struck",
            "workflow": "fix-tests",
            "team": "payments",
            "model": "openai/gpt-5-mini",
            "identity": "ada",
            "platform": None,
        }

    def call(self, who: Who, phase: str) -> Any:
        """A request, as a context of its response."""
        place = 0 if who == "struck" else -1
        headers = {
            "authorization": f"Bearer {self.site.keys[place]}",
            "x-session-id": f"s-{who}",
            "x-who": who,
            "x-phase": phase,
        }
        body = {"model": "gpt-5-mini" if who == "struck" else "gpt-5", "messages": [], "stream": True}
        return self.agent.post("/openai/v1/chat/completions", body, headers=headers)

    async def start(self, who: Who, phase: Phase) -> Running:
        """As `EnforcementPoint.start`."""
        running = Running(phase, asyncio.ensure_future(self._sent(who, phase)))
        before = len(self.site.calls)
        if phase == "retrying":
            await until(lambda: self.provider.refused[who] == 1)
        else:
            await until(lambda: self.provider.open[who] == 1)
        await until(lambda: len(self.site.calls) >= max(1, before))
        if phase in {"streaming", "not reading"}:
            await (await running.response).content.readany()
        return running

    async def _sent(self, who: Who, phase: str) -> aiohttp.ClientResponse:
        response: aiohttp.ClientResponse = await self.call(who, phase)
        return response

    async def stop(self, scope: Scope, target: str | None) -> int:
        """As `EnforcementPoint.stop`."""
        return int(await self.site.stop(scope, target))

    async def next_call(self, who: Who) -> str | None:
        """As `EnforcementPoint.next_call`."""
        async with self.call(who, "plain") as response:
            answer = await response.json(content_type=None)
            return str(answer["error"]["code"]) if response.status != 200 else None

    def open_upstream(self, who: Who) -> int:
        """As `EnforcementPoint.open_upstream`."""
        return self.provider.open[who]

    def account(self, who: Who) -> Account:
        """As `EnforcementPoint.account`."""
        instance = self.site.instances[0 if who == "struck" else -1]
        budgets = self.site.state.now.budgets.values()
        found = self.site.owner.account(next(one for one in budgets if one.place == ("instance", instance)), 0)
        assert isinstance(found, Account)
        return found


def stopped(site: Any, phase: Phase, scope: Scope) -> Stopped:
    """What a stop of this scope comes to in this phase."""
    site.join(parse_manifest(NEIGHBOUR, {}, source="manifest"), launched_by="cy")
    site.limit(tokens=100_000_000)

    async def go() -> Stopped:
        async with SlowProvider() as provider:
            site.provider = provider.url
            second = Upstream(name="openai", kind="openai", base_url=f"{provider.url}/v1", api_key=lambda: "sk-2")
            site.more["second"] = second
            site.routing = Routing(fallbacks={"openai": ["second"]}, backoff_ms=BACKOFF_MS)
            async with site.agent() as agent:
                return await stopped_in(GatewayPoint(site, agent, provider), phase, scope)

    return asyncio.run(go())


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("phase", PHASES)
def test_a_stop_stops(site: Any, phase: Phase, scope: Scope) -> None:
    """Client ended, upstream closed, spend booked, next call denied, neighbours untouched."""
    found = stopped(site, phase, scope)
    assert [] == expected_of(phase, scope, found), found


def test_the_suite_says_all_that_is_wrong() -> None:
    """A point that enforces nothing passes none of it."""
    spent = Account(reserved=Amount(calls=1, tokens=1))
    found = Stopped(
        cut=0,
        told=None,
        struck_upstream=1,
        neighbour_upstream=0,
        next_of_struck=None,
        next_of_neighbour="stopped",
        struck=spent,
        neighbour=spent,
    )
    assert 8 == len(expected_of("streaming", "team", found))
