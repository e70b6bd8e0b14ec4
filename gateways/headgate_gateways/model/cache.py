"""Answers that are kept, to be given again to the very same call of the same team."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import orjson

from headgate_control.identity.instance import Instance
from headgate_gateways.model.inbound import Inbound
from headgate_gateways.model.usage import Usage

ANSWER_BYTES_MAX = 1 << 20
CALL_BYTES_MAX = 1 << 20
"""A longer call is not looked up: to tell it from others would hold everybody up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One answer, whole, as it came."""

    content_type: str
    body: bytes
    usage: Usage
    model: str | None
    finish_reasons: Sequence[str]
    cost_nano_usd: int
    expires_unix_nano: int


@dataclass(slots=True)
class AnswerCache:
    """The answers of one gateway, the most used kept longest. In memory alone."""

    bytes_max: int
    _kept: OrderedDict[bytes, Kept] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: bytes, *, at_unix_nano: int) -> Kept | None:
        """The answer to a call, while it is not too old."""
        found = self._kept.get(key)
        if found is None:
            return None
        if found.expires_unix_nano <= at_unix_nano:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return found

    def keep(self, key: bytes, answer: Kept) -> None:
        """Keep an answer, in place of the oldest ones where there is no room."""
        if len(answer.body) > min(ANSWER_BYTES_MAX, self.bytes_max):
            return
        self._drop(key)
        self._kept[key] = answer
        self._bytes += len(answer.body)
        while self._bytes > self.bytes_max:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self._bytes -= len(found.body)


def cache_key(inbound: Inbound, instance: Instance) -> bytes:
    """What makes two calls the same: provider, query, the body whatever its order, and the team that asks.

    Who belongs to no team shares with nobody.
    """
    whose = ["team", instance.tenant, instance.team] if instance.team else ["instance", instance.instance_id]
    asked = inbound.asked
    said = [
        *whose,
        inbound.upstream.name,
        inbound.target.url,
        inbound.http.rel_url.raw_query_string,
        # What the provider is told beside the body decides its answer too.
        {name: [ascii(one) for one in inbound.http.headers.getall(name, ())] for name in _SAYING},
        dict(asked.body) if asked is not None else None,
    ]
    return blake2b(orjson.dumps(said, option=orjson.OPT_SORT_KEYS), digest_size=32).digest()


_SAYING = ("anthropic-version", "anthropic-beta", "openai-beta", "openai-organization", "openai-project")
