"""The keys that control signs with, ES256: one signs, those before it verify until their overlap ends.

`signing.json` (0600) holds the one private key and every public one that ever was, for archives that they signed;
`jwks.json` beside it the public keys that are good, for whoever checks tokens offline.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt import PyJWK, PyJWTError

from headgate_control.fields import known, written
from headgate_processors.credentials.issuer import JWKS_FILE, public_jwk
from headgate_processors.credentials.watched import WatchedFile
from headgate_processors.errors import ConfigError
from headgate_processors.files import write_whole
from headgate_processors.store.lock import Lock

FILE_NAME = "signing.json"
OVERLAP_NS = 24 * 3_600 * 1_000_000_000
KEYS_MAX = 200
_LOCK_WAIT_S = 5.0
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A key. `good_until_unix_nano` is None as long as it signs; afterwards its private half is nowhere."""

    key_id: str
    created_unix_nano: int
    jwk: Mapping[str, Any]
    good_until_unix_nano: int | None = None
    private_pem: str | None = field(default=None, repr=False)

    def state(self, at_unix_nano: int) -> str:
        """`signing`, `verifying` or `retired`."""
        if self.good_until_unix_nano is None:
            return "signing"
        return "verifying" if at_unix_nano < self.good_until_unix_nano else "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """All keys at one moment, the newest first, which is the one that signs."""

    keys: tuple[SigningKey, ...]
    private: ec.EllipticCurvePrivateKey | None = field(default=None, repr=False)
    public: Mapping[str, PyJWK] = field(default_factory=dict)

    def good(self, at_unix_nano: int) -> Mapping[str, PyJWK]:
        """The keys by which tokens may be verified, by id."""
        return {one.key_id: self.public[one.key_id] for one in self.keys if one.state(at_unix_nano) != "retired"}


class SigningKeys:
    """The keys of a folder. What another process changes is seen at the next look; safe for many threads."""

    def __init__(self, folder: Path, *, clock: Callable[[], int] = time.time_ns) -> None:
        self.folder, self._clock = folder, clock
        self._file = WatchedFile(folder / FILE_NAME, _parsed, absent=KeyRing(keys=()))

    @classmethod
    def open(cls, folder: Path, *, clock: Callable[[], int] = time.time_ns) -> "SigningKeys":
        """The keys of a folder, which gets its first one where it has none.

        Raises:
            ConfigError: the file cannot be read, or is not believed.
        """
        keys = cls(folder, clock=clock)
        if not keys.ring().keys:
            with keys._changing() as found:
                if not found:
                    found.append(_made(clock()))
        return keys

    def ring(self) -> KeyRing:
        """The keys of this moment; none where the folder never had one.

        Raises:
            ConfigError: the file cannot be read, or is not believed.
        """
        return self._file.value()

    def good(self) -> Mapping[str, PyJWK]:
        """The keys by which tokens may be verified now; as `ring`."""
        return self.ring().good(self._clock())

    def signing(self) -> tuple[str, ec.EllipticCurvePrivateKey]:
        """The id of the key that signs, and the key.

        Raises:
            ConfigError: there is none, or it cannot be read.
        """
        ring = self.ring()
        if ring.private is None:
            message = f"{self.folder} has no key to sign with. Make one: headgate control keys rotate"
            raise ConfigError(message)
        return ring.keys[0].key_id, ring.private

    def jwks(self) -> dict[str, object]:
        """What `/.well-known/jwks.json` answers: the public keys that are good now; as `ring`."""
        return _jwks(self.ring().keys, self._clock())

    def rotate(self, *, overlap_ns: int = OVERLAP_NS) -> SigningKey:
        """Sign with a new key from now on; what was signed before is good for at most `overlap_ns`, 0 after a theft.

        Raises:
            ConfigError: the file cannot be read, or is not believed.
            OSError: it cannot be written.
        """
        now = self._clock()
        with self._changing() as found:
            end = now + overlap_ns
            kept = [_ended(one, end) for one in found]
            found[:] = [_made(now), *kept][:KEYS_MAX]
            return found[0]

    @contextmanager
    def _changing(self) -> Iterator[list[SigningKey]]:
        """All keys, written back at the end; nobody else changes them meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = Lock.take(self.folder / "signing.lock", wait_s=_LOCK_WAIT_S)
        try:
            found = list(self._file.value().keys)
            yield found
            content = orjson.dumps({"version": 1, "keys": [written(one) for one in found]}, option=orjson.OPT_INDENT_2)
            jwks = orjson.dumps(_jwks(found, self._clock()), option=orjson.OPT_INDENT_2)
            write_whole(self.folder / JWKS_FILE, jwks + b"\n", mode=0o644)
            write_whole(self.folder / FILE_NAME, content + b"\n")
        finally:
            lock.release()


def _made(at_unix_nano: int) -> SigningKey:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    jwk = public_jwk(private)
    return SigningKey(key_id=jwk["kid"], created_unix_nano=at_unix_nano, jwk=jwk, private_pem=pem.decode())


def _ended(key: SigningKey, at_unix_nano: int) -> SigningKey:
    """The key without its private half; one that ended before stays good no longer than it was."""
    end = at_unix_nano if key.good_until_unix_nano is None else min(key.good_until_unix_nano, at_unix_nano)
    return replace(key, good_until_unix_nano=end, private_pem=None)


def _jwks(keys: tuple[SigningKey, ...] | list[SigningKey], at_unix_nano: int) -> dict[str, object]:
    return {"keys": [_told(one) for one in keys if one.state(at_unix_nano) != "retired"]}


def _told(key: SigningKey) -> dict[str, object]:
    """Its JWK; `exp` says when it ends, for whoever reads the file later than it was written."""
    end = key.good_until_unix_nano
    return dict(key.jwk) if end is None else {**key.jwk, "exp": end // _NS_PER_S}


def _parsed(content: bytes) -> KeyRing:
    """The keys of the file.

    Raises:
        ValueError: it is damaged, or of a newer Headgate; the message holds nothing of a key.
    """
    try:
        found = orjson.loads(content)
        if found["version"] != 1:
            raise ValueError("written by a newer Headgate: use that one")
        keys = tuple(SigningKey(**known(SigningKey, one)) for one in found["keys"])
        public = {one.key_id: PyJWK(dict(one.jwk), algorithm="ES256") for one in keys}
        private = _private(keys[0]) if keys else None
    except (KeyError, TypeError, AttributeError, PyJWTError, orjson.JSONDecodeError) as error:
        message = f"damaged ({type(error).__name__}): restore it from a backup of control, or move it away"
        raise ValueError(message) from None
    return KeyRing(keys=keys, private=private, public=public)


def _private(key: SigningKey) -> ec.EllipticCurvePrivateKey:
    found = serialization.load_pem_private_key(str(key.private_pem).encode(), password=None)
    if not isinstance(found, ec.EllipticCurvePrivateKey) or public_jwk(found)["kid"] != key.key_id:
        raise ValueError("damaged: the private key is not the one that it names")
    return found
