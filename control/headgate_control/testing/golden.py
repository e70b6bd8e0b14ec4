"""Control in the state that a golden case speaks of, and its rows without what only the one who made them knows."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from headgate_control.audit.log import AuditLog
from headgate_control.budgets.amount import NOTHING, Unit
from headgate_control.budgets.owner import BudgetOwner
from headgate_control.budgets.port import LocalBudgets
from headgate_control.budgets.question import question_of
from headgate_control.decide.core import READS
from headgate_control.decide.decision import Logged
from headgate_control.decide.service import DecisionService
from headgate_control.policy.cases import Case
from headgate_control.policy.trial import NOW_UNIX_NANO, Setting
from headgate_control.request import Request
from headgate_control.server.application import ControlServer
from headgate_control.server.doors import Caller, Doors

OF_ITSELF = frozenset(
    {
        "kind",
        "decision_id",
        "time_unix_nano",
        "enforcement_point",
        "latency_ns",
        "reservation_id",
        "trace_id",
        "span_id",
    }
)
"""Columns that every wire fills as it goes."""
SECOND_NS = 1_000_000_000
GATEWAY, AGENT = "gateway", "agent"
"""The tokens of the two that may ask."""


def named(case: Case) -> str:
    """The id of a test."""
    return case.name


def verdict(logged: Logged) -> dict[str, object]:
    """The row of a decision without what is of its maker."""
    return {column: value for column, value in logged.row().items() if column not in OF_ITSELF}


def question(case: Case) -> dict[str, Any]:
    """The case as AuthZEN asks it, with what it may cost as its context says it."""
    asked, estimate = case.request, case.estimate
    said = {} if estimate is None else {"cost_est": str(estimate.usd), "tokens_est": estimate.tokens}
    return {
        "subject": {"type": "agent_instance", "id": case.instance.id},
        "action": {"name": asked.action},
        "resource": asked.resource.model_dump(),
        "context": {**asked.context, **said},
    }


def hook_of(case: Case) -> dict[str, Any] | None:
    """The case as Claude Code asks it before a tool runs; None where it does not.

    A file, a command or a host is asked for with the tool that it comes by, and after it.
    """
    resource, context = case.request.resource, case.request.context
    tools: Mapping[str, tuple[str, dict[str, Any]]] = {
        "file.read": ("Read", {"file_path": resource.id}),
        "file.write": ("Write", {"file_path": resource.id}),
        "proc.exec": ("Bash", {"command": resource.id}),
        "net.connect": ("WebFetch", {"url": f"https://{resource.id}/"}),
    }
    if case.request.action == "tools/call":
        server = resource.properties.get("server")
        name, given = f"mcp__{server}__{resource.id}" if server else resource.id, context.get("input", {})
    elif case.request.action in tools:
        name, given = tools[case.request.action]
    else:
        return None
    is_asked_so = not resource.properties.keys() - {"server"} and "/" not in name and case.estimate is None
    session = {"session_id": context["session"]} if "session" in context else {}
    body = {"hook_event_name": "PreToolUse", "tool_name": name, "tool_input": given, **session}
    return body if is_asked_so else None


def is_sayable(case: Case, tried: Setting) -> bool:
    """Whether a question can say what the case's estimate is, in all that its budgets limit."""
    if tried.estimate is None:
        return True
    context, action = question(case)["context"], case.request.action
    said = question_of(action, context, is_read=action in READS)
    units: set[Unit] = {unit for budget in tried.budgets for unit, _ in budget.limits.items()}
    return not units & said.unknown and all(said.amount.of(unit) == tried.estimate.of(unit) for unit in units)


def spend(owner: BudgetOwner, tried: Setting) -> None:
    """Book what of the budgets of a case is spent."""
    for budget in tried.budgets:
        owner.reserve(
            budget.budget_id,
            [budget.place],
            NOTHING,
            at_unix_nano=NOW_UNIX_NANO,
            expires_unix_nano=NOW_UNIX_NANO + SECOND_NS,
        )
        owner.settle(budget.budget_id, tried.spent[budget.budget_id])


def last_row(folder: Path) -> Mapping[str, Any]:
    """The last row of a log, as `verdict` has it."""
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    body = json.loads(lines[-1])["body"]
    return {column: value for column, value in body.items() if column not in OF_ITSELF}


class GoldenSite:
    """Books, log, service and server of control. For one case."""

    def __init__(self, folder: Path, tried: Setting) -> None:
        self.folder, self.tried = folder, tried
        self.owner = BudgetOwner.open(folder / "budgets", tried.budgets)
        self.log = AuditLog.open(folder / "decisions", "control")
        spend(self.owner, tried)
        self.service = DecisionService(
            lambda: tried.snapshot,
            LocalBudgets(self.owner),
            self.log,
            enforcement_point="control",
            clock=lambda: NOW_UNIX_NANO,
            look=self.owner.look,
        )

    def close(self) -> None:
        """Let go of everything."""
        self.log.close()
        self.owner.close()

    def row(self) -> Mapping[str, Any]:
        """The last row of the log."""
        return last_row(self.folder / "decisions")

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """Where control answers."""
        runner = web.AppRunner(self._server().application())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def post(self, path: str, body: object, *, token: str) -> tuple[int, Any]:
        """Status and answer of a POST by a gateway or by the agent itself."""
        return await self._sent("POST", path, token, json=body)

    async def get(self, path: str, query: Mapping[str, str], *, token: str) -> tuple[int, Any]:
        """The same of a GET."""
        return await self._sent("GET", path, token, params=query)

    async def _sent(self, method: str, path: str, token: str, **sent: Any) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {token}"}
        async with (
            self.served() as address,
            aiohttp.ClientSession(headers=headers) as client,
            client.request(method, address + path, **sent) as response,
        ):
            return response.status, await response.json()

    def _server(self) -> ControlServer:
        tried = self.tried
        callers = {
            GATEWAY: Caller(role="gateway", name="gateway-1"),
            AGENT: Caller(role="agent", name="key", instance_id=tried.request.subject.id),
        }

        async def content(_: Request) -> tuple[str, ...]:
            return tuple(tried.moment.policy.content_classes)

        return ControlServer(
            service=self.service,
            snapshot=lambda: tried.snapshot,
            doors=Doors(keys=dict, authenticate=callers.get, clock=lambda: NOW_UNIX_NANO),
            clock=lambda: NOW_UNIX_NANO,
            facts=lambda _request, _instance, _moment: tried.moment.policy,
            content=content,
            is_stale=lambda: tried.moment.is_stale,
            look=self.owner.look,
        )
