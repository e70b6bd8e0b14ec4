"""Who may ask control what: gateways and operators, by their tokens; agents, by their keys, about themselves alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from headgate_control.identity.gateway_key import GatewayKey, key_id_of
from headgate_processors.errors import ForbiddenError, UnauthenticatedError

Role = Literal["operator", "gateway", "agent"]
_BEARER = "bearer "


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls: `instance_id` is an agent's own, known by `key_id`; `name` is what journal and log call it."""

    role: Role
    name: str
    instance_id: str | None = None
    key_id: str | None = None


class NotYoursError(ForbiddenError):
    """A caller that we know asks for what is not for it."""

    def __init__(self, message: str, caller: Caller) -> None:
        super().__init__(message)
        self.caller = caller


Authenticate = Callable[[str], Caller | None]
"""Who a token that is no gateway key belongs to; None for nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """Tells callers by what they show."""

    keys: Callable[[], Mapping[str, GatewayKey]]
    authenticate: Authenticate
    clock: Callable[[], int]

    def caller(self, authorization: str | None) -> Caller:
        """Whoever shows this `Authorization` header.

        Raises:
            UnauthenticatedError: nobody we know.
        """
        text = authorization or ""
        token = text[len(_BEARER) :].strip() if text[: len(_BEARER)].lower() == _BEARER else ""
        found = self._agent(token) if token.startswith("hgk_") else self.authenticate(token) if token else None
        if found is None:
            raise UnauthenticatedError("show a token or a gateway key: Authorization: Bearer …")
        return found

    def _agent(self, text: str) -> Caller | None:
        key = self.keys().get(key_id_of(text) or "")
        if key is None or not key.is_good(text, self.clock()):
            return None
        return Caller(role="agent", name=f"key {key.key_id}", instance_id=key.instance_id, key_id=key.key_id)


def only(caller: Caller, *roles: Role) -> Caller:
    """The caller, if it has one of the roles.

    Raises:
        NotYoursError: it has another; an agent commands nothing, least of all itself.
    """
    if caller.role not in roles:
        message = f"this is for {' and '.join(f'{role}s' for role in roles)}, and {caller.name} is none"
        raise NotYoursError(message, caller)
    return caller
