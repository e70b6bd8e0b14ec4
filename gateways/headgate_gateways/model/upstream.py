"""Providers behind the gateway: where they are, how they want their key, and what a path asks for."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["openai", "anthropic"]
Operation = Literal["chat", "responses", "embeddings", "messages", "models", "count_tokens"]

_OPERATIONS: Mapping[Kind, Mapping[tuple[str, str], Operation]] = {
    "openai": {
        ("POST", "chat/completions"): "chat",
        ("POST", "responses"): "responses",
        ("POST", "embeddings"): "embeddings",
        ("GET", "models"): "models",
    },
    "anthropic": {
        ("POST", "messages"): "messages",
        ("POST", "messages/count_tokens"): "count_tokens",
        ("GET", "models"): "models",
    },
}
_VERSION = "v1/"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
FREE: frozenset[Operation] = frozenset({"models", "count_tokens"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a request asks for, and the address that it goes to, without its query."""

    operation: Operation
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One provider, or a server that speaks like it. `name` is the provider in manifests, policies and prices.

    `base_url` is what a client's own base URL would be, without the slash at its end. `api_key` gives the key that
    only the gateway has, as it is at this moment.
    """

    name: str
    kind: Kind
    base_url: str
    api_key: Callable[[], str]

    @property
    def known(self) -> str:
        """What may be asked for, in words."""
        return ", ".join(f"{method} /v1/{tail}" for method, tail in _OPERATIONS[self.kind])

    def target(self, method: str, path: str) -> Target | None:
        """Where a request goes and what it asks for; None for what the gateway does not know, and lets not pass.

        Some clients put the version of the API into their base URL, and some into their paths: both are right.
        """
        tail = path.removeprefix(_VERSION)
        known = _OPERATIONS[self.kind].get((method, tail))
        parent, _, name = tail.rpartition("/")
        if known is None and name and _NAME.fullmatch(name):
            known = _OPERATIONS[self.kind].get((method, parent)) if method == "GET" else None
        version = _VERSION if self.kind == "anthropic" else ""
        return Target(operation=known, url=f"{self.base_url}/{version}{tail}") if known is not None else None

    def credentials(self) -> dict[str, str]:
        """The headers that authenticate the gateway.

        Raises:
            TransientError: there is no key at this moment.
        """
        key = self.api_key()
        return {"x-api-key": key} if self.kind == "anthropic" else {"authorization": f"Bearer {key}"}
