"""Gateway keys: `hgk_`, the id, `_` and 256 random bits, for agents that know nothing but an API key.

One goes where the provider's own key would go, is good at the gateways alone, and is kept as a digest.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

from headgate_control.fields import known, written

PREFIX = "hgk_"
SECRET_BYTES = 32
ID_BYTES = 8
KEY_CHARACTERS_MAX = 256
_PERSON = b"headgate-gw-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayKey:
    """What is kept of a key. Times are nanoseconds since the epoch; None is never."""

    key_id: str
    instance_id: str
    digest: str
    created_unix_nano: int
    expires_unix_nano: int | None = None
    revoked_unix_nano: int | None = None

    def is_good(self, text: str, at_unix_nano: int) -> bool:
        """Whether `text` is this key, and good at this time; the time it takes tells nothing of the text."""
        matches = hmac.compare_digest(self.digest, digest_of(text))
        over = self.expires_unix_nano is not None and self.expires_unix_nano <= at_unix_nano
        return matches and not over and self.revoked_unix_nano is None

    def written(self) -> dict[str, object]:
        """Its fields as JSON has them."""
        return written(self)

    @classmethod
    def read(cls, body: Mapping[str, object]) -> Self:
        """The key of a record."""
        return cls(**known(cls, body))


def new_key(instance_id: str, *, created_unix_nano: int, expires_unix_nano: int | None) -> tuple[str, GatewayKey]:
    """The text of a key, to be shown once, and what is kept of it."""
    key_id = secrets.token_hex(ID_BYTES)
    text = f"{PREFIX}{key_id}_{secrets.token_hex(SECRET_BYTES)}"
    kept = GatewayKey(
        key_id=key_id,
        instance_id=instance_id,
        digest=digest_of(text),
        created_unix_nano=created_unix_nano,
        expires_unix_nano=expires_unix_nano,
    )
    return text, kept


def key_id_of(text: str) -> str | None:
    """The id within a key; None when it has not the shape of one."""
    if not text.startswith(PREFIX) or len(text) > KEY_CHARACTERS_MAX:
        return None
    key_id, mark, secret = text.removeprefix(PREFIX).partition("_")
    return key_id if key_id and mark and secret else None


def digest_of(text: str) -> str:
    """What is kept of a key; its bits are random, so a fast hash is enough."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32, person=_PERSON).hexdigest()
