"""A call that both an agent and a gateway tell of is one row, through the whole pipeline."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from headgate_analytics.testing.witnesses import ID, UUID, Part, chat, seen, usage
from headgate_analytics.testing.witnesses import request as http_request
from headgate_processors.enrich._registry_file import Instance, RegistryFile
from headgate_processors.enrich.identity import FileRegistry
from headgate_processors.receiver.port import CLIENT
from headgate_processors.workers import build_normaliser

CALL = (
    "SELECT source_key, list_sort(c.witnesses) AS witnesses, c.identity_source, c.instance_id, c.decision_id, "
    "c.status, c.error_type, c.input_tokens, c.output_tokens, c.usage_source, c.attempts, "
    "c.failed_attempts, c.service_name, c.cost_usd "
    "FROM model_calls AS c JOIN sessions USING (session_id) ORDER BY c.start_time"
)
CASES: Mapping[str, tuple[str, Part, Part]] = {
    "traceparent": (f"{1:032x}", chat(1, **usage()), seen(1, parent=1, **usage())),
    "session key": (UUID, chat(1, session__id=UUID, **usage()), seen(2, session__id=UUID, **usage())),
    "response id": (
        f"{1:032x}",
        chat(1, gen_ai__response__id=ID, **usage()),
        seen(2, gen_ai__response__id=ID, **usage()),
    ),
    "response id and the agent's thread": (
        "thread-1",
        chat(1, gen_ai__response__id=ID, gen_ai__conversation__id="thread-1", **usage()),
        seen(2, gen_ai__response__id=ID, session__id="thread-1", **usage()),
    ),
}


def _told(make_workbench: Callable[[], Any], runs: list[list[Part]]) -> list[dict[str, Any]]:
    """The calls, after the parts of each run came and were derived."""
    workbench = make_workbench()
    for parts in runs:
        for sender, request in parts:
            workbench.ingest([request], sender=sender)
        workbench.derive()
    rows: list[dict[str, Any]] = workbench.query(CALL)
    return rows


@pytest.mark.parametrize("name", CASES)
def test_a_call_with_two_witnesses_is_one_row_in_the_agents_session(
    make_workbench: Callable[[], Any], name: str
) -> None:
    """Whichever tells first, in one run or in two."""
    key, agent, gateway = CASES[name]
    expected = [
        {
            "source_key": key,
            "witnesses": ["client", "gateway"],
            "identity_source": "verified",
            "instance_id": "ai-1",
            "decision_id": "d-1",
            "status": "ok",
            "error_type": None,
            "input_tokens": 120,
            "output_tokens": 30,
            "usage_source": "reported",
            "attempts": 1,
            "failed_attempts": 0,
            "service_name": "fixer",
            "cost_usd": Decimal("0.00009"),
        }
    ]
    for runs in ([[agent, gateway]], [[agent], [gateway]], [[gateway], [agent]]):
        assert expected == _told(make_workbench, runs)


def test_a_denied_call_is_one_row_with_the_code_of_the_decision(make_workbench: Callable[[], Any]) -> None:
    """The agent only knows that it got a 403."""
    denied: dict[str, Any] = {"error__type": "stopped", "headgate__attempts": 0, "headgate__usage_source": None}
    agent = chat(1, session__id=UUID, error__type="openai.PermissionDeniedError", until_ms=60)
    gateway = seen(2, session__id=UUID, until_ms=50, **denied)
    [row] = _told(make_workbench, [[gateway, agent]])
    assert ("denied", "stopped", 0, 0) == tuple(
        row[name] for name in ("status", "error_type", "attempts", "failed_attempts")
    )
    assert ["client", "gateway"] == row["witnesses"]


def test_a_cut_stream_is_cancelled_with_the_tokens_that_the_gateway_counted(make_workbench: Callable[[], Any]) -> None:
    """The agent's own span says an error, and no usage."""
    cut: dict[str, Any] = {"error__type": "stopped", "headgate__usage_source": "counted"}
    agent = chat(1, session__id=UUID, error__type="APIError", until_ms=600)
    gateway = seen(2, session__id=UUID, until_ms=500, **(usage(gen_ai__usage__output_tokens=7) | cut))
    [row] = _told(make_workbench, [[agent], [gateway]])
    assert ("cancelled", "stopped", 120, 7, "counted") == tuple(
        row[name] for name in ("status", "error_type", "input_tokens", "output_tokens", "usage_source")
    )


def test_a_try_that_failed_at_the_gateway_is_an_attempt_of_the_agents_call(make_workbench: Callable[[], Any]) -> None:
    """The client tries again by itself: the gateway sees two calls, the agent one."""
    agent = chat(1, session__id=UUID, gen_ai__response__id=ID, **usage())
    failed: dict[str, Any] = {"error__type": "429", "headgate__failed_attempts": 1, "headgate__usage_source": None}
    first = seen(2, span=0xB, session__id=UUID, begin_ms=5, until_ms=100, **failed)
    second = seen(3, session__id=UUID, begin_ms=200, gen_ai__response__id=ID, **usage())
    [row] = _told(make_workbench, [[first, agent, second]])
    assert ("ok", 2, 1) == (row["status"], row["attempts"], row["failed_attempts"])


def test_tries_that_an_agent_and_a_gateway_tell_of_count_once(make_workbench: Callable[[], Any]) -> None:
    """The agent's requests are below its call, and the gateway's spans below them."""
    call = {"session__id": UUID, **usage()}
    failed: dict[str, Any] = {"error__type": "429", "headgate__failed_attempts": 1, "headgate__usage_source": None}
    parts = [
        chat(1, **call),
        http_request(1, span=2, parent=1, status=429, until_ms=100),
        seen(1, span=0xB, parent=2, begin_ms=5, until_ms=95, **failed),
        http_request(1, span=3, parent=1, status=200, begin_ms=200),
        seen(1, parent=3, begin_ms=205, **usage()),
    ]
    [row] = _told(make_workbench, [parts])
    assert ("ok", 2, 1) == (row["status"], row["attempts"], row["failed_attempts"])


def test_what_a_gateway_counted_of_a_cut_stream_is_more_than_its_agent_has_heard(
    make_workbench: Callable[[], Any],
) -> None:
    """Anthropic's first event already reports a token of output; its cost is that of all that came."""
    cut: dict[str, Any] = {"error__type": "stopped", "headgate__usage_source": "counted"}
    heard: dict[str, Any] = {"session__id": UUID, "error__type": "APIError", "operation__cost": 0.000001}
    agent = chat(1, until_ms=600, scope="pydantic-ai", **heard, **usage(gen_ai__usage__output_tokens=1))
    gateway = seen(1, parent=1, until_ms=500, **(usage(gen_ai__usage__output_tokens=72) | cut))
    [row] = _told(make_workbench, [[agent, gateway]])
    assert ("cancelled", "counted", 120, 72, Decimal("0.000174")) == tuple(
        row[name] for name in ("status", "usage_source", "input_tokens", "output_tokens", "cost_usd")
    )


def test_a_refused_call_of_an_agent_that_says_its_instance_finds_it_without_any_key(
    workbench: Any, tmp_path: Path
) -> None:
    """No id, no key, no shared trace: the same instance and model at the same time, if the instance is registered."""
    registry = FileRegistry(RegistryFile(instances={"ai-1": Instance(team="payments")}))
    known = type(workbench)(tmp_path / "known", build_normaliser(tmp_path, registry=registry))
    agent = chat(1, error__type="PermissionDeniedError", until_ms=60, resource={"headgate.instance.id": "ai-1"})
    gateway = seen(2, until_ms=50, error__type="budget", headgate__attempts=0)
    [row] = _told(lambda: known, [[agent], [gateway]])
    assert ("denied", "budget", ["client", "gateway"]) == (row["status"], row["error_type"], row["witnesses"])
    assert [("verified", "payments")] == [
        tuple(one.values()) for one in known.query("SELECT identity_source, team FROM sessions")
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_a_call_that_an_sdk_tells_in_a_trace_of_its_own_is_that_of_the_framework_around_it(
    workbench: Any, tmp_path: Path, order: tuple[int, ...]
) -> None:
    """LangChain's spans set no context, so Anthropic's SDK begins a trace, and the gateway's span is below it."""
    registry = FileRegistry(RegistryFile(instances={"ai-1": Instance(team="payments")}))
    known = type(workbench)(tmp_path / "known", build_normaliser(tmp_path, registry=registry))
    resource = {"headgate.instance.id": "ai-1"}
    told = usage(gen_ai__response__id=ID)
    parts = [
        chat(1, parent=9, resource=resource, **usage()),
        chat(2, begin_ms=5, until_ms=995, scope="com.anthropic.sdk.python", resource=resource, **told),
        seen(2, parent=1, **told),
    ]
    for at in order:
        sender, request = parts[at]
        known.ingest([request], sender=sender)
        known.derive()
    [row] = known.query("SELECT trace_id, witnesses, input_tokens, attempts FROM model_calls")
    assert (f"{1:032x}", ["client", "gateway"], 120, 1) == tuple(row.values())
    assert [(1, 120)] == [
        tuple(one.values()) for one in known.query("SELECT model_call_count, input_tokens FROM sessions")
    ]


def test_calls_that_only_an_sdk_tells_are_calls(make_workbench: Callable[[], Any]) -> None:
    """A loop by hand over it has nothing around them."""
    parts = [
        chat(n, begin_ms=n * 10, scope="com.anthropic.sdk.python", gen_ai__response__id=f"{ID}{n}", **usage())
        for n in (1, 2)
    ]
    gateways = [seen(n + 2, begin_ms=n * 10 + 5, gen_ai__response__id=f"{ID}{n}", **usage()) for n in (1, 2)]
    rows = _told(make_workbench, [parts, gateways])
    assert [["client", "gateway"]] * 2 == [row["witnesses"] for row in rows]


def test_what_only_the_gateway_saw_is_in_a_session_of_the_instance(make_workbench: Callable[[], Any]) -> None:
    """Agents without telemetry: two calls within the idle gap, and one an hour later."""
    parts = [
        seen(n + 1, begin_ms=at, until_ms=at + 500, gen_ai__response__id=f"{ID}{n}", **usage())
        for n, at in enumerate((0, 60_000, 3_000_000))
    ]
    rows = _told(make_workbench, [parts])
    assert [f"{1:032x}", f"{1:032x}", f"{3:032x}"] == [row["source_key"] for row in rows]
    assert {("verified", "ai-1")} == {(row["identity_source"], row["instance_id"]) for row in rows}


def test_a_call_that_names_the_session_of_another_instance_counts_to_its_own(workbench: Any) -> None:
    """The credential says whose it is; who resumes a session, or claims one, is not who began it."""
    for at, name in enumerate(("ai-1", "ai-2", "ai-1")):
        sender, request = seen(
            at + 1,
            begin_ms=at * 2_000,
            until_ms=at * 2_000 + 500,
            session__id=UUID,
            headgate__instance__id=name,
            gen_ai__response__id=f"{ID}{at}",
            **usage(),
        )
        workbench.ingest([request], sender=sender)
        workbench.derive()
    rows = workbench.query(
        "SELECT instance_id, identity_source, count(*), count(DISTINCT session_id) FROM model_calls"
        " GROUP BY ALL ORDER BY 1"
    )
    assert [("ai-1", "verified", 2, 1), ("ai-2", "verified", 1, 1)] == [tuple(row.values()) for row in rows]


def test_an_answer_from_the_gateways_cache_costs_nothing(workbench: Any) -> None:
    """And says which model was asked for before it was routed."""
    sender, request = seen(
        1,
        headgate__response_cache_hit=True,
        headgate__routed_from_model="gpt-5",
        headgate__attempts=0,
        **usage(),
    )
    workbench.ingest([request], sender=sender)
    workbench.derive()
    [row] = workbench.query("SELECT response_cache_hit, routed_from_model, cost_usd, cost_basis FROM model_calls")
    assert (True, "gpt-5", 0, "reported") == tuple(row.values())


@pytest.mark.parametrize(
    "skipped", [["second/gpt-5 (d-2): budget: spent", "third/gpt-5 (d-3): stopped: it loops"], None]
)
def test_models_that_were_passed_over_are_in_the_row_of_their_call(workbench: Any, skipped: list[str] | None) -> None:
    """Each with why; NULL where nobody was."""
    more = {} if skipped is None else {"headgate__skipped_models": skipped}
    sender, request = seen(1, headgate__attempts=1, **usage(), **more)
    workbench.ingest([request], sender=sender)
    workbench.derive()
    [row] = workbench.query("SELECT skipped_models FROM model_calls")
    assert skipped == row["skipped_models"]


def test_a_call_that_was_cut_costs_what_its_budgets_were_charged(workbench: Any) -> None:
    """Nobody knows its input, so that is an upper bound; what it has saved stands beside it."""
    sender, request = seen(
        1,
        error__type="stopped",
        headgate__attempts=1,
        headgate__usage_source="counted",
        headgate__cost_usd="0.000123",
        headgate__saved_usd="-0.5",
        gen_ai__usage__output_tokens=7,
    )
    workbench.ingest([request], sender=sender)
    workbench.derive()
    [row] = workbench.query("SELECT usage_source, cost_usd, cost_basis, saved_usd FROM model_calls")
    assert ("counted", Decimal("0.000123"), "upper_bound", Decimal("-0.5")) == tuple(row.values())


@pytest.mark.parametrize("has_agent", [False, True])
def test_calls_with_the_same_response_id_are_as_many_as_were_decided(workbench: Any, has_agent: bool) -> None:
    """Some servers give every answer one id."""
    for at in range(6):
        told = {"gen_ai__response__id": "the-only-response-id", "session__id": UUID, "begin_ms": at * 2_000}
        until_ms = at * 2_000 + 500
        parts = [seen(at + 1, parent=1, headgate__decision_id=f"d-{at}", until_ms=until_ms, **told, **usage())]
        if has_agent:
            parts.append(chat(at + 1, until_ms=until_ms, **told, **usage()))
        for sender, request in parts:
            workbench.ingest([request], sender=sender)
    workbench.derive()
    rows = workbench.query("SELECT model_call_id, decision_id FROM model_calls ORDER BY start_time")
    assert [f"d-{at}" for at in range(6)] == [row["decision_id"] for row in rows]
    assert 6 == len({row["model_call_id"] for row in rows})


def test_the_provider_of_a_call_is_called_as_its_decision_calls_it(make_workbench: Callable[[], Any]) -> None:
    """By the name of the gateway's door, whatever the agent calls it."""
    agent = chat(1, gen_ai__provider__name="azure.ai.inference", **usage())
    gateway = seen(1, parent=1, gen_ai__provider__name="azure", **usage())
    found = []
    for parts in ([gateway], [agent, gateway], [agent]):
        workbench = make_workbench()
        for sender, request in parts:
            workbench.ingest([request], sender=sender)
        workbench.derive()
        found += [row["provider"] for row in workbench.query("SELECT provider FROM model_calls")]
    assert ["azure", "azure", "azure.ai.inference"] == found


@pytest.mark.parametrize("agents", [None, {"error__type": "APIConnectionError"}, usage()])
def test_a_call_whose_gateway_was_killed_is_cancelled_and_costs_what_was_reserved(
    workbench: Any, agents: dict[str, Any] | None
) -> None:
    """Unless its agent has seen it end well."""
    killed = {"error__type": "gateway_killed", "headgate__usage_source": "counted", "headgate__cost_usd": "0.25"}
    parts = [seen(2, session__id=UUID, until_ms=500, gen_ai__usage__output_tokens=7, **killed)]
    if agents is not None:
        parts.append(chat(1, session__id=UUID, **agents))
    for sender, request in parts:
        workbench.ingest([request], sender=sender)
    workbench.derive()
    [row] = workbench.query(
        "SELECT status, error_type, output_tokens, usage_source, cost_usd = 0.25 AS is_reserved FROM model_calls"
    )
    cancelled = ("cancelled", "gateway_killed", 7, "counted", True)
    assert (("ok", None, 30, "reported", False) if agents == usage() else cancelled) == tuple(row.values())


def test_an_agent_cannot_speak_as_a_gateway(workbench: Any) -> None:
    """The same span from a client has one witness, and decides nothing."""
    _, request = seen(1, gen_ai__response__id=ID, **usage())
    workbench.ingest([request], sender=CLIENT)
    workbench.derive()
    [row] = workbench.query("SELECT witnesses, decision_id, attempts, identity_source FROM model_calls")
    assert (["client"], None, None, "unknown") == tuple(row.values())


def test_what_a_gateway_reads_beside_the_usage_is_in_the_row(make_workbench: Callable[[], Any]) -> None:
    """The provider's id of the request, its tier, what was cached for an hour, and its word for what went wrong."""
    workbench = make_workbench()
    sender, request = seen(
        1,
        **usage(),
        gen_ai__request__id="req-1",
        gen_ai__response__service_tier="priority",
        gen_ai__usage__cache_creation__input_tokens=60,
        gen_ai__usage__cache_write_1h__input_tokens=40,
        error__type="overloaded_error",
    )
    workbench.ingest([request], sender=sender)
    workbench.derive()
    names = "request_id, service_tier, cache_write_tokens, cache_write_1h_tokens, status, error_type"
    expected = {
        "request_id": "req-1",
        "service_tier": "priority",
        "cache_write_tokens": 60,
        "cache_write_1h_tokens": 40,
        "status": "error",
        "error_type": "overloaded_error",
    }
    assert [expected] == workbench.query(f"SELECT {names} FROM model_calls")
