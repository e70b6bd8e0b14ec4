"""Tokens: `hgt_`, the id, `_` and 256 random bits. The text is shown once; what is kept is a digest of it.

The bits are random, so a fast hash is enough: there is nothing to guess. The id begins with the role, so
that a token found in a file tells what it is for, and so that a Collector's can be told before it is known.
"""

import hmac
import secrets
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, get_args

from headgate_processors.receiver.port import Role

CredentialRole = Role | Literal["admin"]
ROLES: tuple[CredentialRole, ...] = (*get_args(Role), "admin")
PREFIX = "hgt_"
SECRET_BYTES = 32
ID_BYTES = 6
TOKEN_CHARACTERS_MAX = 256
_PERSON = b"headgate-token"
_COLLECTORS = "collector-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What is kept of a token, or of a certificate that is known by a name in it.

    `digest` is that of a token's text, `certificate` a SPIFFE id or common name: one of them is None.
    `subject` names the principal. Times are in nanoseconds since the epoch, None is never.
    """

    token_id: str
    role: CredentialRole
    name: str
    subject: str | None
    created_unix_nano: int
    expires_unix_nano: int | None = None
    revoked_unix_nano: int | None = None
    digest: str | None = None
    certificate: str | None = None

    def state(self, now_unix_nano: int) -> Literal["valid", "expired", "revoked"]:
        """Whether it is good at this time."""
        if self.revoked_unix_nano is not None:
            return "revoked"
        is_over = self.expires_unix_nano is not None and self.expires_unix_nano <= now_unix_nano
        return "expired" if is_over else "valid"

    def is_digest_of(self, token: str) -> bool:
        """Whether `token` is this one, in a time that tells nothing."""
        return self.digest is not None and hmac.compare_digest(self.digest, digest_of(token))


def new_token_id(role: CredentialRole) -> str:
    """An id that no other credential has."""
    return f"{role}-{secrets.token_hex(ID_BYTES)}"


def new_token(token_id: str) -> str:
    """The text of a token."""
    return f"{PREFIX}{token_id}_{secrets.token_hex(SECRET_BYTES)}"


def digest_of(token: str) -> str:
    """What is kept of a token."""
    return blake2b(token.encode("utf-8", "surrogatepass"), digest_size=32, person=_PERSON).hexdigest()


def token_id_of(token: str) -> str | None:
    """The id within a token; None when it has not the shape of one."""
    if not token.startswith(PREFIX) or len(token) > TOKEN_CHARACTERS_MAX:
        return None
    token_id, mark, secret = token.removeprefix(PREFIX).partition("_")
    return token_id if token_id and mark and secret else None


def is_cut_collectors(token: str) -> bool:
    """Whether a token is the beginning of a Collector's, as of a file that is being written."""
    beginning = f"{PREFIX}{_COLLECTORS}"
    return token.startswith(beginning) and len(token) < len(beginning) + 2 * ID_BYTES + 1 + 2 * SECRET_BYTES


def claims_collector(token_id: str) -> bool:
    """Whether an id says that its token is a Collector's."""
    return token_id.startswith(_COLLECTORS)
