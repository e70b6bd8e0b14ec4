"""Images and documents in a call, estimated by what providers count for them and not by their bytes.

The figures are the most that the providers' own pages name, as of November 2026; what one counts beyond them is
metered like everything else, once it tells.

* Anthropic scales an image down to 4,784 tokens at most, or 1,568 with older models.
* OpenAI counts 85 + 170 for each of 8 tiles, or 1.2 for each patch of 32 pixels: 2,500 of them with detail `high`, a
  photograph of 12 megapixels whole without it. For `gpt-4o-mini` it counts 2,833 + 5,667 for each tile.
* A page of a PDF is up to 3,000 tokens of text, and an image.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headgate_gateways.model.texts import weight_of
from headgate_gateways.model.upstream import Operation

BYTES_PER_TOKEN = 3
ANTHROPIC_IMAGE_TOKENS = 4_784
OPENAI_IMAGE_TOKENS = 16_384
OPENAI_DETAIL_TOKENS: Mapping[object, int] = {"low": 3_000, "high": 4_096}
LARGE_TILES = "gpt-4o-mini"
LARGE_TILES_IMAGE_TOKENS = 2_833 + 8 * 5_667
PAGE_TOKENS = 3_000 + ANTHROPIC_IMAGE_TOKENS
DOCUMENT_TOKENS_MAX = 1_000_000
UNSEEN_DOCUMENT_TOKENS = 200_000
"""For a document that the provider fetches itself, or has already: an ordinary context full of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """So much of the weight of a body is no text, and counts as so many tokens."""

    weight: int = 0
    tokens: int = 0

    def __add__(self, other: "Media") -> "Media":
        return Media(weight=self.weight + other.weight, tokens=self.tokens + other.tokens)


NO_MEDIA = Media()


def media_of(operation: Operation, model: str, said: Mapping[str, Any]) -> Media:
    """What a call holds beside text, where its provider looks for it; anything like it elsewhere is text."""
    image_tokens = LARGE_TILES_IMAGE_TOKENS if LARGE_TILES in model else None
    total = NO_MEDIA
    for part in _parts(operation, said):
        found = _anthropic(part) if operation == "messages" else _openai(part, image_tokens)
        total = total if found is NO_MEDIA else total + found
    return total


def _parts(operation: Operation, said: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The parts of all messages, and of what tools have answered."""
    for message in _objects(said.get("input" if operation == "responses" else "messages")):
        if operation == "responses":
            yield message
            yield from _objects(message.get("output"))
        for part in _objects(message.get("content")):
            yield part
            for inner in _objects(part.get("content")) if operation == "messages" else ():
                yield inner
                yield from _objects(_object(inner.get("source")).get("content"))
            yield from _objects(_object(part.get("source")).get("content"))


def _anthropic(part: Mapping[str, Any]) -> Media:
    source = _object(part.get("source"))
    data = source.get("data") if source.get("type") == "base64" else None
    if part.get("type") == "image":
        return Media(weight=_weight(data), tokens=ANTHROPIC_IMAGE_TOKENS)
    if part.get("type") == "document" and source.get("type") in {"base64", "url", "file"}:
        return _document(data)
    return NO_MEDIA


def _openai(part: Mapping[str, Any], image_tokens: int | None) -> Media:
    match part.get("type"):
        case "image_url":
            image = _object(part.get("image_url"))
            return _image(image.get("url"), image.get("detail"), image_tokens)
        case "input_image" | "computer_screenshot":
            return _image(part.get("image_url"), part.get("detail"), image_tokens)
        case "image_generation_call":
            return Media(weight=_weight(part.get("result")), tokens=image_tokens or OPENAI_IMAGE_TOKENS)
        case "file":
            return _document(_inline(_object(part.get("file")).get("file_data")))
        case "input_file":
            return _document(_inline(part.get("file_data")))
    return NO_MEDIA


def _image(url: object, detail: object, image_tokens: int | None) -> Media:
    known = OPENAI_DETAIL_TOKENS.get(detail) if isinstance(detail, str) else None
    return Media(weight=_weight(_inline(url)), tokens=image_tokens or known or OPENAI_IMAGE_TOKENS)


def _document(data: object) -> Media:
    if not isinstance(data, str) or not data:
        return Media(tokens=UNSEEN_DOCUMENT_TOKENS)
    tokens = min(DOCUMENT_TOKENS_MAX, max(PAGE_TOKENS, -(-len(data) // BYTES_PER_TOKEN)))
    return Media(weight=_weight(data), tokens=tokens)


def _inline(url: object) -> str | None:
    """An address that holds what it names; any other is text."""
    return url if isinstance(url, str) and url.startswith("data:") else None


def _weight(data: object) -> int:
    return weight_of(data.encode("utf-8", "surrogatepass")) if isinstance(data, str) else 0


def _objects(found: object) -> Iterator[Mapping[str, Any]]:
    """The objects of a list, or the one that stands in its place."""
    every = found if isinstance(found, list) else [found]
    return (one for one in every if isinstance(one, dict))


def _object(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}
