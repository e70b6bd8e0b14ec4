"""The gate of one listener: who sends, and whether that sender may."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import get_args

from headgate_processors.errors import ForbiddenError, TransientError, UnauthenticatedError
from headgate_processors.receiver.port import CLIENT, Authenticator, Peer, Role, Sender

EVERYBODY: frozenset[Role] = frozenset(get_args(Role))
OWN_PARTS: frozenset[Role] = EVERYBODY - {"client"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Lets in whom a credential names, when the role may send here; without one, clients where that is enough.

    `needs_credential` is set on a listener that other machines can reach, and on that of our own parts.
    """

    authenticate: Authenticator
    needs_credential: bool
    roles: Collection[Role] = EVERYBODY

    def __call__(self, peer: Peer) -> Sender:
        """Who sends.

        Raises:
            UnauthenticatedError, ForbiddenError: nobody who may.
            TransientError: as the authenticator says, or an empty token.
        """
        sender = self.authenticate(peer)
        if sender is None:
            if self.needs_credential and "authorization" in peer.headers:
                # A Collector sends `Bearer` alone while the file of its token is empty, as in a replacement.
                raise TransientError("the token is empty: give the sender one; a Collector keeps its data until then")
            if self.needs_credential:
                message = "this listener needs a credential: `authorization: Bearer TOKEN`, see headgate token create"
                raise UnauthenticatedError(message)
            return CLIENT
        if sender.role not in self.roles:
            message = f"role {sender.role} may not send here: agents send to 4317 and 4318"
            raise ForbiddenError(message)
        return sender


def no_credentials(peer: Peer) -> None:
    """The authenticator of a receiver that knows no credential: whoever shows one shows a wrong one.

    A bare `Bearer` is none: a Collector whose configuration names an empty variable sends it.

    Raises:
        UnauthenticatedError: the peer shows one.
    """
    if peer.headers.get("authorization", "").strip().lower() not in {"", "bearer"} or peer.certificate_names:
        raise UnauthenticatedError("this receiver knows no credentials: send none")
