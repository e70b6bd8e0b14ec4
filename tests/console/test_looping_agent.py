"""The agent of the demo: it knows a base URL and a key, loops, and ends when it is told no."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

from headgate_console.demo.governed import AGENT, KEY_VARIABLE, LoopingAgent, provider
from headgate_processors.testing.model_server import ModelServer, parsed_scenario
from headgate_processors.testing.waiting import PATIENCE_S

LOOP = """
turns: [{calls: [test]}]
usage: {input_tokens: 100, output_tokens: 10}
"""


class Refusing(BaseHTTPRequestHandler):
    """A gateway that denies everything."""

    def do_POST(self) -> None:
        """Refuse as the model gateway does."""
        self.rfile.read(int(self.headers["content-length"]))
        content = json.dumps({"error": {"type": "policy_denied", "code": "stopped", "message": "it loops"}}).encode()
        self.send_response(403)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
        """Say nothing."""


@contextmanager
def looping(base_url: str) -> Iterator[tuple[LoopingAgent, list[str]]]:
    """The agent with that base URL, and what it says."""
    said: list[str] = []
    variables = {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "none"}
    process = subprocess.Popen(
        [sys.executable, "-m", AGENT], stdout=subprocess.PIPE, text=True, env={**os.environ, **variables}
    )
    try:
        yield LoopingAgent(process, said.append), said
    finally:
        process.kill()
        process.wait()


def test_it_wants_the_same_call_again_and_then_streams() -> None:
    """Every answer leads to the next call, until it has had enough by itself."""
    with ModelServer(parsed_scenario(LOOP)) as model, looping(f"{model.url}/v1") as (agent, said):
        assert agent.streaming.wait(PATIENCE_S)
        assert 0 == agent.ended()
        assert "call 1: the model wants run_tests again; the tests fail again" == said[0]
        assert "call 12: the stream ended" == said[-1]
        assert [(200, False)] * 5 + [(200, True)] * 7 == [
            (one.status, one.is_stream) for one in model.journal.exchanges()
        ]


def test_it_ends_when_it_is_told_no() -> None:
    """With exit code 3, and the reason as it was given."""
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with looping(f"http://127.0.0.1:{server.server_address[1]}/v1") as (agent, said):
            assert 3 == agent.ended()
        server.shutdown()
    assert ["call 1: 403 policy_denied/stopped: it loops. The agent ends."] == said


def test_the_provider_of_the_demo_is_put_behind_the_gateway() -> None:
    """By variables alone; its key is one of them, and no agent's."""
    with provider() as variables:
        upstreams = json.loads(variables["HEADGATE_GATEWAYS__MODEL__UPSTREAMS"])
    assert f"env:{KEY_VARIABLE}" == upstreams["openai"]["api_key"]
    assert KEY_VARIABLE in variables
