"""The routes by which operators command: what they do, and what they say of what is wrong."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from headgate_control.budgets.owner import BudgetOwner
from headgate_control.identity.signing_keys import SigningKeys
from headgate_control.manifests.load import parse_manifest
from headgate_control.manifests.spec import ManifestFile
from headgate_control.room import Room
from headgate_control.server.answers import told_errors
from headgate_control.server.budget_routes import BudgetRoutes
from headgate_control.server.doors import Caller, Doors
from headgate_control.server.instance_routes import InstanceRoutes
from headgate_control.server.limit_routes import LimitRoutes
from headgate_control.server.stop_routes import StopRoutes
from headgate_control.server.token_routes import TokenRoutes
from headgate_control.state import ControlState, State
from headgate_control.stops import enact as enact_module
from headgate_control.stops.commands import stop
from headgate_control.stops.points import Effects, EnforcementPoints
from headgate_control.store.opening import open_sqlite
from headgate_control.store.record import Event

NOW = 1_000
POINT = "gateway"
MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: fixer, team: payments}
spec:
  models: [{provider: openai, model: "gpt-5*"}]
  budgets: [{usd: 2.5}]
"""
CALLERS = {"operator": Caller(role="operator", name="ada"), "gateway": Caller(role="gateway", name="gateway-1")}
Answer = tuple[int, Any]


class Commanded:
    """Control with its command routes, and one enforcement point that acknowledges unless it is `deaf`."""

    def __init__(self, folder: Path) -> None:
        self.store = open_sqlite(folder / "control.db", writer="control-1")
        self.state = ControlState(self.store)
        self.owner = BudgetOwner.open(folder / "budgets", [])
        self.heard: list[tuple[str, int, Effects]] = []
        self.deaf = False
        self.profiles: dict[str, ManifestFile] = {}
        self.room = Room(
            store=self.store,
            state=self.state,
            owner=self.owner,
            points=EnforcementPoints(),
            doors=Doors(keys=lambda: self.state.now.keys, authenticate=CALLERS.get, clock=lambda: NOW),
            telemetry_token=lambda instance: f"telemetry of {instance.instance_id}",
            heard=lambda *told: self.heard.append(told),
            profiles=lambda: self.profiles,
            clock=lambda: NOW,
        )
        self.room.points.join(POINT)
        self.state.listen(self._acknowledge)
        rooms = (
            StopRoutes(room=self.room),
            InstanceRoutes(room=self.room),
            BudgetRoutes(room=self.room),
            LimitRoutes(room=self.room),
            TokenRoutes(room=self.room, keys=SigningKeys.open(folder / "keys")),
        )
        self._routes = [route for one in rooms for route in one.routes()]

    def _acknowledge(self, state: State, _: list[Event]) -> None:
        if not self.deaf:
            self.room.points.acknowledge(POINT, state.snapshot.stops.epoch, cut=0)

    def ask(self, method: str, path: str, body: object = None, *, token: str = "operator") -> Answer:
        """Status and answer of one request."""

        async def go() -> Answer:
            app = web.Application(middlewares=[told_errors])
            app.add_routes(self._routes)
            runner = web.AppRunner(app)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url, headers = f"http://127.0.0.1:{runner.addresses[0][1]}{path}", {"authorization": f"Bearer {token}"}
            sent: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body}
            try:
                async with (
                    asyncio.timeout(60),
                    aiohttp.ClientSession(headers=headers) as client,
                    client.request(method, url, **sent) as response,
                ):
                    return response.status, await response.json()
            finally:
                await runner.cleanup()

        return asyncio.run(go())

    def created(self, **more: object) -> dict[str, Any]:
        """An instance, as the command answers."""
        status, made = self.ask("POST", "/v1/instances", {"manifest": MANIFEST, **more})
        assert 201 == status, made
        found: dict[str, Any] = made
        return found

    def close(self) -> None:
        """Let go of everything."""
        self.owner.close()
        self.store.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Commanded]:
    """A fresh site."""
    with closing(Commanded(tmp_path)) as made:
        yield made


def test_the_journal_says_why_of_every_command(site: Commanded) -> None:
    """As whoever commands has said; a reason that is too long is refused."""
    site.created(reason="a new fixer")
    site.ask(
        "PUT", "/v1/budgets", {"scope": "platform", "window": "day", "mode": "hard", "calls": 1, "reason": "trial"}
    )
    site.ask("PUT", "/v1/limits", {"scope": "platform", "calls_per_minute": 1, "reason": "slowly"})
    site.ask("POST", "/v1/budgets/remove", {"budget_id": "set/platform::day:hard", "reason": "it is over"})
    status, _ = site.ask("PUT", "/v1/limits", {"scope": "platform", "calls_per_minute": 1, "reason": "r" * 2_001})
    expected = {
        "instance.create": "a new fixer",
        "budget.set": "trial",
        "limit.set": "slowly",
        "budget.remove": "it is over",
    }
    assert (400, expected) == (status, {event.action: event.reason for event in site.store.events()})


@pytest.mark.parametrize(
    ("asked", "body", "status", "expected"),
    [
        ("POST /v1/stops", b"{", 400, "the body is no JSON"),
        ("POST /v1/stops", [], 400, "the body: expected an object"),
        ("POST /v1/stops", {}, 400, "no scope ''"),
        ("POST /v1/stops", {"scope": 1}, 400, "scope: expected text"),
        ("POST /v1/stops", {"scope": "team", "id": "x"}, 400, "a stop has a reason"),
        ("POST /v1/stops", {"scope": "team", "id": "x", "reason": "r" * 2_001}, 400, "2000 characters at most"),
        ("POST /v1/stops", {"scope": "team", "id": "x", "mode": "kill"}, 400, "mode: expected stop or pause"),
        ("POST /v1/stops", {"scope": "team", "id": "x", "lifetime_ns": -1}, 400, "lifetime_ns: expected a whole"),
        ("POST /v1/stops", {"scope": "team", "id": "x", "lifetime_ns": True}, 400, "lifetime_ns: expected a whole"),
        ("POST /v1/stops/resume", {"scope": "platform"}, 400, "platform is neither stopped nor paused"),
        ("POST /v1/instances", {}, 400, "manifest: expected the text"),
        ("POST /v1/instances", {"manifest": "x: ["}, 400, "the manifest"),
        ("POST /v1/instances", {"manifest": MANIFEST, "restart_of": "ai-0"}, 400, "no instance 'ai-0'"),
        ("GET /v1/instances/ai-0", None, 404, "no instance is called so"),
        ("POST /v1/instances/ai-0/revoke", {}, 404, "no instance is called so"),
        ("POST /v1/instances/ai-0/token", {}, 404, "no instance is called so"),
        ("PUT /v1/budgets", {"scope": "team"}, 400, "id: expected one for every scope"),
        ("PUT /v1/budgets", {"scope": "team", "id": "x", "window": "day", "mode": "hard"}, 400, "without an amount"),
        ("PUT /v1/budgets", {"scope": "platform", "window": "day", "mode": "firm"}, 400, "mode: expected one of"),
        ("POST /v1/budgets/remove", {}, 404, "no budget ''"),
        ("PUT /v1/limits", {"scope": "team", "id": "x", "open_calls_max": 1.5}, 400, "open_calls_max: expected"),
        ("GET /v1/nothing", None, 404, "Not Found"),
        ("DELETE /v1/stops", None, 405, "Method Not Allowed"),
    ],
)
def test_what_is_wrong_is_answered_with_a_sentence(
    site: Commanded, asked: str, body: object, status: int, expected: str
) -> None:
    """As the fault of whoever asked, and nothing is changed by it."""
    before = site.store.events()
    found, answer = site.ask(*asked.split(), body)
    assert status == found, answer
    assert expected in answer["error"]
    assert before == site.store.events()


@pytest.mark.parametrize(
    ("usd", "expected"),
    [("0", "0.000000000"), ("2.50", "2.500000000"), ("1000000000", "1000000000.000000000")],
)
def test_dollars_of_a_budget_are_exact(site: Commanded, usd: str, expected: str) -> None:
    """As decimal text."""
    body = {"scope": "team", "id": "x", "window": "day", "mode": "hard", "usd": usd}
    status, row = site.ask("PUT", "/v1/budgets", body)
    assert (200, expected, "set/team:x:day:hard") == (status, row["limit_usd"], row["budget_id"])


OPENING = {"at_unix_nano": NOW, "usd": "1.5", "tokens": 300, "calls": 2, "duration_ms": 1500}


@pytest.mark.parametrize(
    ("opening", "expected"),
    [
        (OPENING, ("1.500000000", 300, 2, 1.5, True)),
        ({**OPENING, "at_unix_nano": NOW + 2 * 86_400 * 10**9}, ("0.000000000", 0, 0, 0, False)),
        (None, ("0.000000000", 0, 0, 0, False)),
    ],
)
def test_a_new_budget_begins_with_what_its_window_is_said_to_hold(
    site: Commanded, opening: dict[str, object] | None, expected: tuple[object, ...]
) -> None:
    """Of the window that is open, once, and the journal has it; who changes the ceiling changes nothing of that."""
    body = {"scope": "team", "id": "x", "window": "day", "mode": "hard", "usd": "2", "opening": opening}
    row = site.ask("PUT", "/v1/budgets", body)[1]
    again = site.ask("PUT", "/v1/budgets", {**body, "usd": "3", "opening": {**OPENING, "usd": "9"}})[1]
    names = [f"settled_{unit}" for unit in ("usd", "tokens", "calls", "seconds")]
    told = [event.reason for event in site.store.events() if event.action == "budget.open"]
    assert (expected, expected[:4], False) == (
        (*(row[name] for name in names), row["is_opened"]),
        tuple(again[name] for name in names),
        again["is_new"],
    )
    sentence = "opening balance of 1970-01-01, as the store tells it: $1.50, 300 tokens, 2 calls, 1.5 s"
    assert ([sentence] if expected[4] else []) == told


@pytest.mark.parametrize("usd", ["", "-1", "NaN", "Infinity", "1e30", "ten"])
def test_dollars_that_are_none_are_refused(site: Commanded, usd: str) -> None:
    """Before anything is written."""
    body = {"scope": "team", "id": "x", "window": "day", "mode": "hard", "usd": usd}
    status, answer = site.ask("PUT", "/v1/budgets", body)
    assert 400 == status
    assert "usd: expected dollars such as 2.50" in answer["error"]


def test_a_stop_answers_when_every_point_has_spoken(site: Commanded) -> None:
    """Its effects are told to whoever keeps records, under its id."""
    status, answer = site.ask("POST", "/v1/stops", {"scope": "team", "id": "payments", "reason": " it loops "})
    assert (200, "ada", "it loops", []) == (status, answer["author"], answer["reason"], answer["silent"])
    assert [POINT] == [one["enforcement_point"] for one in answer["effects"]]
    assert [(answer["stop_id"], answer["epoch"])] == [told[:2] for told in site.heard]
    assert 201 != site.ask("POST", "/v1/instances", {"manifest": MANIFEST})[0]


def test_a_point_that_does_not_speak_is_named(site: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 504: the stop holds all the same, and so does its end."""
    monkeypatch.setattr(enact_module, "WAIT_S", 0.0)
    site.deaf = True
    body = {"scope": "team", "id": "x", "reason": "it loops"}
    assert (504, [POINT]) == ((found := site.ask("POST", "/v1/stops", body))[0], found[1]["silent"])
    assert ["x"] == [one["target"] for one in site.ask("GET", "/v1/stops")[1]["stops"]]
    assert 504 == site.ask("POST", "/v1/stops/resume", body)[0]
    assert [] == site.ask("GET", "/v1/stops")[1]["stops"]


@pytest.mark.parametrize(
    ("scope", "target", "expected"),
    [
        ("team", "payments", (True, None)),
        ("team", "paymnets", (False, "no instance is of team 'paymnets' yet: see headgate instance list")),
        ("workflow", "x", (False, "no instance is of workflow 'x' yet: see headgate instance list")),
        ("identity", "bob", (True, None)),
        ("identity", "eve", (False, "no instance is of identity 'eve' yet: see headgate instance list")),
        ("session", "s1", (None, None)),
        ("tool", "github/merge", (None, None)),
        ("platform", None, (True, None)),
    ],
)
def test_a_stop_of_what_nobody_knows_holds_and_says_so(
    site: Commanded, scope: str, target: str | None, expected: tuple[bool | None, str | None]
) -> None:
    """It may be yet to come; whoever mistyped an id is told. Of sessions and tools control has no list."""
    site.created(user="bob")
    _, answer = site.ask("POST", "/v1/stops", {"scope": scope, "id": target, "reason": "it loops"})
    held = [one["target"] for one in site.ask("GET", "/v1/stops")[1]["stops"]]
    assert (*expected, [target or ""]) == (answer["known"], answer["warning"], held)


@pytest.mark.parametrize("left_out", [0, 1])
def test_a_stop_of_an_instance_names_it_by_the_beginning_of_its_id(site: Commanded, left_out: int) -> None:
    """It holds for the instance that is meant, and so does its end."""
    made = site.created()["instance_id"]
    body = {"scope": "instance", "id": made[: len(made) - left_out], "reason": "it loops"}
    told = site.ask("POST", "/v1/stops", body)[1]
    assert (made, True, None) == (told["target"], told["known"], told["warning"])
    assert [made] == [one["target"] for one in site.ask("POST", "/v1/stops/resume", body)[1]["ended"]]


def test_a_stop_of_an_instance_that_nobody_has_can_be_ended(site: Commanded) -> None:
    """Earlier versions took any id, and their stops hold on."""
    stop(site.store, ("instance", "ai-mistyped"), mode="stop", author="ada", reason="it loops")
    asyncio.run(site.room.refresh())
    body = {"scope": "instance", "id": "ai-mistyped", "reason": "nobody is called so"}
    ended = site.ask("POST", "/v1/stops/resume", body)[1].get("ended", [])
    assert ["ai-mistyped"] == [one["target"] for one in ended]


@pytest.mark.parametrize(("name", "expected"), [("ai-mistyped", "no instance is called"), ("ai-", "2 instances begin")])
def test_a_stop_of_no_single_instance_is_refused(site: Commanded, name: str, expected: str) -> None:
    """Nobody may believe that an agent is stopped which is not."""
    for _ in range(2):
        site.created()
    status, answer = site.ask("POST", "/v1/stops", {"scope": "instance", "id": name, "reason": "it loops"})
    assert (400, True) == (status, answer["error"].startswith(expected))
    assert [] == site.ask("GET", "/v1/stops")[1]["stops"]


@pytest.mark.parametrize("lifetime_ns", [0, -1])
def test_a_stop_that_would_be_over_at_once_is_refused(site: Commanded, lifetime_ns: int) -> None:
    """Whoever gives it means something else."""
    body = {"scope": "team", "id": "x", "reason": "a moment", "lifetime_ns": lifetime_ns}
    assert 400 == site.ask("POST", "/v1/stops", body)[0]


def test_an_instance_is_found_by_the_beginning_of_its_id(site: Commanded) -> None:
    """As long as it is the only one."""
    made = site.created(user="ada", environment="staging", lifetime_ns=5)
    assert ("created", NOW + 5, f"telemetry of {made['instance_id']}") == (
        made["state"],
        made["expires_unix_nano"],
        made["telemetry_token"],
    )
    shown = site.ask("GET", f"/v1/instances/{made['instance_id'][:-1]}")[1]
    assert (made["instance_id"], ["2.500000000"], None) == (
        shown["instance_id"],
        [one["limit_usd"] for one in shown["budgets"]],
        shown["stopped_by"],
    )
    assert "gateway_key" not in shown
    site.created()
    status, answer = site.ask("GET", "/v1/instances/ai-")
    assert (404, "2 instances begin so: see headgate instance list") == (status, answer["error"])


def test_what_is_not_known_of_an_instance_is_null(site: Commanded) -> None:
    """Every row has every column."""
    made = site.created()
    (row,) = site.ask("GET", "/v1/instances")[1]["instances"]
    assert made.keys() - {"gateway_key", "telemetry_token", "without_effect"} == row.keys()
    assert (None, None, "payments") == (row["user"], row["parent"], row["team"])


def test_a_child_is_of_its_parents_line(site: Commanded) -> None:
    """A stop of the parent holds it too, and says so on its record."""
    parent = site.created(user="ada")
    child = site.created(parent=parent["instance_id"])
    site.ask("POST", "/v1/stops", {"scope": "instance", "id": parent["instance_id"], "reason": "it loops"})
    shown = site.ask("GET", f"/v1/instances/{child['instance_id']}")[1]
    assert ("stopped", "ada", [child["instance_id"], parent["instance_id"]]) == (
        shown["state"],
        shown["user"],
        shown["lineage"],
    )
    status, answer = site.ask("POST", "/v1/instances", {"manifest": MANIFEST, "parent": child["instance_id"]})
    assert 403 == status
    assert f"headgate resume instance {parent['instance_id']}" in answer["error"]


def test_whoever_registers_what_is_cut_from_above_is_told(site: Commanded) -> None:
    """It is registered all the same, and shown as it is."""
    text = MANIFEST.replace("AgentManifest", "AgentProfile").replace("fixer", "p, level: platform")
    site.profiles = {"p": parse_manifest(text, {}, source="p").levels[0]}
    wide = MANIFEST.replace("{name", "{inherits: p, name").replace("gpt-5*", "*")
    made = site.created(manifest=wide)
    shown = site.ask("GET", f"/v1/instances/{made['instance_id']}")[1]["granted"]
    assert ["fixer: models: 'openai/*' is wider than what stands above grants"] == made["without_effect"]
    assert {"section": "models", "entry": "openai/gpt-5*", "level": "p"} == shown[0]
    assert [] == site.created()["without_effect"]


@pytest.mark.parametrize("word", ["parent", "restart_of"])
def test_who_is_revoked_launches_nobody_and_is_not_restarted(site: Commanded, word: str) -> None:
    """It ended for good, and so did its line."""
    before = site.created()["instance_id"]
    site.created(**{word: before})
    site.ask("POST", f"/v1/instances/{before}/revoke", {"reason": "lost"})
    status, answer = site.ask("POST", "/v1/instances", {"manifest": MANIFEST, word: before})
    assert (403, True) == (status, answer["error"].startswith(f"instance {before} is revoked"))


def test_who_is_over_launches_nobody_but_is_restarted(site: Commanded) -> None:
    """Work whose time ran out is taken up again."""
    before = site.created(lifetime_ns=0)["instance_id"]
    status, answer = site.ask("POST", "/v1/instances", {"manifest": MANIFEST, "parent": before})
    assert (403, True) == (status, answer["error"].startswith(f"instance {before} is expired and launches nobody"))
    assert before == site.created(restart_of=before)["restart_of"]


def test_a_limit_is_set_changed_and_removed(site: Commanded) -> None:
    """One for each place."""
    place = {"scope": "team", "id": "x"}
    for rate in (5, 6):
        site.ask("PUT", "/v1/limits", {**place, "calls_per_minute": rate, "tokens_per_minute": rate})
    amounts = ("calls_per_minute", "tokens_per_minute", "open_calls_max")
    assert [(6, 6, None)] == [
        tuple(one[name] for name in amounts) for one in site.ask("GET", "/v1/limits")[1]["limits"]
    ]
    site.ask("PUT", "/v1/limits", {**place, "remove": "yes"})
    assert [] == site.ask("GET", "/v1/limits")[1]["limits"]


def test_the_limits_of_a_manifest_are_those_of_its_instance(site: Commanded) -> None:
    """They are shown while it lives, and no command lifts them."""
    text = MANIFEST + "  limits: {calls_per_minute: 60, open_calls: 2}\n"
    made = site.ask("POST", "/v1/instances", {"manifest": text})[1]["instance_id"]
    site.ask("PUT", "/v1/limits", {"scope": "instance", "id": made, "remove": "yes"})
    before = site.ask("GET", "/v1/limits")[1]["limits"]
    shown = site.ask("GET", f"/v1/instances/{made}")[1]["granted"]
    site.ask("POST", f"/v1/instances/{made}/revoke", {"reason": "done"})
    assert [(f"manifest/{made}", 60, None, 2)] == [
        (one["limit_id"], one["calls_per_minute"], one["tokens_per_minute"], one["open_calls_max"]) for one in before
    ]
    assert ["60 calls a minute", "2 calls at once"] == [one["entry"] for one in shown if one["section"] == "limits"]
    assert [] == site.ask("GET", "/v1/limits")[1]["limits"]


def test_a_gateway_may_have_tokens_and_nothing_else(site: Commanded) -> None:
    """A runtime renews the tokens of its instances; whoever is over gets none."""
    made = site.created()
    path = f"/v1/instances/{made['instance_id']}/token"
    status, answer = site.ask("POST", path, {}, token="gateway")
    assert (201, "headgate-gateway") == (status, answer["audience"])
    assert 403 == site.ask("POST", f"/v1/instances/{made['instance_id']}/revoke", {}, token="gateway")[0]
    assert "revoked" == site.ask("POST", f"/v1/instances/{made['instance_id']}/revoke", {"reason": "done"})[1]["state"]
    assert 403 == site.ask("POST", path, {}, token="gateway")[0]


def test_the_journal_names_who_registered_an_instance_not_who_it_is_said_to_be_of(site: Commanded) -> None:
    """`launched_by` may be anybody; the author is whoever showed the token."""
    made = site.created(launched_by="bob")
    events = [event for event in site.store.events() if event.action == "instance.create"]
    assert {"ada"} == {event.author for event in events}
    assert ("bob", "bob") == (made["launched_by"], site.state.now.snapshot.instances[made["instance_id"]].launched_by)
