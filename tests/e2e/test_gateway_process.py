"""A model gateway as a process of its own beside `headgate up`: it decides, is stopped, and is missed when it dies."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headgate_console.testing.commands import Run
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
Told = Callable[..., Any]
Agent = Callable[..., dict[str, Any]]
NAME = "eu-1"


@pytest.fixture
def gateway(control_site: Any, run: Run, gateway_beside: Any) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`headgate gateway model`, with a token of its own, and where it listens."""
    token = control_site.folder / "gateway.token"
    made = run("token", "create", "--role", "gateway", "--name", NAME, "--file", str(token))
    assert 0 == made.code, made.err
    with gateway_beside(control_site, NAME, token) as started:
        yield started


def test_a_gateway_of_its_own_decides_acknowledges_and_is_missed(
    control_site: Any, told: Told, agent: Agent, run: Run, gateway: tuple["subprocess.Popen[str]", str]
) -> None:
    """A stop waits for both points; killed, it is named as silent, and the stop holds at the other one."""
    process, address = gateway
    made = agent("abroad")
    key, instance = made["gateway_key"], made["instance_id"]
    wait_until(lambda: control_site.call(key, gateway=address).status_code == 200)
    row = control_site.seen(f"SELECT * FROM decisions WHERE instance_id = '{instance}' AND effect = 'allow'")[0]
    assert NAME == row["enforcement_point"]
    control_site.seen(f"SELECT 1 FROM model_calls WHERE instance_id = '{instance}' AND identity_source = 'verified'")
    stopped = told("stop", "instance", instance, "--reason", "it loops")
    assert ({NAME, "model-gateway"}, []) == (
        {one["enforcement_point"] for one in stopped["effects"]},
        stopped["silent"],
    )
    assert [403, 403] == [
        control_site.call(key, gateway=where).status_code
        for where in (address, control_site.addresses["model-gateway"])
    ]
    told("resume", "instance", instance)
    wait_until(lambda: control_site.call(key, gateway=address).status_code == 200)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(PATIENCE_S)
    silent = run("stop", "instance", instance, "--reason", "again", "--json")
    assert (1, [NAME]) == (silent.code, json.loads(silent.out)["silent"])
    assert f"no acknowledgement within 5 s from: {NAME}" in silent.err
    assert "headgate gateway forget NAME" in " ".join(silent.err.split())
    assert 403 == control_site.call(key).status_code
    assert 0 == run("gateway", "forget", NAME).code
    told("resume", "instance", instance)
    alone = told("stop", "instance", instance, "--reason", "without it")
    assert (["model-gateway"], []) == ([one["enforcement_point"] for one in alone["effects"]], alone["silent"])
