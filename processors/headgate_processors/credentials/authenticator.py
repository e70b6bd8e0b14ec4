"""Who sends: by bearer token, else by the verified certificate of the connection."""

import logging
import threading
import time
from collections.abc import Callable

from headgate_processors.credentials.keystore import KeyStore
from headgate_processors.credentials.tokens import PREFIX, Credential, claims_collector, is_cut_collectors, token_id_of
from headgate_processors.credentials.web_tokens import WebTokens, refusal
from headgate_processors.errors import ConfigError, ForbiddenError, TransientError, UnauthenticatedError
from headgate_processors.receiver.port import Peer, Sender

_LOGGER = logging.getLogger(__name__)
_SCHEME = "bearer"
_JWT_DOTS = 2


class CredentialAuthenticator:
    """Judges credentials by a key store and, when there is one, an issuer's key file.

    A token decides when there is one, else the certificate; a credential that is wrong is refused, however
    good another one is. Files that cannot be read make a credential `UNAVAILABLE`, and are logged when that
    begins.
    """

    def __init__(
        self, keys: KeyStore, *, web_tokens: WebTokens | None = None, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._keys = keys
        self._web_tokens = web_tokens
        self._clock = clock
        self._lock = threading.Lock()
        self._problem = ""

    def __call__(self, peer: Peer) -> Sender | None:
        """As `Authenticator` says."""
        header = peer.headers.get("authorization")
        if header is not None and header.strip().lower() == _SCHEME:
            # A Collector whose configuration names an empty variable says just this: it has no token.
            header = None
        if header is None and not peer.certificate_names:
            return None
        try:
            sender = self._by_token(header) if header is not None else self._by_certificate(peer.certificate_names)
        except ConfigError as error:
            self._note(str(error))
            raise TransientError("credentials cannot be checked now: the receiver's log says why") from None
        self._note("")
        return sender

    def _by_token(self, header: str) -> Sender:
        # OpenTelemetry's variable has the space written so, and not every sender reads it as one: Claude Code does not.
        scheme, _, token = header.strip().replace("%20", " ", 1).partition(" ")
        token = token.strip()
        if scheme.lower() != _SCHEME:
            raise UnauthenticatedError("expected `authorization: Bearer TOKEN`; make one: headgate token create")
        if token.startswith(PREFIX):
            return self._by_opaque_token(token)
        if self._web_tokens is not None and token.count(".") == _JWT_DOTS:
            return self._web_tokens(token)
        raise UnauthenticatedError("the token is none of Headgate's; make one: headgate token create")

    def _by_opaque_token(self, token: str) -> Sender:
        token_id = token_id_of(token)
        if token_id is None or is_cut_collectors(token):
            # A Collector reads its token from a file, perhaps while that is written.
            raise refusal("the token is cut short or changed", is_collectors=is_cut_collectors(token))
        found = self._keys.keys().by_id.get(token_id)
        if found is None:
            raise refusal("the token is not known", is_collectors=claims_collector(token_id))
        if not found.is_digest_of(token):
            raise UnauthenticatedError("the token is not good")
        return self._sender(found, subject=found.subject)

    def _by_certificate(self, names: tuple[str, ...]) -> Sender:
        known = self._keys.keys().by_certificate
        for name in names:
            if name in known:
                found = known[name]
                return self._sender(found, subject=found.subject or name)
        message = "the certificate's names have no role: headgate token create --role ROLE --certificate NAME"
        raise UnauthenticatedError(message)

    def _sender(self, credential: Credential, *, subject: str | None) -> Sender:
        match credential.state(self._clock()):
            case "revoked":
                raise UnauthenticatedError(f"{credential.token_id} was revoked")
            case "expired":
                raise refusal(f"{credential.token_id} has expired", is_collectors=credential.role == "collector")
        if credential.role == "admin":
            raise ForbiddenError(f"{credential.token_id} is an admin's: it commands, and may not send OTLP")
        return Sender(role=credential.role, subject=subject, token_id=credential.token_id)

    def _note(self, problem: str) -> None:
        """Log a problem with a file when it begins or becomes another one."""
        if problem == self._problem:
            return
        with self._lock:
            is_new, self._problem = problem != self._problem, problem
        if is_new and problem:
            _LOGGER.warning("credentials cannot be checked: %s", problem)
