"""What an operator does with agents, from the command line against a running `headgate up`."""

import json
import subprocess
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from headgate_console.testing.commands import Run
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
Told = Callable[..., Any]
Agent = Callable[..., dict[str, Any]]
QUESTIONS = (
    "Who started it",
    "What it may do",
    "Which tools and models it used",
    "What it touched",
    "What it spent",
    "Which decisions it met",
    "How to stop it",
)


def refusal(response: httpx2.Response) -> tuple[int, str, str]:
    """Status, type and code of what the gateway refused."""
    error = response.json()["error"]
    return response.status_code, error["type"], error["code"]


def denied(code: str) -> tuple[int, str, str]:
    """What a refusal with this code is."""
    return 403, "policy_denied", code


def test_an_agent_is_registered_and_its_lines_set_up_a_shell(control_site: Any, run: Run) -> None:
    """What is printed for people names the key once more as `export`; with `--env` a shell takes it as it stands."""
    manifest = str(control_site.manifest())
    text = run("instance", "create", "--manifest", manifest, "--user", "ada")
    assert 0 == text.code, text.err
    assert {"instance_id", "gateway_key", "telemetry_token"} <= {line.split(" ")[0] for line in text.out.splitlines()}
    assert "shown this once" in text.err
    lines = run("instance", "create", "--manifest", manifest, "--env")
    assert (0, "") == (lines.code, lines.err)
    script = f'{lines.out}\nprintf "%s\\n" "$OPENAI_BASE_URL" "$ANTHROPIC_BASE_URL" "$OPENAI_API_KEY"'
    done = subprocess.run(["bash", "-euc", script], check=True, capture_output=True, text=True)
    openai, anthropic, key = done.stdout.split()
    control_site.secrets.append(key)
    gateway = control_site.addresses["model-gateway"]
    assert (f"http://{gateway}/openai/v1", f"http://{gateway}/anthropic") == (openai, anthropic)
    assert 200 == control_site.call(key).status_code


def test_instances_are_listed_with_their_state(told: Told, agent: Agent, run: Run) -> None:
    """The last one first; one whose time is over is expired."""
    first, second = agent("listed"), agent("listed", "--expires", "0s")
    listed = [one for one in told("instance", "list") if one["team"] == "listed"]
    assert [(second["instance_id"], "expired"), (first["instance_id"], "created")] == [
        (one["instance_id"], one["state"]) for one in listed
    ]
    assert "STATE" in run("instance", "list").out
    assert "No instance is ended." in run("instance", "list", "--state", "ended").err
    assert [second["instance_id"]] == [
        one["instance_id"] for one in told("instance", "list", "--state", "expired") if one["team"] == "listed"
    ]


def test_one_screen_answers_the_seven_questions(control_site: Any, told: Told, agent: Agent, run: Run) -> None:
    """After a call: what it spent and which decisions it met are of that call."""
    made = agent("shown", "--user", "ada", "--environment", "staging")
    instance = made["instance_id"]
    assert 200 == control_site.call(made["gateway_key"]).status_code
    control_site.seen(f"SELECT 1 FROM model_calls WHERE instance_id = '{instance}' AND cost_usd IS NOT NULL")
    control_site.seen(f"SELECT 1 FROM decisions WHERE instance_id = '{instance}'")
    found = told("instance", "show", instance)
    assert (1, 100, 10) == tuple(found["spent"][name] for name in ("model_calls", "input_tokens", "output_tokens"))
    assert [("allow", 1)] == [(one["effect"], one["decisions"]) for one in found["decided"]]
    assert ["1"] == [str(one["settled_calls"]) for one in found["budgets"] if one["scope"] == "instance"]
    screen = run("instance", "show", instance[:-2])
    assert 0 == screen.code, screen.err
    assert list(QUESTIONS) == [line for line in screen.out.splitlines() if line in QUESTIONS]
    for expected in (
        "for ada",
        "environment staging",
        "gpt-5",
        "of $50.00",
        "allow",
        f"headgate stop instance {instance}",
    ):
        assert expected in screen.out


@pytest.mark.parametrize("scope", ["instance", "team", "workflow"])
def test_a_stop_denies_until_it_is_resumed(control_site: Any, told: Told, agent: Agent, run: Run, scope: str) -> None:
    """Every enforcement point says so, `stops` lists it, and whoever is denied reads its reason."""
    made = agent(f"stopped-{scope}")
    target = {"instance": made["instance_id"], "team": made["team"], "workflow": made["workflow"]}[scope]
    stopped = told("stop", scope, target, "--reason", "it loops")
    assert (scope, target, "stop", []) == tuple(stopped[name] for name in ("scope", "target", "mode", "silent"))
    assert ["model-gateway"] == [one["enforcement_point"] for one in stopped["effects"]]
    assert stopped["stop_id"] in {one["stop_id"] for one in told("stops")}
    answer = control_site.call(made["gateway_key"])
    assert denied("stopped") == refusal(answer)
    assert "it loops" in answer.text
    assert answer.headers["x-headgate-decision-id"].startswith("dec-")
    resumed = told("resume", scope, target, "--reason", "mended")
    assert [stopped["stop_id"]] == [one["stop_id"] for one in resumed["ended"]]
    assert resumed["epoch"] > stopped["epoch"]
    assert 200 == control_site.call(made["gateway_key"]).status_code
    assert "it loops" not in run("stops").out


@pytest.mark.parametrize(("key", "digits"), [("main", 32), ("main", 8), ("5a0b1c2d-9f00-4c11-8a22-7d33ee44ff00", 9)])
def test_a_session_is_stopped_by_its_id(control_site: Any, told: Told, agent: Agent, key: str, digits: int) -> None:
    """Or the beginning of it, as `headgate sessions` shows it; another agent's session of the same name goes on."""
    made, other = agent("by-id"), agent("another")
    assert 200 == control_site.call(made["gateway_key"], session=key).status_code
    query = f"SELECT session_id FROM sessions WHERE source_key = '{key}' AND instance_id = '{made['instance_id']}'"
    session_id = control_site.seen(query)[0]["session_id"]
    stopped = told("stop", "session", session_id[:digits], "--reason", "it loops")
    assert (session_id, key, None) == tuple(stopped[name] for name in ("target", "session_key", "warning"))
    assert denied("stopped") == refusal(control_site.call(made["gateway_key"], session=key))
    if key == "main":
        assert 200 == control_site.call(other["gateway_key"], session=key).status_code
    assert 1 == len(told("resume", "session", session_id[:digits], "--reason", "mended")["ended"])
    assert 200 == control_site.call(made["gateway_key"], session=key).status_code


def test_a_session_that_nobody_knows_yet_is_stopped_by_its_key(
    control_site: Any, told: Told, agent: Agent, run: Run
) -> None:
    """And the command says that it is not known."""
    made = agent("yet-to-come")
    assert "no session is called 'to-come' yet" in run("stop", "session", "to-come", "--reason", "x").err
    answer = control_site.call(made["gateway_key"], session="to-come")
    assert denied("stopped") == refusal(answer)
    assert 1 == len(told("resume", "session", "to-come")["ended"])


def test_a_session_whose_calls_gateways_cannot_tell_is_not_said_to_be_stopped(
    control_site: Any, agent: Agent, run: Run
) -> None:
    """Its agent names no session and no trace; the command says what stops it."""
    made = agent("nameless")
    for _ in range(2):
        assert 200 == control_site.call(made["gateway_key"]).status_code
    query = f"SELECT session_id FROM sessions WHERE instance_id = '{made['instance_id']}' AND model_call_count = 2"
    session_id = control_site.seen(query)[0]["session_id"]
    result = run("stop", "session", session_id, "--reason", "it loops")
    assert (2, True) == (result.code, f"headgate stop instance {made['instance_id']}" in result.err)


def test_a_stop_cuts_a_stream_and_a_pause_does_not(
    control_site: Any, told: Told, agent: Agent, stalled_scenario: Any
) -> None:
    """The call that hangs goes on through the pause and ends with the stop, which says that it cut one."""
    made = agent("cut")
    control_site.model.play(stalled_scenario)
    ended: list[httpx2.Response | Exception] = []

    def call() -> None:
        try:
            ended.append(control_site.call(made["gateway_key"], stream=True))
        except httpx2.TransportError as error:
            ended.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    wait_until(lambda: bool(reserved_calls(told, made["instance_id"])))
    wait_until(lambda: bool(control_site.query(f"SELECT 1 FROM decisions WHERE instance_id = '{made['instance_id']}'")))
    paused = told("pause", "team", made["team"], "--reason", "a look")
    assert ([0], []) == ([one["cut"] for one in paused["effects"]], ended)
    assert denied("paused") == refusal(control_site.call(made["gateway_key"]))
    stopped = told("stop", "team", made["team"], "--reason", "seen enough")
    assert [1] == [one["cut"] for one in stopped["effects"]]
    thread.join(PATIENCE_S)
    assert 1 == len(ended)
    assert {"pause", "stop"} == {one["mode"] for one in told("resume", "team", made["team"])["ended"]}
    effects = control_site.seen(f"SELECT cut FROM stop_effects WHERE stop_id = '{stopped['stop_id']}'")
    assert [1] == [row["cut"] for row in effects]
    (ended_stop,) = [one for one in told("stops", "--all") if one["stop_id"] == stopped["stop_id"]]
    assert (1, "ended") == (ended_stop["cut"], ended_stop["state"])
    query = (
        f"SELECT decision_id FROM model_calls WHERE error_type = 'stopped' AND instance_id = '{made['instance_id']}'"
    )
    (cut,) = control_site.seen(f"{query} AND status <> 'denied'")
    held = exported(told, control_site.folder / "stop.tar.gz", stopped["stop_id"])
    assert (cut["decision_id"], made["instance_id"], True) == (
        held["decisions.jsonl"][0]["decision_id"],
        held["instances.jsonl"][0]["id"],
        bool(held["timeline.jsonl"]) and bool(held["manifests.jsonl"]),
    )


def exported(told: Told, file: Path, stop_id: str) -> dict[str, list[dict[str, Any]]]:
    """The lines of an archive about a stop."""
    told("audit", "export", "--stop", stop_id, "--out", str(file))
    with tarfile.open(file) as tar:
        members = {info.name: tar.extractfile(info) for info in tar if info.name.endswith(".jsonl")}
        return {
            name: [json.loads(line) for line in content] for name, content in members.items() if content is not None
        }


def reserved_calls(told: Told, instance_id: str) -> int:
    """Calls that are under way on the books of an instance."""
    rows = [one for one in told("budget", "show") if one["target"] == instance_id]
    return int(rows[0]["reserved_calls"])


def test_a_stop_may_end_by_itself(control_site: Any, told: Told, agent: Agent, run: Run) -> None:
    """After its time it neither denies nor is listed."""
    made = agent("expiring")
    stopped = told("stop", "team", "expiring", "--reason", "a moment", "--expires", "1s")
    assert stopped["expires_time"].endswith("Z")
    assert denied("stopped") == refusal(control_site.call(made["gateway_key"]))
    wait_until(lambda: control_site.call(made["gateway_key"]).status_code == httpx2.codes.OK)
    assert stopped["stop_id"] not in {one["stop_id"] for one in told("stops")}
    assert 2 == run("stop", "team", "x", "--reason", "x", "--expires", "soon").code


def test_what_was_stopped_is_not_started_again(told: Told, agent: Agent, run: Run, control_site: Any) -> None:
    """Neither as its restart nor as its child, until it is resumed."""
    made = agent("lineage")
    told("stop", "instance", made["instance_id"], "--reason", "it loops")
    manifest = str(control_site.manifest("other"))
    for option in ("--restart-of", "--parent"):
        result = run("instance", "create", "--manifest", manifest, option, made["instance_id"])
        assert 1 == result.code
        assert f"headgate resume instance {made['instance_id']}" in result.err
    told("resume", "instance", made["instance_id"])
    assert "created" == agent("other", "--restart-of", made["instance_id"])["state"]


def test_revoked_keys_are_refused(control_site: Any, told: Told, agent: Agent, run: Run) -> None:
    """At the gateway and at control, for good; doing so again changes nothing."""
    made = agent("revoked")
    assert "revoked" == told("instance", "revoke", made["instance_id"], "--reason", "done")["state"]
    assert 401 == control_site.call(made["gateway_key"]).status_code
    assert 401 == control_site.ask("GET", f"/v1/instances/{made['instance_id']}", made["gateway_key"]).status_code
    assert 0 == run("instance", "revoke", made["instance_id"]).code


def test_a_budget_is_set_spent_and_removed(control_site: Any, told: Told, agent: Agent, run: Run) -> None:
    """What does not fit is denied as `budget`, and passes once nobody is held to it."""
    made = agent("thrifty")
    row = told("budget", "set", "team", "thrifty", "--window", "day", "--calls", "1")
    assert 200 == control_site.call(made["gateway_key"]).status_code
    assert denied("budget") == refusal(control_site.call(made["gateway_key"]))
    (shown,) = (one for one in told("budget", "show") if one["budget_id"] == row["budget_id"])
    assert (1, 1, 0) == (shown["limit_calls"], shown["settled_calls"], shown["reserved_calls"])
    assert "1 calls" in run("budget", "show").out
    control_site.seen(f"SELECT 1 FROM budgets WHERE budget_id = '{row['budget_id']}' AND settled_calls = 1")
    assert [1] == [one["settled_calls"] for one in told("budget", "history", "--scope", "team", "--id", "thrifty")]
    assert 0 == run("budget", "remove", row["budget_id"]).code
    assert 200 == control_site.call(made["gateway_key"]).status_code
    control_site.seen("SELECT 1 FROM model_calls WHERE team = 'thrifty' AND status = 'ok' HAVING count(*) = 2")
    late = told("budget", "set", "team", "thrifty", "--window", "month", "--calls", "9")
    assert (2, True) == (late["settled_calls"], late["is_opened"])


def test_a_limit_denies_what_is_too_fast(control_site: Any, told: Told, agent: Agent, run: Run) -> None:
    """With the code `rate`, and 403 as everything: an agent must not retry at once."""
    made = agent("hasty")
    assert "hasty" == told("limit", "set", "team", "hasty", "--calls-per-minute", "1")["target"]
    assert 200 == control_site.call(made["gateway_key"]).status_code
    assert denied("rate") == refusal(control_site.call(made["gateway_key"]))
    assert ["hasty"] == [one["target"] for one in told("limit", "show")]
    assert 0 == run("limit", "remove", "team", "hasty").code
    assert 200 == control_site.call(made["gateway_key"]).status_code
    assert [] == told("limit", "show")


def test_decisions_are_listed_and_explained(control_site: Any, told: Told, agent: Agent, run: Run) -> None:
    """By effect, code and instance; one of them with everything that is known of it."""
    made = agent("decided")
    key, instance = made["gateway_key"], made["instance_id"]
    allowed = control_site.call(key).headers["x-headgate-decision-id"]
    told("stop", "instance", instance, "--reason", "enough now")
    refused = control_site.call(key).headers["x-headgate-decision-id"]
    control_site.seen(f"SELECT 1 FROM decisions WHERE decision_id = '{refused}'")

    def ids(*filters: str) -> list[str]:
        return [one["decision_id"] for one in told("decisions", "--instance", instance, *filters)]

    assert [refused, allowed] == ids()
    assert ([refused], [refused]) == (ids("--effect", "deny"), ids("--code", "stopped"))
    assert ([allowed], []) == (ids("--effect", "allow", "--action", "model.call"), ids("--team", "nobody"))
    (row,) = told("decisions", "explain", refused)
    assert ("deny", "stopped", instance, made["manifest_digest"]) == (
        row["effect"],
        row["code"],
        row["instance_id"],
        row["manifest_digest"],
    )
    assert "enough now" in run("decisions", "explain", refused).out
    assert 1 == run("decisions", "explain", "dec-nobody").code


def test_the_state_of_an_agent_says_what_holds_it(told: Told, agent: Agent, run: Run) -> None:
    """In the list and on its screen, with who said so and how it goes on."""
    made = agent("held")
    told("pause", "team", "held", "--reason", "release")
    assert ["paused"] == [one["state"] for one in told("instance", "list") if one["team"] == "held"]
    screen = run("instance", "show", made["instance_id"]).out
    assert "release. headgate resume team held" in screen
    told("resume", "team", "held")


@pytest.mark.parametrize(
    ("command", "code", "expected"),
    [
        ("stop galaxy x --reason y", 2, "no scope 'galaxy'"),
        ("stop team --reason y", 2, "which team?"),
        ("stop team x", 2, "--reason"),
        ("stop platform x --reason y", 2, "the platform has no id"),
        ("stop model gpt-5 --reason y", 2, "openai/gpt-5"),
        ("resume team nobody", 2, "neither stopped nor paused"),
        ("budget set galaxy x --calls 1", 2, "scope: expected one of"),
        ("budget set team x", 2, "a budget without an amount"),
        ("budget set team x --usd much", 2, "expected dollars such as 2.50"),
        ("budget set team x --calls 1 --window year", 2, "window: expected one of"),
        ("budget remove nothing", 1, "no budget 'nothing'"),
        ("limit set team x", 2, "a limit without a number"),
        ("limit set platform x --open-calls 1", 2, "id: expected one for every scope but platform"),
        ("instance show nobody", 1, "no instance is called so"),
        ("instance revoke nobody", 1, "no instance is called so"),
        ("instance create --manifest nowhere.yaml", 2, "nowhere.yaml cannot be read"),
        ("instance create --manifest payments.yaml --parent nobody", 2, "no instance 'nobody'"),
        ("instance create --manifest empty.yaml", 2, "empty.yaml: kind: Field required"),
        ("drill --runs 0", 2, ""),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    control_site: Any, run: Run, command: str, code: int, expected: str
) -> None:
    """Exit code 2 where the words are wrong, 1 where they name what is not there; nothing on stdout, no traceback."""
    control_site.manifest()
    (control_site.folder / "empty.yaml").touch()
    result = run(*command.split())
    assert (code, "") == (result.code, result.out)
    assert expected in result.err
    assert "Traceback" not in result.err


def test_a_drill_times_every_kind_of_call(control_site: Any, told: Told, run: Run) -> None:
    """Every call ended at both ends with the next one denied, and nothing of the drill is left."""
    rows = told("drill", "--runs", "2")
    kinds = ("streaming", "stalled", "retrying")
    assert [(kind, number) for kind in kinds for number in (1, 2)] == [(one["phase"], one["run"]) for one in rows]
    assert {(True, 1, ())} == {(one["next_call_denied"], one["cut"], tuple(one["silent"])) for one in rows}
    assert all(one[name] >= 0 for one in rows for name in ("effect_ms", "client_ended_ms", "upstream_closed_ms"))
    assert ["revoked"] == [one["state"] for one in told("instance", "list") if one["workflow"] == "drill"]
    assert [] == [one for one in told("stops") if one["author"] == "drill"]
    assert "3 of 3 calls ended at both ends" in run("drill", "--runs", "1").out
    assert 404 == control_site.call("x", path="/drill/v1").status_code
