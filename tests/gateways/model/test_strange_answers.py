"""Answers with something in them that nobody expects: what the call cost is booked all the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headgate_gateways.model.telling import Telling
from headgate_gateways.model.told import ToldCall
from headgate_gateways.model.unfinished import Unfinished
from headgate_gateways.model.upstream import Upstream
from headgate_gateways.model.usage import TOKENS_MAX, UsageReader
from headgate_processors.testing.serving import Serving

DEEP = "[" * 300 + "]" * 300
USED = '"usage": {"prompt_tokens": 5, "completion_tokens": 7}'


@contextmanager
def behind(site: Any, body: str, *, status: int = 200, headers: dict[str, str] | None = None) -> Iterator[None]:
    """The site with a provider that answers so to every call; `{key}` is the key that it was shown."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        shown = Request(scope, receive).headers["authorization"]
        given = {"content-type": "application/json", **(headers or {})}
        await Response(body.replace("{key}", shown), status, given)(scope, receive, send)

    with Serving(answer) as serving:
        site.provider = f"http://{serving.address}"
        yield


def call(site: Any, **body: Any) -> tuple[int, str]:
    """What one call gives."""

    async def steps(agent: Any) -> tuple[int, str]:
        async with agent.chat(**body) as response:
            return response.status, await response.text()

    found: tuple[int, str] = site.run(steps)
    return found


def booked(site: Any) -> tuple[int, int]:
    """The calls that are settled, and those that are not."""
    account = site.owner.account(site.budget(), 0)
    return account.settled.calls, account.reserved.calls


@pytest.fixture
def kept(site: Any) -> Any:
    """The site with a file of what its next process is to tell."""
    site.unfinished = Unfinished.open(site.folder / "calls.bin")
    return site


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (f"{{{USED}}}", {"x-request-id": "caf\xe9"}),
        (f'{{"usage": {{"prompt_tokens": 5, "completion_tokens": {(1 << 64) - 1}}}}}', {}),
        (f'{{"output": [{{"input": {DEEP}}}]}}', {}),
    ],
    ids=["an id that is no text", "a count that is none", "more lists within lists than can be written"],
)
def test_a_strange_answer_is_passed_on_and_booked(kept: Any, body: str, headers: dict[str, str]) -> None:
    """And told of."""
    with behind(kept, body, headers=headers):
        assert (200, body) == call(kept)
    assert ((1, 0), 1) == (booked(kept), len(kept.told()))


def test_a_count_that_is_none_is_not_known() -> None:
    """The largest that is one is."""
    reader = UsageReader(is_stream=False)
    reader.feed(f'{{"usage": {{"prompt_tokens": {TOKENS_MAX}, "completion_tokens": {TOKENS_MAX + 1}}}}}'.encode())
    usage = reader.finished()
    assert (TOKENS_MAX, "counted") == (usage.input_tokens, usage.source)


class _Failing(Telling):
    """Has something wrong with it."""

    def call(self, told: ToldCall) -> None:
        raise RuntimeError("it is broken")


def test_a_call_that_cannot_be_told_is_booked(site: Any) -> None:
    """And is open no more."""
    site.telling = _Failing(site.spans, site.logs)
    with behind(site, f"{{{USED}}}"):
        call(site)
    assert ((1, 0), 0) == (booked(site), len(site.calls))


def test_the_key_that_was_shown_is_in_no_answer_though_there_is_another_by_then(site: Any) -> None:
    """Keys are replaced while calls run."""
    keys = iter(f"sk-number-{number}" for number in range(9))
    with behind(site, "no: {key}", status=401):
        site.more["openai"] = Upstream(
            name="openai", kind="openai", base_url=f"{site.provider}/v1", api_key=lambda: next(keys)
        )
        assert (401, "no: Bearer ...") == call(site)


@pytest.mark.parametrize("names", ['{"model": 1}', "1"], ids=["to be written again", "as it is"])
def test_a_body_too_deep_to_be_written_is_no_fault_of_the_gateway(site: Any, names: str) -> None:
    """It is refused where it would have to be, and else passed on."""
    body = f'{{"model": "gpt-5-mini", "messages": [], "more": {DEEP.replace("[]", f"[{names}]")}}}'

    async def steps(agent: Any) -> int:
        headers = {"authorization": f"Bearer {agent.key}"}
        url = f"{agent.address}/openai/v1/chat/completions"
        async with agent.client.post(url, data=body, headers=headers) as response:
            return int(response.status)

    with behind(site, f"{{{USED}}}"):
        assert (400 if "model" in names else 200) == site.run(steps)


@pytest.mark.parametrize(
    "more", [{"previous_response_id": "resp_1"}, {"input": [{"type": "item_reference", "id": "msg_1"}]}]
)
def test_an_answer_without_usage_is_its_owners_all_the_same(site: Any, more: dict[str, Any]) -> None:
    """Such as one that was cut; how long it is nobody knows."""
    for budget in site.state.now.budgets.values():
        site.owner.remove(budget.budget_id)

    async def steps(agent: Any) -> list[int]:
        async def said(key: str, **more: Any) -> int:
            body = {"model": "gpt-5-mini", "input": "x", "max_output_tokens": 10, **more}
            shown = {"authorization": f"Bearer {key}"}
            async with agent.post("/openai/v1/responses", body, headers=shown) as response:
                return int(response.status)

        return [await said(site.keys[1]), await said(site.keys[1], **more), await said(site.keys[0], **more)]

    with behind(site, '{"object": "response", "id": "resp_1", "output": [{"type": "message", "id": "msg_1"}]}'):
        found = site.run(steps)
    assert [200, 200, 403] == found
