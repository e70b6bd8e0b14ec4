"""What was asked and what was answered: the truth that telemetry is measured against."""

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from headgate_processors.testing.model_server.usage import Usage

Outcome = Literal["answered", "refused", "broken"]
_SECRET_HEADERS = frozenset({"authorization", "x-api-key", "api-key", "cookie", "proxy-authorization"})
_GENERATIVE = frozenset({"chat", "responses", "messages"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A tool call that an answer asked for."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and what became of it.

    `broken` is an answer that was cut off, or whose client went away before its end. `usage` is what the answer
    told, or would have told at its end.
    """

    number: int
    received_unix_nano: int
    api: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    status: int
    outcome: Outcome
    model: str | None = None
    is_stream: bool = False
    response_id: str | None = None
    answer: Any = None
    usage: Usage = field(default_factory=Usage)
    tool_calls: tuple[ToolCall, ...] = ()

    def as_json(self) -> bytes:
        """As one line, without the credentials that the request carried."""
        shown = {key: "…" if key in _SECRET_HEADERS else value for key, value in self.headers.items()}
        return orjson.dumps({**asdict(self), "headers": shown}) + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over the answers of models, embeddings left out; only whole answers count."""

    model_calls: int
    refused: int
    broken: int
    tool_calls: int
    usage: Usage


class Journal:
    """Every exchange in order of its end; also a file of JSON lines when `path` is given."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._exchanges: list[Exchange] = []

    def add(self, exchange: Exchange) -> None:
        """Keep an exchange."""
        with self._lock:
            self._exchanges.append(exchange)
            if self._path is not None:
                with self._path.open("ab") as file:
                    file.write(exchange.as_json())

    def clear(self) -> None:
        """Forget everything; the file stays."""
        with self._lock:
            self._exchanges.clear()

    def exchanges(self) -> list[Exchange]:
        """All of them."""
        with self._lock:
            return list(self._exchanges)

    def totals(self) -> Totals:
        """What the models were asked and answered."""
        asked = [one for one in self.exchanges() if one.api in _GENERATIVE]
        whole = [one for one in asked if one.outcome == "answered"]
        usage = Usage()
        for one in whole:
            usage = usage.plus(one.usage)
        return Totals(
            model_calls=len(whole),
            refused=sum(one.outcome == "refused" for one in asked),
            broken=sum(one.outcome == "broken" for one in asked),
            tool_calls=sum(len(one.tool_calls) for one in whole),
            usage=usage,
        )
