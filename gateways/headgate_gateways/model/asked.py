"""What a model call asks for, read from its body, and what it may cost at most."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from headgate_gateways.model.lengths import Before
from headgate_gateways.model.media import media_of
from headgate_gateways.model.texts import tokens_of, weight_of
from headgate_gateways.model.upstream import Operation
from headgate_processors.errors import PermanentError

OUTPUT_TOKENS_DEFAULT = 16_384
OUTPUT_TOKENS_MAX = 1 << 32
"""More than any model writes: what is reserved for who asks for more fits into the books."""
MODEL_CHARS_MAX = 256
SHORT_BYTES_MAX = 256 << 10
"""What is parsed at once: that takes a few milliseconds at most."""
VALUES_MAX = 1 << 20
"""What a long body may consist of: parsing holds everybody up, and takes some 50 nanoseconds for each."""
CHOICES_MAX = 128
_LIMITS: Mapping[Operation, tuple[str, ...]] = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "responses": ("max_output_tokens",),
    "messages": ("max_tokens",),
}
_KEPT = ("conversation", "prompt")
_MODEL = re.compile(rb'"model"', re.IGNORECASE)


class BadCallError(PermanentError):
    """The body is no call of a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A call: its model, whether it streams, and how many tokens it may take.

    `output_tokens_max` is what its caller limits each of its `choices` to, None where it does not; `body` is all that
    it says. `rewritten` is the body to send where that which came could be read in two ways. `cache_ttl`: how long its
    provider is asked to cache parts of it. `before`: what it goes on from that its provider keeps, which is input too.
    """

    operation: Operation
    model: str
    is_stream: bool
    input_tokens_max: int
    output_tokens_max: int | None
    choices: int = 1
    cache_ttl: Literal["5m", "1h"] | None = None
    before: Before | None = None
    rewritten: bytes | None = None
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def output_tokens_reserved(self) -> int:
        """The output that is reserved before the call; what one without a limit takes beyond is booked at its end."""
        if self.operation == "embeddings":
            return 0
        each = OUTPUT_TOKENS_DEFAULT if self.output_tokens_max is None else self.output_tokens_max
        return min(each, OUTPUT_TOKENS_MAX) * self.choices


def parse_call(operation: Operation, body: bytes) -> Asked:
    """The call of a body.

    Raises:
        BadCallError: it is no JSON object, names no model, or says otherwise what nobody could hold it to.
    """
    if len(body) > SHORT_BYTES_MAX and sum(map(body.count, (b",", b"{", b"["))) > VALUES_MAX:
        raise BadCallError(f"the body consists of more than {VALUES_MAX} values, more than any model reads")
    try:
        found: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadCallError(f"the body is no JSON: {error}") from error
    model = found.get("model") if isinstance(found, Mapping) else None
    if not isinstance(model, str) or not model:
        raise BadCallError("the body names no model")
    if len(model) > MODEL_CHARS_MAX or not model.isprintable():
        raise BadCallError(f"no model has such a name: expected {MODEL_CHARS_MAX} printable characters at most")
    if any(name != "model" and name.casefold() == "model" for name in found):
        raise BadCallError("the body names its model twice")
    if not isinstance(found.get("stream"), bool | None):
        raise BadCallError("stream: expected true or false")
    if operation == "responses" and found.get("background") not in (None, False):
        raise BadCallError("background: expected false: what goes on after its answer is neither counted nor stopped")
    limits = [value for name in _LIMITS.get(operation, ()) if type(value := found.get(name)) is int and value >= 0]
    media = media_of(operation, model, found)
    # Another reader may take the other one of two names, or see one that is escaped: it gets what was read here.
    is_plain = b"\\u" not in body and len(_MODEL.findall(body)) == 1
    sent = body if is_plain else written(found)
    return Asked(
        operation=operation,
        model=model,
        is_stream=found.get("stream") is True,
        input_tokens_max=tokens_of(max(0, weight_of(sent) - media.weight)) + media.tokens,
        output_tokens_max=max(limits) if limits else None,
        choices=_choices(found.get("n")) if operation == "chat" else 1,
        cache_ttl=_cache_ttl(sent),
        rewritten=None if is_plain else sent,
        body=found,
        before=_before(found, sent) if operation == "responses" else None,
    )


def written(said: Mapping[str, Any]) -> bytes:
    """A body that says this.

    Raises:
        BadCallError: it is too deep to be written.
    """
    try:
        return orjson.dumps(said)
    except orjson.JSONEncodeError as error:
        raise BadCallError(f"the body cannot be written again: {error}: expected fewer lists within lists") from error


def _cache_ttl(body: bytes) -> Literal["5m", "1h"] | None:
    """How long a provider is asked to cache something: within text, quotation marks are escaped."""
    if b'"cache_control"' not in body:
        return None
    return "1h" if b'"1h"' in body else "5m"


def _before(found: Mapping[str, Any], body: bytes) -> Before | None:
    """What a response goes on from: an answer, items of answers, a conversation or a prompt that its provider keeps."""
    answer_id, items = found.get("previous_response_id"), found.get("input")
    has_more = any(found.get(name) is not None for name in _KEPT) or not isinstance(answer_id, str | None)
    item_ids: list[str] = []
    if b'"item_reference"' in body:
        every = items if isinstance(items, list) else []
        ids = [item.get("id") for item in every if isinstance(item, dict) and item.get("type") == "item_reference"]
        item_ids = [item_id for item_id in ids if isinstance(item_id, str)]
        has_more = has_more or len(item_ids) < body.count(b'"item_reference"')
    if answer_id is None and not item_ids and not has_more:
        return None
    return Before(answer_id=answer_id if isinstance(answer_id, str) else None, item_ids=item_ids, has_more=has_more)


def _choices(value: object) -> int:
    """How many answers are asked for at once.

    Raises:
        BadCallError: it is no number of them.
    """
    if value is None:
        return 1
    if type(value) is not int or not 1 <= value <= CHOICES_MAX:
        raise BadCallError(f"n: expected 1 to {CHOICES_MAX}")
    return value
