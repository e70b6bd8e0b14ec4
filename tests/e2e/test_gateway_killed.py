"""Processes that are killed in the middle of a stream: the next one tells of the call, and its budget knows of it."""

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from headgate_console.testing.commands import Run
from headgate_processors.testing.model_server import ModelServer, parsed_scenario
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
Told = Callable[..., Any]
Agent = Callable[..., dict[str, Any]]
NAME = "eu-2"
SESSION = "0199c1a2-7b4e-7c11-9a57-0c2e6ad1b0ff"
STALLS = parsed_scenario("""
turns: [{say: "one two three four five six seven eight nine ten"}]
usage: {input_tokens: 100, output_tokens: 10}
faults: [{requests: [1], stall_s: 60, after_events: 4}]
""")
ROW = """
SELECT c.status, c.error_type, c.attempts, c.failed_attempts, c.usage_source, c.output_tokens > 0 AS is_counted,
  c.cost_basis, c.cost_usd, c.decision_id, s.source_key
FROM model_calls AS c JOIN sessions AS s USING (session_id) WHERE c.instance_id = '{}'
"""


@contextmanager
def streaming(where: str, key: str) -> Iterator[None]:
    """An agent's call that is in the middle of its answer."""
    came = threading.Event()
    body = {"model": "gpt-5", "max_completion_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {key}", "x-session-id": SESSION}

    def call() -> None:
        with (
            suppress(httpx2.TransportError),
            httpx2.stream(
                "POST",
                f"http://{where}/openai/v1/chat/completions",
                json={**body, "stream": True},
                headers=headers,
                timeout=PATIENCE_S,
                trust_env=False,
            ) as answer,
        ):
            for piece in answer.iter_text():
                if "one" in piece:
                    came.set()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    assert came.wait(PATIENCE_S)
    yield
    thread.join(PATIENCE_S)


def found(site: Any, made: dict[str, Any]) -> dict[str, Any]:
    """The one row of the killed call, once it is told, with its decision and what its budget holds."""
    instance = made["instance_id"]
    site.seen(ROW.format(instance))
    [row] = site.query(ROW.format(instance))
    wait_until(lambda: _decision(site, instance) == [(row["decision_id"], True)])
    return dict(row)


def _decision(site: Any, instance: str) -> list[tuple[str, bool]]:
    rows = site.query(f"SELECT decision_id, session_id FROM decisions WHERE instance_id = '{instance}'")
    return [(row["decision_id"], row["session_id"] is not None) for row in rows]


def expected(row: dict[str, Any], reserved_usd: object) -> dict[str, Any]:
    """What a call that was killed is, whoever tells of it."""
    return {
        "status": "cancelled",
        "error_type": "gateway_killed",
        "attempts": 1,
        "failed_attempts": 1,
        "usage_source": "counted",
        "is_counted": True,
        "cost_basis": "upper_bound",
        "cost_usd": Decimal(str(reserved_usd)),
        "decision_id": row["decision_id"],
        "source_key": SESSION,
    }


def taken_usd(told: Told, instance: str) -> object:
    """What is reserved for an instance, or spent once that is over."""
    (book,) = (one for one in told("budget", "show") if one["target"] == instance)
    return Decimal(str(book["settled_usd"])) + Decimal(str(book["reserved_usd"]))


def test_a_call_of_a_control_that_was_killed_is_told(control_site: Any, told: Told, agent: Agent) -> None:
    """By the control that comes after it."""
    made = agent("killed")
    control_site.model.play(STALLS)
    with streaming(control_site.addresses["model-gateway"], made["gateway_key"]):
        control_site.kill_control()
    row = found(control_site, made)
    assert expected(row, taken_usd(told, made["instance_id"])) == row


def test_a_call_of_a_gateway_of_its_own_that_was_killed_is_told(
    control_site: Any, told: Told, agent: Agent, run: Run, gateway_beside: Any
) -> None:
    """By the next process of that gateway; and the instance runs, as control has heard from there."""
    made, token = agent("killed abroad"), control_site.folder / "gateway.token"
    assert 0 == run("token", "create", "--role", "gateway", "--name", NAME, "--file", str(token)).code
    control_site.model.play(STALLS)
    with (
        gateway_beside(control_site, NAME, token) as (process, address),
        streaming(address, made["gateway_key"]),
    ):
        process.kill()
    with gateway_beside(control_site, NAME, token):
        row = found(control_site, made)
    assert expected(row, taken_usd(told, made["instance_id"])) == row
    assert "running" == told("instance", "show", made["instance_id"])["state"]


def test_a_call_of_a_headgate_that_was_killed_is_told(
    start_site: Callable[..., Any], tmp_path: Path, headgate: list[str]
) -> None:
    """By the next start; its decision knows its session then."""
    with ModelServer(STALLS) as model:
        with start_site(tmp_path, model) as site:
            create = ("instance", "create", "--manifest", str(site.manifest()), "--data", str(site.data), "--json")
            made = json.loads(subprocess.run([*headgate, *create], check=True, capture_output=True, text=True).stdout)
            where = site.addresses["model-gateway"]
            with streaming(where, made["gateway_key"]):
                _decided(site, made["instance_id"])
                site.process.send_signal(signal.SIGKILL)
                site.process.wait(PATIENCE_S)
        with start_site(tmp_path, model) as site:
            row = found(site, made)
    assert expected(row, row["cost_usd"]) == row


def _decided(site: Any, instance: str) -> None:
    """Return when the store has been told of the decision."""
    site.seen(f"SELECT 1 FROM decisions WHERE instance_id = '{instance}'")
