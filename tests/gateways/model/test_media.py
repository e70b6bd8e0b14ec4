"""Images and documents are estimated by what providers count for them."""

import io
from typing import Any

import orjson
import pytest

from headgate_gateways.model.asked import parse_call
from headgate_gateways.model.media import (
    ANTHROPIC_IMAGE_TOKENS,
    DOCUMENT_TOKENS_MAX,
    LARGE_TILES_IMAGE_TOKENS,
    OPENAI_DETAIL_TOKENS,
    OPENAI_IMAGE_TOKENS,
    PAGE_TOKENS,
    UNSEEN_DOCUMENT_TOKENS,
)
from headgate_gateways.model.passing import SLICE_BYTES
from headgate_gateways.model.texts import tokens_of, weight_of
from headgate_gateways.model.upstream import Operation

DATA = "QUJD" * 100_000
INLINE = f"data:image/png;base64,{DATA}"
IMAGE_OF_4_MB = {"type": "image_url", "image_url": {"url": INLINE + 9 * DATA}}
SOURCE = {"type": "base64", "media_type": "image/png", "data": DATA}
IMAGE = {"type": "image", "source": SOURCE}


def estimate(operation: Operation, said: dict[str, Any], *, model: str = "m") -> tuple[int, int]:
    """The tokens of input, and those that its bytes would be as text."""
    body = orjson.dumps({"model": model, **said})
    return parse_call(operation, body).input_tokens_max, tokens_of(weight_of(body))


def messages(*parts: dict[str, Any]) -> dict[str, Any]:
    """A message of parts."""
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "what is this?"}, *parts]}]}


def chat_image(**more: str) -> dict[str, Any]:
    """An image as chat completions have it."""
    return messages({"type": "image_url", "image_url": {"url": INLINE, **more}})


@pytest.mark.parametrize(
    ("operation", "said", "expected"),
    [
        ("messages", messages(IMAGE), ANTHROPIC_IMAGE_TOKENS),
        ("messages", messages(IMAGE, IMAGE), 2 * ANTHROPIC_IMAGE_TOKENS),
        ("messages", messages({"type": "tool_result", "content": [IMAGE]}), ANTHROPIC_IMAGE_TOKENS),
        ("messages", messages({"type": "document", "source": {"type": "content", "content": [IMAGE]}}), 4_784),
        ("messages", {"messages": [{"role": "user", "content": IMAGE}]}, ANTHROPIC_IMAGE_TOKENS),
        ("chat", chat_image(), OPENAI_IMAGE_TOKENS),
        ("chat", chat_image(detail="auto"), OPENAI_IMAGE_TOKENS),
        ("chat", chat_image(detail="high"), OPENAI_DETAIL_TOKENS["high"]),
        ("chat", chat_image(detail="low"), OPENAI_DETAIL_TOKENS["low"]),
        (
            "responses",
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": INLINE}]}]},
            OPENAI_IMAGE_TOKENS,
        ),
        (
            "responses",
            {
                "input": [
                    {"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": INLINE}}
                ]
            },
            OPENAI_IMAGE_TOKENS,
        ),
        (
            "responses",
            {"input": [{"type": "function_call_output", "output": [{"type": "input_image", "image_url": INLINE}]}]},
            OPENAI_IMAGE_TOKENS,
        ),
        ("responses", {"input": [{"type": "image_generation_call", "result": DATA}]}, OPENAI_IMAGE_TOKENS),
    ],
)
def test_an_image_counts_as_an_image(operation: Operation, said: dict[str, Any], expected: int) -> None:
    """The rest is text."""
    found, as_text = estimate(operation, said)
    assert expected <= found < expected + 200 < as_text


def test_a_model_of_large_tiles_counts_more() -> None:
    """Whatever the detail."""
    found = [
        estimate("chat", chat_image(detail=detail), model="gpt-4o-mini-2024-07-18")[0] for detail in ("low", "high")
    ]
    assert [True, True] == [LARGE_TILES_IMAGE_TOKENS <= one < LARGE_TILES_IMAGE_TOKENS + 200 for one in found]


@pytest.mark.parametrize(
    ("operation", "part", "expected"),
    [
        ("messages", {"type": "image", "source": {"type": "url", "url": "https://x/a.png"}}, ANTHROPIC_IMAGE_TOKENS),
        ("messages", {"type": "image", "source": {"type": "file", "file_id": "f"}}, ANTHROPIC_IMAGE_TOKENS),
        ("chat", {"type": "image_url", "image_url": {"url": "https://x/a.png"}}, OPENAI_IMAGE_TOKENS),
        ("messages", {"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}}, UNSEEN_DOCUMENT_TOKENS),
        ("chat", {"type": "file", "file": {"file_id": "f"}}, UNSEEN_DOCUMENT_TOKENS),
    ],
)
def test_what_the_provider_fetches_itself_counts_too(operation: Operation, part: dict[str, Any], expected: int) -> None:
    """Though it is hardly a byte here."""
    found, as_text = estimate(operation, messages(part))
    assert found == as_text + expected


@pytest.mark.parametrize(
    ("characters", "expected"),
    [(400, PAGE_TOKENS), (300_000, 100_000), (4_000_000, DOCUMENT_TOKENS_MAX)],
)
def test_a_document_counts_by_its_bytes(characters: int, expected: int) -> None:
    """At least as a page, and no more than any context holds."""
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "A" * characters}}
    file = {"type": "file", "file": {"file_data": "data:application/pdf;base64," + "A" * characters}}
    found = [estimate("messages", messages(pdf))[0], estimate("chat", messages(file))[0]]
    assert [True, True] == [expected <= one < expected + 200 for one in found]


@pytest.mark.parametrize(
    "said",
    [
        {"tools": [{"name": "t", "input_schema": IMAGE}], **messages()},
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "name": "t", "input": IMAGE}]}]},
        messages({"type": "text", "text": DATA, "source": SOURCE}),
        messages({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": DATA}}),
        messages({"type": "image", "source": {"type": "text", "data": DATA}}),
        {"system": [IMAGE], **messages()},
        {"messages": {"content": DATA}},
        {"messages": DATA},
    ],
)
def test_what_only_looks_like_an_image_is_text(said: dict[str, Any]) -> None:
    """Where the provider reads text, all of it counts."""
    found, as_text = estimate("messages", said)
    assert found >= as_text


def test_a_large_image_fits_into_a_budget(site: Any) -> None:
    """Its bytes as text would not; and it is booked as the provider counts."""
    site.limit(tokens=50_000)

    async def steps(agent: Any) -> list[int]:
        found = []
        for content in ([{"type": "image_url", "image_url": {"url": INLINE + DATA}}], INLINE + DATA):
            async with agent.chat(messages=[{"role": "user", "content": content}], max_tokens=100) as response:
                found.append(response.status)
        return found

    assert [200, 403] == site.run(steps)


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_long_body_passes_whole(site: Any, beyond: int) -> None:
    """Piece by piece, with its length told before."""
    body = orjson.dumps({"model": "gpt-5-mini", "messages": [{"role": "user", "content": [IMAGE_OF_4_MB]}]})
    body += b" " * (-len(body) % SLICE_BYTES + beyond)

    async def steps(agent: Any) -> int:
        shown = {"authorization": f"Bearer {agent.key}", "content-type": "application/json"}
        url = f"{agent.address}/openai/v1/chat/completions"
        async with agent.client.post(url, data=io.BytesIO(body), headers=shown) as response:
            return int(response.status)

    assert 200 == site.run(steps)
    (exchange,) = site.server.journal.exchanges()
    assert (str(len(body)), None) == (exchange.headers["content-length"], exchange.headers.get("transfer-encoding"))
    assert orjson.loads(body) == exchange.body


def test_a_long_body_of_too_many_values_is_refused(site: Any) -> None:
    """Reading it would hold everybody up."""
    body = orjson.dumps({"model": "gpt-5-mini", "messages": [{}] * 600_000})

    async def steps(agent: Any) -> tuple[int, str]:
        shown = {"authorization": f"Bearer {agent.key}"}
        url = f"{agent.address}/openai/v1/chat/completions"
        async with agent.client.post(url, data=io.BytesIO(body), headers=shown) as response:
            return response.status, (await response.json())["error"]["message"]

    status, message = site.run(steps)
    assert (400, True) == (status, "consists of more than" in message)
