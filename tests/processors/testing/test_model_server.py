import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from headgate_processors.errors import ConfigError
from headgate_processors.testing.model_server import (
    Fault,
    ModelServer,
    Scenario,
    Usage,
    load_scenario,
    parsed_scenario,
    scenario_names,
)
from headgate_processors.testing.waiting import PATIENCE_S, wait_until

PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = {
    "chat": [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}],
    "responses": [{"type": "function", "name": "get_weather", "parameters": SCHEMA}],
    "messages": [{"name": "get_weather", "input_schema": SCHEMA}],
}
SCENARIO = """
turns:
  - calls:
      - {tool: get_weather, arguments: {city: Rome}}
  - say: It is sunny in Rome, and has been all day.
usage:
  input_tokens: 1000
  output_tokens: 50
  reasoning_tokens: 20
  cache_read_tokens: 400
  cache_write_5m_tokens: 64
  cache_write_1h_tokens: 32
"""
USAGE = Usage(
    input_tokens=1000,
    output_tokens=50,
    reasoning_tokens=20,
    cache_read_tokens=400,
    cache_write_5m_tokens=64,
    cache_write_1h_tokens=32,
)
APIS = pytest.mark.parametrize("api", list(PATHS))


def request_of(api: str, **more: Any) -> dict[str, Any]:
    """A first request, with the tool on offer."""
    asked = {"input": "How is Rome?"} if api == "responses" else {"messages": [{"role": "user", "content": "How?"}]}
    return {"model": "gpt-5-mini", "max_tokens": 100, **asked, "tools": TOOLS[api], **more}


def events_of(text: str) -> list[dict[str, Any]]:
    """The data of every server-sent event, `[DONE]` left out."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [orjson.loads(line) for line in lines if line != "[DONE]"]


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """A server with one tool call and one answer."""
    with ModelServer(parsed_scenario(SCENARIO)) as one:
        yield one


@pytest.fixture
def client(server: ModelServer) -> Iterator[httpx2.Client]:
    """A client of that server."""
    with httpx2.Client(base_url=server.url, timeout=PATIENCE_S, trust_env=False) as one:
        yield one


def post(client: httpx2.Client, api: str, **more: Any) -> Any:
    """The answer to a first request."""
    return client.post(PATHS[api], json=request_of(api, **more))


def test_a_chat_completion_asks_for_the_tool_and_tells_its_usage(client: httpx2.Client) -> None:
    """Message, reason and usage have the places that OpenAI gives them."""
    answer = post(client, "chat").json()
    choice = answer["choices"][0]
    function = choice["message"]["tool_calls"][0]["function"]
    usage = answer["usage"]
    assert ("tool_calls", {"name": "get_weather", "arguments": '{"city":"Rome"}'}) == (
        choice["finish_reason"],
        function,
    )
    assert (1000, 50, 400, 96, 20) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
        usage["prompt_tokens_details"]["cached_tokens"],
        usage["prompt_tokens_details"]["cache_write_tokens"],
        usage["completion_tokens_details"]["reasoning_tokens"],
    )


def test_a_message_leaves_the_cache_out_of_its_input(client: httpx2.Client) -> None:
    """Anthropic's input is what no cache had or got; writes are told by their lifetime."""
    answer = post(client, "messages").json()
    usage = answer["usage"]
    assert ("tool_use", {"city": "Rome"}) == (answer["stop_reason"], answer["content"][0]["input"])
    assert (504, 400, 96, {"ephemeral_5m_input_tokens": 64, "ephemeral_1h_input_tokens": 32}) == (
        usage["input_tokens"],
        usage["cache_read_input_tokens"],
        usage["cache_creation_input_tokens"],
        usage["cache_creation"],
    )


def test_a_response_goes_on_from_the_one_before(client: httpx2.Client) -> None:
    """With `previous_response_id` the call that was made is not asked for again."""
    first = post(client, "responses").json()
    second = post(client, "responses", previous_response_id=first["id"]).json()
    assert ["reasoning", "function_call"] == [item["type"] for item in first["output"]]
    assert "It is sunny in Rome, and has been all day." == second["output"][-1]["content"][0]["text"]


@APIS
def test_a_stream_says_the_same_as_the_whole_answer(api: str, server: ModelServer, client: httpx2.Client) -> None:
    """The pieces of the arguments add up, and the journal has one answer."""
    answer = post(client, api, stream=True)
    events = events_of(answer.text)
    pieces = {
        "chat": lambda one: "".join(
            call["function"]["arguments"] for choice in one["choices"] for call in choice["delta"].get("tool_calls", [])
        ),
        "responses": lambda one: one["delta"] if one["type"] == "response.function_call_arguments.delta" else "",
        "messages": lambda one: one.get("delta", {}).get("partial_json", ""),
    }[api]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert '{"city":"Rome"}' == "".join(map(pieces, events))
    assert ["answered"] == [one.outcome for one in server.journal.exchanges()]


def test_a_chat_stream_tells_its_usage_only_when_asked(client: httpx2.Client) -> None:
    """With `include_usage` every chunk has a usage, null but in the last, which has no choices."""
    plain = events_of(post(client, "chat", stream=True).text)
    asked = events_of(post(client, "chat", stream=True, stream_options={"include_usage": True}).text)
    assert [] == [one for one in plain if "usage" in one]
    assert {None} == {one["usage"] for one in asked[:-1]}
    assert ([], 1000) == (asked[-1]["choices"], asked[-1]["usage"]["prompt_tokens"])


def test_a_response_stream_is_numbered_and_ends_complete(client: httpx2.Client) -> None:
    """Events are numbered without a gap; the last one has the whole response."""
    events = events_of(post(client, "responses", stream=True).text)
    assert list(range(len(events))) == [one["sequence_number"] for one in events]
    assert ("response.created", "response.completed") == (events[0]["type"], events[-1]["type"])
    assert 1000 == events[-1]["response"]["usage"]["input_tokens"]


def test_a_message_stream_has_the_events_of_anthropic(client: httpx2.Client) -> None:
    """Begun with the input's usage, ended with the output's."""
    events = events_of(post(client, "messages", stream=True).text)
    kinds = [one["type"] for one in events if not one["type"].startswith("content_block_d")]
    assert [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ] == kinds
    assert (504, 1) == tuple(events[0]["message"]["usage"][key] for key in ("input_tokens", "output_tokens"))
    assert 50 == events[-2]["usage"]["output_tokens"]


def test_what_is_no_generation_is_answered_and_no_model_call(server: ModelServer, client: httpx2.Client) -> None:
    """Embeddings, models, counted tokens and unknown paths are in the journal, and in no total."""
    embedded = client.post("/v1/embeddings", json={"model": "e", "input": ["one", "two"]}).json()
    counted = client.post("/v1/messages/count_tokens", json=request_of("messages")).json()
    listed = client.get("/v1/models").json()
    unknown = client.get("/v1/files").status_code
    assert (2, 1000, "list", 404) == (len(embedded["data"]), counted["input_tokens"], listed["object"], unknown)
    assert ["embeddings", "count_tokens", "models", "other"] == [one.api for one in server.journal.exchanges()]
    assert 0 == server.journal.totals().model_calls


def test_a_request_that_cannot_be_read_is_refused(server: ModelServer, client: httpx2.Client) -> None:
    """What is no JSON object, and what is larger than anybody's prompt."""
    bodies = (b"{", b"[]", b'{"a": "' + b"x" * (64 << 20) + b'"}')
    statuses = [client.post(PATHS["chat"], content=body).status_code for body in bodies]
    assert [400, 400, 413] == statuses
    assert 0 == server.journal.totals().model_calls


@APIS
def test_refusals_have_the_shape_of_their_api(api: str, server: ModelServer, client: httpx2.Client) -> None:
    """429 says when to come again, 403 says why, 500 is followed by an answer; only that one counts."""
    faults = (
        Fault(requests=(1,), status=429, retry_after_s=2),
        Fault(requests=(2,), status=403, message="Denied by policy."),
        Fault(requests=(3,), status=500),
    )
    server.play(server.scenario.model_copy(update={"faults": faults}))
    answers = [post(client, api) for _ in range(4)]
    kinds = [answer.json()["error"]["type"] for answer in answers[:3]]
    expected = {
        "messages": ["rate_limit_error", "permission_error", "api_error"],
    }.get(api, ["requests", "permission_error", "server_error"])
    totals = server.journal.totals()
    assert [429, 403, 500, 200] == [answer.status_code for answer in answers]
    assert ("2", "Denied by policy.", expected) == (
        answers[0].headers["retry-after"],
        answers[1].json()["error"]["message"],
        kinds,
    )
    assert (1, 3, USAGE.input_tokens) == (totals.model_calls, totals.refused, totals.usage.input_tokens)


@APIS
@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_is_cut_off_is_broken(
    api: str, stream: bool, server: ModelServer, client: httpx2.Client
) -> None:
    """The connection ends in the middle; the call counts nowhere."""
    server.play(server.scenario.model_copy(update={"faults": (Fault(requests=(1,), cut=True),)}))
    with pytest.raises(httpx2.RemoteProtocolError):
        post(client, api, stream=stream)
    totals = server.journal.totals()
    assert (0, 1, 0) == (totals.model_calls, totals.broken, totals.usage.input_tokens)


def test_a_client_that_gives_up_during_a_stall_has_no_answer(server: ModelServer, client: httpx2.Client) -> None:
    """Who goes away before the end got no answer, and the server does not wait for the stall to end."""
    server.play(server.scenario.model_copy(update={"faults": (Fault(requests=(1,), stall_s=300),)}))
    with pytest.raises(httpx2.ReadTimeout):
        client.post(PATHS["chat"], json=request_of("chat", stream=True), timeout=httpx2.Timeout(PATIENCE_S, read=0.2))
    second = post(client, "chat")
    assert 200 == second.status_code
    wait_until(lambda: len(server.journal.exchanges()) == 2)
    assert ["answered", "broken"] == sorted(one.outcome for one in server.journal.exchanges())


def test_a_slow_first_byte_is_late_and_whole(server: ModelServer, client: httpx2.Client) -> None:
    """A delayed answer comes; a fault may be meant for one model only."""
    server.play(server.scenario.model_copy(update={"faults": (Fault(from_request=1, delay_s=60, model="slow-*"),)}))
    assert 200 == post(client, "chat").status_code
    with pytest.raises(httpx2.ReadTimeout):
        client.post(
            PATHS["chat"], json=request_of("chat", model="slow-1"), timeout=httpx2.Timeout(PATIENCE_S, read=0.2)
        )


def test_only_known_keys_are_taken() -> None:
    """Bearer tokens and `x-api-key` both; another key is refused and counted as such."""
    with ModelServer(parsed_scenario(SCENARIO), keys=["sk-right"]) as server:
        statuses = [
            httpx2.post(f"{server.url}{PATHS[api]}", json=request_of(api), headers=headers, trust_env=False).status_code
            for api, headers in (
                ("chat", {"authorization": "Bearer sk-right"}),
                ("messages", {"x-api-key": "sk-right"}),
                ("chat", {"authorization": "Bearer sk-wrong"}),
                ("messages", {}),
            )
        ]
        assert [200, 200, 401, 401] == statuses
        assert 2 == server.journal.totals().refused


def test_the_file_of_the_journal_holds_no_key(tmp_path: Path) -> None:
    """Every exchange is a line, and its credentials are left out."""
    log = tmp_path / "journal.jsonl"
    with ModelServer(parsed_scenario(SCENARIO), log=log) as server:
        headers = {"authorization": "Bearer sk-secret-1", "x-api-key": "sk-secret-2"}
        httpx2.post(f"{server.url}{PATHS['chat']}", json=request_of("chat"), headers=headers, trust_env=False)
    line = orjson.loads(log.read_text())
    assert ("chat", 1000, "get_weather") == (line["api"], line["usage"]["input_tokens"], line["tool_calls"][0]["name"])
    assert "sk-secret" not in log.read_text()


def test_every_packaged_scenario_is_valid() -> None:
    """They parse, and have an answer to end with."""
    scenarios = [load_scenario(name) for name in scenario_names()]
    assert scenarios
    assert [] == [one for one in scenarios if one.turns[-1].say is None]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("turns: [{calls: [dance]}]", "dance"),
        ("turns: [{says: hello}]", "says"),
        ("turns: [{say: a}]\nfaults: [{requests: [1], status: 200}]", "status"),
        ("turns: [{say: a}]\nusage: {input_tokens: 5, cache_read_tokens: 9}", "input_tokens"),
        ("turns: [", "scenario"),
    ],
)
def test_a_wrong_scenario_is_refused_by_name(text: str, word: str) -> None:
    """What is wrong is named."""
    with pytest.raises(ConfigError, match=word):
        parsed_scenario(text)


def test_an_unknown_scenario_is_answered_with_the_known_ones() -> None:
    """The error lists what there is."""
    with pytest.raises(ConfigError, match="multi_step"):
        load_scenario("no_such")


@pytest.mark.slow
def test_it_serves_from_the_command_line(tmp_path: Path) -> None:
    """The first line says where; a signal ends it with 0."""
    command = [sys.executable, "-m", "headgate_processors.testing.model_server", "multi_step"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        address = process.stdout.readline().split()[-1]
        status = httpx2.get(f"http://{address}/healthz", trust_env=False).status_code
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert (200, 0) == (status, process.returncode)


def test_a_scenario_can_be_played_again(server: ModelServer, client: httpx2.Client) -> None:
    """From then on the journal begins anew."""
    post(client, "chat")
    server.play(Scenario.model_validate({"turns": [{"say": "Hello."}]}))
    answer = post(client, "chat").json()
    assert ("Hello.", 1) == (answer["choices"][0]["message"]["content"], server.journal.totals().model_calls)
