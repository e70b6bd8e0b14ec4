"""Which instance shows a credential: gateway keys, tokens of instances, and tokens of issuers that a site believes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from headgate_control.identity.foreign_tokens import ForeignTokens
from headgate_control.identity.gateway_key import PREFIX, key_id_of
from headgate_control.identity.web_tokens import TokenVerifier, unverified_issuer
from headgate_control.state import State
from headgate_processors.credentials.issuer import Audience
from headgate_processors.errors import ConfigError, UnauthenticatedError

Door = Literal["gateway", "telemetry", "platform"]
Kind = Literal["gateway_key", "token", "foreign_token"]
NOBODYS = "no gateway key, or a wrong or expired one"
_AUDIENCES: dict[Door, Audience] = {
    "gateway": "headgate-gateway",
    "telemetry": "headgate-telemetry",
    "platform": "headgate-platform",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """The instance, and the credential that showed it; `user` is the person that a foreign token names."""

    instance_id: str
    credential_id: str
    kind: Kind
    user: str | None = None


class Credentials:
    """Tells instances by what they show. Reads files at most; never waits for a network or a database."""

    def __init__(
        self,
        state: Callable[[], State],
        *,
        tokens: TokenVerifier | None = None,
        foreign: ForeignTokens | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._state, self._tokens, self._foreign, self._clock = state, tokens, foreign, clock

    def identify(self, text: str, door: Door) -> Identified | None:
        """Whose credential this is; None where it is nobody's, over, revoked, or for another door.

        An instance that is stopped or has ended is told all the same: what it may do is decided, not guessed here.
        """
        found = self.told(text, door)
        return None if isinstance(found, str) else found

    def told(self, text: str, door: Door) -> Identified | str:
        """As `identify`; where it is nobody's, a sentence that says why and holds nothing of the credential."""
        if text.startswith(PREFIX):
            return (self._by_key(text) if door == "gateway" else None) or NOBODYS
        try:
            found = self._by_token(text, door)
        except UnauthenticatedError as error:
            return f"no good token: {error}"
        except ConfigError:
            return "no good token: the keys of its issuer cannot be read here"
        if isinstance(found, str):
            return found
        identified, team = found
        instance = self._state().snapshot.instances.get(identified.instance_id)
        if instance is None or instance.state == "revoked":
            return "no good token: its instance is none that is registered here, or is revoked"
        if team is not None and team != instance.team:
            return "no good token: it is of another team than its instance"
        return identified

    def _by_key(self, text: str) -> Identified | None:
        key = self._state().keys.get(key_id_of(text) or "")
        if key is None or not key.is_good(text, self._clock()):
            return None
        return Identified(instance_id=key.instance_id, credential_id=key.key_id, kind="gateway_key")

    def _by_token(self, text: str, door: Door) -> tuple[Identified, str | None] | str:
        """Whom a token shows, and the team that it is of where it must say one; else why it shows nobody."""
        if self._tokens is not None and (self._tokens.has_seen(text) or unverified_issuer(text) == self._tokens.issuer):
            token = self._tokens(text, _AUDIENCES[door])
            return Identified(instance_id=token.instance_id, credential_id=token.token_id, kind="token"), None
        if self._foreign is None or door != "gateway" or unverified_issuer(text) is None:
            return NOBODYS
        spoken = self._foreign(text)
        if spoken.instance_id is None:
            return f"no good token: {spoken.wanting}"
        credential_id = spoken.token_id or f"{spoken.issuer}#{spoken.subject}"
        identified = Identified(
            instance_id=spoken.instance_id, credential_id=credential_id, kind="foreign_token", user=spoken.user
        )
        return identified, spoken.team
