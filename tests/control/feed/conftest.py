"""Control with a feed, served for real, and readers that parse what comes over the wire themselves."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from headgate_control.budgets.owner import BudgetOwner
from headgate_control.feed.budget_routes import RemoteBudgetRoutes
from headgate_control.feed.feed import Feed, FeedConfig
from headgate_control.feed.routes import FeedRoutes
from headgate_control.identity.launch import Launch, launch
from headgate_control.manifests.load import parse_manifest
from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.engine import PolicyEngine
from headgate_control.server.answers import told_errors
from headgate_control.server.doors import Caller, Doors
from headgate_control.state import ControlState
from headgate_control.stops.commands import resume, stop
from headgate_control.stops.points import EnforcementPoints
from headgate_control.stops.stop import parse_key
from headgate_control.store.opening import open_sqlite

NOW = 1_000
MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: fixer, team: payments}
spec:
  models: [{provider: openai, model: "gpt-5*"}]
  budgets: [{calls: 2}]
"""
CALLERS = {
    "operator": Caller(role="operator", name="ada"),
    "gateway": Caller(role="gateway", name="gateway-1"),
    "other": Caller(role="gateway", name="gateway-2"),
}
Told = dict[str, Any]


class Site:
    """Control with one instance. Readers are told a beat every `BEAT_S`."""

    def __init__(self, folder: Path) -> None:
        self.store = open_sqlite(folder / "control.db", writer="control-1")
        self.state = ControlState(self.store, engine("all"))
        self.grant = parse_manifest(MANIFEST, {}, source="manifest")
        self.instance, self.key = self.launched()
        self.owner = BudgetOwner.open(folder / "budgets", self.state.now.budgets.values())
        self.points = EnforcementPoints()
        self.config = FeedConfig(beat_every_s=0.05)
        self.is_blind = False
        self.feed = Feed(self.store, self.state, self.points, self.config)
        self.doors = Doors(keys=lambda: self.state.now.keys, authenticate=CALLERS.get, clock=lambda: NOW)

    def launched(self) -> tuple[str, str]:
        """One more instance: its id and its key."""
        made = launch(self.store, self.state.refresh().snapshot, Launch(grant=self.grant, launched_by="ada"))
        self.state.refresh()
        return made.instance.instance_id, made.gateway_key

    def stop(self, scope: str, target: str) -> int:
        """Stop something; the epoch of it."""
        made = stop(self.store, parse_key(scope, target), mode="stop", author="ada", reason="it loops")
        self.points.accepted(made.epoch)
        self.state.refresh()
        return made.epoch

    def resume(self, scope: str, target: str) -> int:
        """End a stop; the epoch of that."""
        _, epoch = resume(self.store, parse_key(scope, target), author="ada", reason="it is well again")
        self.state.refresh()
        return epoch

    @asynccontextmanager
    async def served(self) -> AsyncIterator["Readers"]:
        """Control while it is served, as its readers see it."""
        self.feed = Feed(self.store, self.state, self.points, self.config, is_blind=lambda: self.is_blind)
        self.feed.start()
        budgets = RemoteBudgetRoutes(owner=self.owner, doors=self.doors, clock=lambda: NOW)
        app = web.Application(middlewares=[told_errors])
        app.add_routes([*FeedRoutes(feed=self.feed, doors=self.doors).routes(), *budgets.routes()])
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with aiohttp.ClientSession() as client:
                yield Readers(f"http://127.0.0.1:{runner.addresses[0][1]}", client)
        finally:
            self.feed.close()
            await runner.cleanup()

    def run(self, steps: Callable[["Readers"], Any]) -> Any:
        """What happens while control is served."""

        async def go() -> Any:
            async with asyncio.timeout(60), self.served() as readers:
                return await steps(readers)

        return asyncio.run(go())

    def close(self) -> None:
        """Let go of everything."""
        self.owner.close()
        self.store.close()


class Readers:
    """Reads the feed and posts, as a gateway would."""

    def __init__(self, address: str, client: aiohttp.ClientSession) -> None:
        self.address, self.client = address, client

    @asynccontextmanager
    async def reading(self, *, token: str = "gateway", point: str = "gw", **query: Any) -> AsyncIterator["Reading"]:
        """A connection to the feed."""
        asked = {"point": point, "version": "1", **{name: str(value) for name, value in query.items()}}
        headers = {"authorization": f"Bearer {token}"}
        async with self.client.get(f"{self.address}/v1/feed", params=asked, headers=headers) as response:
            yield Reading(response)

    async def post(self, path: str, body: object, *, token: str = "gateway") -> tuple[int, Any]:
        """Status and answer of a POST."""
        headers = {"authorization": f"Bearer {token}"}
        async with self.client.post(self.address + path, json=body, headers=headers) as response:
            return response.status, await response.json()


class Reading:
    """The events of one connection."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def event(self) -> Told:
        """The next event: its fields, with `event` and `id` among them."""
        fields: dict[str, str] = {}
        while True:
            line = (await self.response.content.readline()).decode()
            if not line:
                raise EOFError
            if line == "\n":
                if "data" in fields:
                    return {"event": fields["event"], "id": fields.get("id"), **json.loads(fields["data"])}
                fields = {}
                continue
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value

    async def until_beat(self, epoch: int | None = None) -> list[Told]:
        """The events up to the next beat, of that epoch when one is given."""
        found = []
        while True:
            found.append(await self.event())
            if found[-1]["event"] == "beat" and epoch in {None, found[-1]["epoch"]}:
                return found


def engine(name: str) -> PolicyEngine:
    """A bundle of one policy that permits everything."""
    return PolicyEngine(bundle_of({"a.cedar": f'@id("{name}") permit(principal, action, resource);'}))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A fresh site."""
    with closing(Site(tmp_path)) as made:
        yield made
