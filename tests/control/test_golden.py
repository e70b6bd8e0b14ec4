"""The golden cases through every wire: the same verdict, the same reason, the same row, whoever is asked how."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from headgate_control.audit.log import AuditLog
from headgate_control.budgets.owner import BudgetOwner
from headgate_control.budgets.port import LocalBudgets
from headgate_control.decide.decision import Logged
from headgate_control.decide.service import DecisionService, Estimate
from headgate_control.policy.bundle import load_bundle
from headgate_control.policy.cases import Case, CaseFacts, load_cases
from headgate_control.policy.engine import PolicyEngine
from headgate_control.policy.trial import NOW_UNIX_NANO, Setting, decided, differences, setting
from headgate_control.request import Request
from headgate_control.server.application import ControlServer
from headgate_control.server.doors import Caller, Doors
from headgate_control.server.search import ACTIONS_OF, Search

GOLDEN = Path(__file__).parent / "golden"
ENGINE = PolicyEngine(load_bundle(GOLDEN))
CASES = [case for file in load_cases(GOLDEN).values() for case in file.cases]
OF_ITSELF = ("decision_id", "time_unix_nano", "enforcement_point", "latency_ns", "reservation_id")
SECOND_NS = 1_000_000_000


def named(case: Case) -> str:
    """The id of a test."""
    return case.name


def is_plain(case: Case) -> bool:
    """Whether all that decides it is said by a request, or known to control; the rest is a gateway's own."""
    known = case.facts.model_dump(include={"session", "micro_usd_left", "tokens_left", "calls_left", "content_classes"})
    return case.facts == CaseFacts(**known) and case.estimate is None and not case.stale


def is_hook(case: Case) -> bool:
    """Whether Claude Code would ask it as the call of a tool."""
    return is_plain(case) and case.request.action == "tools/call"


def verdict(logged: Logged) -> dict[str, object]:
    """The row without what only the one who made it knows."""
    return {column: value for column, value in logged.row().items() if column not in OF_ITSELF}


class Site:
    """Control in the state that a case speaks of."""

    def __init__(self, folder: Path, tried: Setting) -> None:
        self.folder, self.tried = folder, tried
        self.owner = BudgetOwner.open(folder / "budgets", tried.budgets)
        self.log = AuditLog.open(folder / "decisions", "control")
        for budget in tried.budgets:
            spent = tried.spent[budget.budget_id]
            reserve = self.owner.reserve(
                budget.budget_id,
                [budget.place],
                spent,
                at_unix_nano=NOW_UNIX_NANO,
                expires_unix_nano=NOW_UNIX_NANO + SECOND_NS,
            )
            assert reserve.reservation is not None
            self.owner.settle(budget.budget_id, spent)
        self.service = DecisionService(
            lambda: tried.snapshot,
            LocalBudgets(self.owner),
            self.log,
            enforcement_point="control",
            clock=lambda: NOW_UNIX_NANO,
        )

    def close(self) -> None:
        """Let go of everything."""
        self.log.close()
        self.owner.close()

    def row(self) -> Mapping[str, Any]:
        """The last row of the log, as `verdict` has it."""
        lines = [
            line
            for path in sorted((self.folder / "decisions").glob("*.jsonl"))
            for line in path.read_bytes().splitlines()
        ]
        body = json.loads(lines[-1])["body"]
        return {column: value for column, value in body.items() if column not in {*OF_ITSELF, "kind"}}

    def asked(self, path: str, body: object, *, role: str) -> tuple[int, Any]:
        """Status and answer of a POST by a gateway or by the agent itself."""

        async def post() -> tuple[int, Any]:
            headers = {"authorization": f"Bearer {role}"}
            async with (
                self._served() as address,
                aiohttp.ClientSession(headers=headers) as client,
                client.post(address + path, json=body) as response,
            ):
                return response.status, await response.json()

        return asyncio.run(post())

    async def _content(self, _: Request) -> Sequence[str]:
        return self.tried.moment.policy.content_classes

    @asynccontextmanager
    async def _served(self) -> AsyncIterator[str]:
        callers = {
            "gateway": Caller(role="gateway", name="gateway-1"),
            "agent": Caller(role="agent", name="key", instance_id=self.tried.request.subject.id),
        }
        server = ControlServer(
            service=self.service,
            snapshot=lambda: self.tried.snapshot,
            doors=Doors(keys=dict, authenticate=callers.get, clock=lambda: NOW_UNIX_NANO),
            clock=lambda: NOW_UNIX_NANO,
            facts=lambda _request, _instance, _moment: replace(self.tried.moment.policy, content_classes=()),
            content=self._content,
        )
        runner = web.AppRunner(server.application())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()


@pytest.fixture
def site(tmp_path: Path, case: Case) -> Iterator[Site]:
    """Control in the state of the case."""
    with closing(Site(tmp_path, setting(case, ENGINE))) as made:
        yield made


def question(case: Case) -> dict[str, Any]:
    """The case as AuthZEN asks it."""
    asked = case.request
    return {
        "subject": {"type": "agent_instance", "id": case.instance.id},
        "action": {"name": asked.action},
        "resource": asked.resource.model_dump(),
        "context": asked.context,
    }


def told(answer: Mapping[str, Any]) -> tuple[object, ...]:
    """What an AuthZEN answer says."""
    context = answer["context"]
    tiers = context.get("access_request", {}).get("tiers", [])
    return (answer["decision"], context["effect"], context.get("code"), context["reason"], context["policies"], tiers)


def expected(case: Case) -> tuple[object, ...]:
    """The same of the decision in process."""
    made = decided(setting(case, ENGINE)).decision
    return (made.allowed, made.effect, made.code, made.reason, list(made.policy_ids), list(made.tiers))


@pytest.mark.parametrize("case", CASES, ids=named)
def test_in_process_it_is_decided_as_expected(case: Case) -> None:
    """With the row that is expected."""
    assert [] == [str(one) for one in differences(case, decided(setting(case, ENGINE)))]


@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_service_decides_and_logs_the_same(site: Site, case: Case) -> None:
    """Also where it is the reservation that does not fit."""
    estimate = site.tried.estimate
    asked = Estimate(amount=estimate, lifetime_ns=SECOND_NS) if estimate is not None else None
    logged = asyncio.run(site.service(site.tried.request, site.tried.moment, asked))
    assert verdict(decided(site.tried)) == verdict(logged) == site.row()


@pytest.mark.parametrize("case", [case for case in CASES if is_plain(case)], ids=named)
def test_every_wire_of_authzen_says_the_same(site: Site, case: Case) -> None:
    """One question, several, the status of a check; each is logged with the same row."""
    body, row = question(case), verdict(decided(site.tried))
    status, answer = site.asked("/access/v1/evaluation", body, role="gateway")
    assert (200, expected(case), row) == (status, told(answer), site.row())
    _, several = site.asked("/access/v1/evaluations", {**body, "evaluations": [{}, {}]}, role="gateway")
    assert [expected(case)] * 2 == [told(one) for one in several["evaluations"]]
    status, answer = site.asked("/access/v1/check", body, role="agent")
    assert (200 if expected(case)[0] else 403, expected(case), row) == (status, told(answer), site.row())


@pytest.mark.parametrize("case", [case for case in CASES if is_plain(case)], ids=named)
def test_searches_find_exactly_what_is_allowed(case: Case) -> None:
    """The action among those of the resource, the instance among those that are known."""
    tried, body = setting(case, ENGINE), question(case)
    search = Search(snapshot=tried.snapshot, moment=lambda _request: tried.moment)
    actions = [one["name"] for one in search.actions(body)["results"]]
    subjects = [one["id"] for one in search.subjects({**body, "subject": {"type": "agent_instance"}})["results"]]
    assert case.request.action in ACTIONS_OF[case.request.resource.type]
    allowed = expected(case)[0]
    assert (allowed, allowed) == (case.request.action in actions, case.instance.id in subjects)


@pytest.mark.parametrize("case", [case for case in CASES if is_hook(case)], ids=named)
def test_the_hook_of_claude_code_says_the_same(site: Site, case: Case) -> None:
    """In its own words: allow, ask or deny, and a stop ends the turn."""
    resource, context = site.tried.request.resource, case.request.context
    server = resource.text("server")
    body = {
        "hook_event_name": "PreToolUse",
        "tool_name": f"mcp__{server}__{resource.id}" if server else resource.id,
        "tool_input": context.get("input", {}),
        "session_id": context.get("session"),
    }
    status, answer = site.asked("/hooks/claude-code", body, role="agent")
    output, made = answer["hookSpecificOutput"], decided(site.tried).decision
    said = {"allow": "allow", "require_approval": "ask", "deny": "deny"}[made.effect]
    assert (200, said, made.reason) == (status, output["permissionDecision"], output["permissionDecisionReason"])
    assert (made.code != "stopped") == answer.get("continue", True)
    assert verdict(decided(site.tried)) == site.row()
