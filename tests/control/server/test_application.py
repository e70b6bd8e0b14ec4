"""Control over HTTP, by a real server and a real client."""

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from multidict import CIMultiDictProxy

from headgate_control.audit.log import AuditLog
from headgate_control.budgets.owner import BudgetOwner
from headgate_control.budgets.port import LocalBudgets
from headgate_control.decide.service import DecisionService
from headgate_control.identity.launch import Launch, launch
from headgate_control.manifests.load import parse_manifest
from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.engine import PolicyEngine, PolicyFacts, SessionFacts
from headgate_control.server.application import ControlServer
from headgate_control.server.doors import Caller, Doors
from headgate_control.state import ControlState
from headgate_control.stops.commands import stop
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
Ask = Callable[..., Any]


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
        )

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """The address while it is served."""
        runner = web.AppRunner(self.server.application())
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


@pytest.mark.parametrize(
    ("tool", "expected"),
    [("search", (True, "allow", 200)), ("merge", (False, "require_approval", 403)), ("delete", (False, "deny", 403))],
)
def test_an_evaluation_and_a_check_say_the_same(site: Site, tool: str, expected: tuple[bool, str, int]) -> None:
    """One in its body, the other in its status too."""
    status, answer = site.ask("/access/v1/evaluation", site.question(tool))
    checked, same = site.ask("/access/v1/check", site.question(tool))
    assert (200, expected) == (status, (answer["decision"], answer["context"]["effect"], checked))
    assert answer["context"]["reason"] == same["context"]["reason"]


@pytest.mark.parametrize(
    ("semantic", "expected"),
    [
        ("execute_all", [True, False, True]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
def test_several_evaluations_end_where_they_are_to(site: Site, semantic: str, expected: list[bool]) -> None:
    """In their order."""
    listed = [{"resource": site.question(tool)["resource"]} for tool in ("search", "delete", "read")]
    body = {**site.question("x"), "evaluations": listed, "options": {"evaluations_semantic": semantic}}
    _, answer = site.ask("/access/v1/evaluations", body)
    assert expected == [one["decision"] for one in answer["evaluations"]]


def test_one_of_several_that_is_no_question_is_denied_and_the_others_answered(site: Site) -> None:
    """In its place, with what is wrong with it; whoever asks about somebody else hears that alone."""
    others = [{}, {"resource": 5}, {"subject": {"type": "agent_instance", "id": "ai-2"}}]
    body = {**site.question("search"), "evaluations": others}
    status, answer = site.ask("/access/v1/evaluations", body, token=site.key)
    assert (200, [True, False, False]) == (status, [one["decision"] for one in answer["evaluations"]])
    errors = [one["context"]["error"] for one in answer["evaluations"][1:]]
    assert [
        {"status": 400, "message": "resource: expected an object"},
        {"status": 403, "message": "an agent may ask about itself alone"},
    ] == errors
    body["options"] = {"evaluations_semantic": "deny_on_first_deny"}
    assert 2 == len(site.ask("/access/v1/evaluations", body, token=site.key)[1]["evaluations"])


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("/access/v1/evaluation", "gateway-token", 200),
        ("/access/v1/check", "gateway-token", 200),
        ("/access/v1/search/action", "gateway-token", 200),
        ("/access/v1/evaluation", "guess", 401),
        ("/access/v1/nowhere", "gateway-token", 404),
    ],
)
def test_the_id_of_a_request_comes_back(site: Site, path: str, token: str, status: int) -> None:
    """Whatever the answer is."""
    found, headers, _ = site.heard(path, site.question("search"), token=token, x_request_id="bfe9eb29 é")
    assert (status, "bfe9eb29 é", "application/json") == (found, headers["x-request-id"], headers["content-type"])


def test_a_request_without_an_id_gets_none(site: Site) -> None:
    """It is the caller's to give."""
    assert "x-request-id" not in site.heard("/access/v1/evaluation", site.question("search"))[1]


@pytest.mark.parametrize("path", ["/access/v1/evaluation", "/access/v1/evaluations", "/access/v1/search/action"])
def test_a_body_that_does_not_say_it_is_json_is_refused(site: Site, path: str) -> None:
    """As AuthZEN wants it; a proxy that checks need not say so, and whoever says more than that is heard."""
    body = site.question("search")
    status, _, answer = site.heard(path, body, content_type="text/plain")
    checked, _, _ = site.heard("/access/v1/check", body, content_type="text/plain")
    more, _, _ = site.heard(path, body, content_type="application/json; charset=utf-8")
    assert (400, "content-type: expected application/json, not text/plain", 200, 200) == (
        status,
        answer["error"],
        checked,
        more,
    )


def test_only_an_instance_is_decided_about(site: Site) -> None:
    """A user of the same name is somebody else."""
    body = {**site.question("search"), "subject": {"type": "user", "id": site.instance}}
    status, answer = site.ask("/access/v1/evaluation", body)
    found = site.ask("/access/v1/search/action", {**body, "action": {}})[1]["results"]
    assert (200, False, "identity", []) == (status, answer["decision"], answer["context"]["code"], found)


def test_the_metadata_is_of_the_address_it_was_asked_at(site: Site) -> None:
    """And may be kept for a moment."""
    status, headers, found = site.heard("/.well-known/authzen-configuration", b"", method="GET", host="pdp.example.com")
    assert (200, "http://pdp.example.com", "max-age=60") == (
        status,
        found["policy_decision_point"],
        headers["cache-control"],
    )


def test_a_stop_denies_at_once(site: Site) -> None:
    """With its epoch on the answer."""
    stop(site.store, ("team", "payments"), mode="stop", author="ada", reason="fire")
    site.state.refresh()
    _, answer = site.ask("/access/v1/evaluation", site.question("search"))
    assert (False, "stopped", 1) == (
        answer["decision"],
        answer["context"]["code"],
        answer["context"]["snapshot"]["stop_epoch"],
    )


def test_what_may_be_done_can_be_searched(site: Site) -> None:
    """Nothing of it is a decision, and none is logged."""
    status, answer = site.ask("/access/v1/search/action", {**site.question("search"), "action": {}})
    assert (200, [{"name": "tools/call"}], 0) == (status, answer["results"], site.log.anchor().number)


@pytest.mark.parametrize("token", [None, "", "guess", "hgk_0000000000000000_00"])
def test_nobody_asks_without_a_credential(site: Site, token: str | None) -> None:
    """Nothing is decided, and nothing logged."""
    status, answer = site.ask("/access/v1/evaluation", site.question("search"), token=token)
    assert (401, 0) == (status, site.log.anchor().number)
    assert "show a token" in answer["error"]


def test_an_agent_asks_about_itself_alone(site: Site) -> None:
    """With its gateway key."""
    own, _ = site.ask("/access/v1/evaluation", site.question("search"), token=site.key)
    other, answer = site.ask("/access/v1/evaluation", site.question("search", instance="ai-2"), token=site.key)
    assert (200, 403, "an agent may ask about itself alone") == (own, other, answer["error"])


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [(b"{", 400, "the body is no JSON"), ({}, 400, "subject: expected an object"), (b" " * (1 << 20 | 1), 413, "")],
)
def test_a_bad_body_says_what_is_wrong(site: Site, body: object, status: int, expected: str) -> None:
    """As its sender's fault."""
    found, answer = site.ask("/access/v1/evaluation", body)
    assert status == found
    assert expected in answer["error"]


@pytest.mark.parametrize(
    ("tool", "given", "expected"),
    [
        ("Bash", {"command": "pytest -q"}, "allow"),
        ("Bash", {"command": "rm -rf /"}, "deny"),
        ("mcp__github__search", {}, "allow"),
        ("mcp__github__merge", {}, "ask"),
        ("mcp__github__delete", {}, "deny"),
        ("Read", {"file_path": "a"}, "deny"),
    ],
)
def test_the_hook_of_claude_code_is_answered(site: Site, tool: str, given: dict[str, str], expected: str) -> None:
    """By the agent's own key."""
    body = {"hook_event_name": "PreToolUse", "tool_name": tool, "tool_input": given, "session_id": "s1"}
    status, answer = site.ask("/hooks/claude-code", body, token=site.key)
    assert (200, expected) == (status, answer["hookSpecificOutput"]["permissionDecision"])


@pytest.mark.parametrize(("token", "body"), [(None, {}), ("operator-token", {}), ("key", b"{"), ("key", {"x": 1})])
def test_a_hook_that_cannot_be_answered_denies_with_200(site: Site, token: str | None, body: object) -> None:
    """On any other status Claude Code would run the tool."""
    status, answer = site.ask("/hooks/claude-code", body, token=site.key if token == "key" else token)
    assert (200, "deny") == (status, answer["hookSpecificOutput"]["permissionDecision"])


POLICIES_OF_FACTS = (
    POLICIES
    + """
@id("tired") @reason("too many calls") forbid(principal, action, resource) when { context.session.tool_calls >= 2 };
"""
)


def test_what_control_knows_of_a_session_is_asked_for_on_every_wire(site: Site) -> None:
    """Of whoever and whatever session the request names; a tool that a hook lets run counts, a question does not."""
    called: Counter[object] = Counter()
    site.state.use_policy(PolicyEngine(bundle_of({"a.cedar": POLICIES_OF_FACTS})))
    site.server = replace(
        site.server,
        facts=lambda request, instance, moment: PolicyFacts(
            session=SessionFacts(tool_calls=called[instance.instance_id, moment.session])
        ),
        tool_called=lambda request: called.update([(request.subject.id, request.context["session"])]),
    )
    hook = {"hook_event_name": "PreToolUse", "tool_name": "mcp__github__search", "tool_input": {}, "session_id": "s1"}
    refused = {**hook, "tool_name": "mcp__github__delete"}
    body = {**site.question("search"), "context": {"session": "s1"}}
    hooked = [
        site.ask("/hooks/claude-code", one, token=site.key)[1]["hookSpecificOutput"]["permissionDecision"]
        for one in (hook, refused, hook, hook)
    ]
    checked = site.ask("/access/v1/check", body)[0]
    several = site.ask("/access/v1/evaluations", {**body, "evaluations": [{}, {"context": {"session": "s2"}}]})[1]
    searched = site.ask("/access/v1/search/action", {**body, "action": {}})[1]["results"]
    assert ["allow", "deny", "allow", "deny"] == hooked
    assert (403, [False, True], []) == (checked, [one["decision"] for one in several["evaluations"]], searched)


def test_a_stop_of_a_key_holds_on_controls_own_wires(site: Site) -> None:
    """Whoever shows it is denied here as at the gateways; the same instance by another way is not."""
    key_id = next(iter(site.state.now.keys))
    stop(site.store, ("identity", key_id), mode="stop", author="ada", reason="leaked")
    site.state.refresh()
    by_key = site.ask("/access/v1/evaluation", site.question("search"), token=site.key)[1]
    by_gateway = site.ask("/access/v1/evaluation", site.question("search"))[1]
    assert ("stopped", False) == (by_key["context"]["code"], by_key["decision"])
    assert by_gateway["decision"] is True


def test_the_log_keeps_no_command_and_no_name_that_is_none(site: Site) -> None:
    """A command line may hold secrets, and a session is text of bounded length; a digest tells one from another."""
    call = {
        "hook_event_name": "PreToolUse",
        "tool_name": "Bash",
        "tool_input": {"command": "curl -H 'authorization: Bearer sk-very-secret' https://example.com"},
        "session_id": {"a": ["long"] * 100},
    }
    site.ask("/hooks/claude-code", call, token=site.key)
    site.log.close()
    lines = b"".join(path.read_bytes() for path in sorted(site.decisions.glob("*.jsonl")))
    assert b"sk-very-secret" not in lines
    assert b"curl sha256:" in lines
    assert b"long" not in lines


def test_control_that_cannot_see_its_store_allows_nothing_with_effects(site: Site) -> None:
    """Decisions and hooks are denied as stale: stops may have been given that it has not heard of."""
    site.server = replace(site.server, is_stale=lambda: True)
    _, decided = site.ask("/access/v1/evaluation", site.question("list"))
    hook = {"hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": {"command": "pytest -q"}}
    _, hooked = site.ask("/hooks/claude-code", hook, token=site.key)
    said = hooked["hookSpecificOutput"]
    assert (False, "stale") == (decided["decision"], decided["context"]["code"])
    assert "deny" == said["permissionDecision"]
    assert "has not heard of stops" in said["permissionDecisionReason"]


def test_a_body_that_never_ends_is_waited_for_so_long(site: Site) -> None:
    """And whoever sends it hears so."""
    site.server = replace(site.server, body_s=0.05)
    lines = ("POST /access/v1/check HTTP/1.1", "host: x", "authorization: Bearer gateway-token", "content-length: 9")

    async def go() -> bytes:
        async with site.served() as address:
            reader, writer = await asyncio.open_connection(*address.removeprefix("http://").split(":"))
            writer.write("\r\n".join((*lines, "content-type: application/json", "", "{")).encode())
            async with asyncio.timeout(30):
                said = await reader.readuntil(b"}")
            writer.close()
            await writer.wait_closed()
            return said

    said = asyncio.run(go())
    assert (b"HTTP/1.1 408", True) == (said[:12], b"the body did not come within 0.05 seconds" in said)
