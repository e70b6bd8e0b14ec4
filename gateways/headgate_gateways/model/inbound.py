"""A request to the gateway, as far as it is known before it is decided."""

from dataclasses import dataclass

from aiohttp import web

from headgate_gateways.model.asked import Asked
from headgate_gateways.model.named import CallTrace
from headgate_gateways.model.upstream import Target, Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """What came, and where it is to go; `asked` is None where it calls no model.

    `door` and `path` are what it came by. `session` and `trace` are what the agent names.
    `began_unix_nano` is when it came.
    """

    http: web.Request
    door: str
    path: str
    upstream: Upstream
    target: Target
    asked: Asked | None
    body: bytes
    session: str | None
    trace: CallTrace
    began_unix_nano: int
