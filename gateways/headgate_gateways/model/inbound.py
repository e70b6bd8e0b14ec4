"""A request to the gateway, as far as it is known before it is decided."""

from dataclasses import dataclass

from aiohttp import web

from headgate_control.request import Request, Resource, Subject
from headgate_gateways.model.asked import Asked
from headgate_gateways.model.named import CallTrace
from headgate_gateways.model.upstream import Target, Upstream

_BEARER = "bearer "


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

    def request(self, instance_id: str) -> Request:
        """What is asked of control for it."""
        asked, name = self.asked, self.upstream.name
        resource = Resource(type="provider", id=name)
        if asked is not None:
            resource = Resource(type="model", id=f"{name}/{asked.model}")
        return Request(
            subject=Subject(type="agent_instance", id=instance_id),
            action="model.list" if asked is None else "model.call",
            resource=resource,
            context={"session": self.session, **self.trace.written()},
        )


def credential_of(http: web.Request) -> str:
    """The credential that a caller shows."""
    shown = http.headers.get("x-api-key", "") or http.headers.get("authorization", "")
    return (shown[len(_BEARER) :] if shown[: len(_BEARER)].lower() == _BEARER else shown).strip()
