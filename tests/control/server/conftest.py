"""Control with one instance, served over HTTP."""

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from multidict import CIMultiDictProxy

from headgate_control.audit.log import AuditLog
from headgate_control.budgets.amount import Amount, nano_usd
from headgate_control.budgets.budget import Budget
from headgate_control.budgets.owner import BudgetOwner
from headgate_control.budgets.port import LocalBudgets
from headgate_control.decide.service import DecisionService
from headgate_control.identity.launch import Launch, launch
from headgate_control.manifests.load import parse_manifest
from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.engine import PolicyEngine
from headgate_control.server.application import ControlServer
from headgate_control.server.doors import Caller, Doors
from headgate_control.state import ControlState
from headgate_control.store.opening import open_sqlite

NOW = 1_000
MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: fixer, team: payments}
spec:
  tools: [{tool: "*"}, {tool: merge, mcp_server: github, approval: high}, {tool: "*", mcp_server: github}]
  commands: ["pytest *"]
"""
POLICIES = """
@id("all") permit(principal, action, resource);
@id("no-delete") @reason("nothing is deleted") forbid(principal, action, resource == Headgate::Tool::"github/delete");
"""


class Site:
    """Control with one instance, and how to reach it."""

    def __init__(self, folder: Path) -> None:
        self.store = open_sqlite(folder / "control.db", writer="control-1")
        self.state = ControlState(self.store, PolicyEngine(bundle_of({"a.cedar": POLICIES})))
        grant = parse_manifest(MANIFEST, {}, source="manifest")
        made = launch(self.store, self.state.now.snapshot, Launch(grant=grant, launched_by="ada"), clock=lambda: NOW)
        self.state.refresh()
        self.instance, self.key = made.instance.instance_id, made.gateway_key
        self.owner = BudgetOwner.open(folder / "budgets", [])
        self.decisions = folder / "decisions"
        self.log = AuditLog.open(self.decisions, "control-1")
        snapshot = lambda: self.state.now.snapshot  # noqa: E731
        callers = {
            "operator-token": Caller(role="operator", name="ada"),
            "gateway-token": Caller(role="gateway", name="gateway-1"),
        }
        self.server = ControlServer(
            service=DecisionService(snapshot, LocalBudgets(self.owner), self.log, enforcement_point="control"),
            snapshot=snapshot,
            doors=Doors(keys=lambda: self.state.now.keys, authenticate=callers.get, clock=lambda: NOW),
            clock=lambda: NOW,
            look=self.owner.look,
        )

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """The address while it is served."""
        runner = web.AppRunner(self.server.application(), lingering_time=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()

    def ask(self, path: str, body: object, *, token: str | None = "gateway-token") -> tuple[int, Any]:
        """Status and answer of a POST."""
        status, _, answer = self.heard(path, body, token=token)
        return status, answer

    def heard(
        self, path: str, body: object, *, token: str | None = "gateway-token", method: str = "POST", **more: str
    ) -> tuple[int, CIMultiDictProxy[str], Any]:
        """Status, headers and answer of a request; `more` are headers of it, with `_` for `-`."""

        async def go() -> tuple[int, CIMultiDictProxy[str], Any]:
            headers = {"authorization": f"Bearer {token}"} if token else {}
            headers |= {
                "content-type": "application/json",
                **{key.replace("_", "-"): told for key, told in more.items()},
            }
            sent = io.BytesIO(body if isinstance(body, bytes) else orjson.dumps(body))
            async with (
                self.served() as address,
                aiohttp.ClientSession() as client,
                client.request(method, address + path, data=sent, headers=headers) as response,
            ):
                return response.status, response.headers, await response.json()

        return asyncio.run(go())

    def question(self, tool: str, *, server: str | None = "github", instance: str | None = None) -> dict[str, Any]:
        """An evaluation of a tool call."""
        return {
            "subject": {"type": "agent_instance", "id": instance or self.instance},
            "action": {"name": "tools/call"},
            "resource": {"type": "tool", "id": tool, "properties": {"server": server} if server else {}},
        }

    def spend(self, budget: Budget, usd: str) -> None:
        """Set a budget of which so much is spent."""
        self.owner.set(budget)
        amount = Amount(nano_usd=nano_usd(Decimal(usd)))
        self.owner.reserve("spent", [budget.place], amount, at_unix_nano=NOW, expires_unix_nano=NOW + 1)
        self.owner.settle("spent", amount)

    def close(self) -> None:
        """Let go of everything."""
        self.log.close()
        self.owner.close()
        self.store.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A fresh site."""
    with closing(Site(tmp_path)) as made:
        yield made
