"""An issuer of ES256 tokens: a private key, and the file of public keys by which a Collector checks them offline."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from headgate_processors.errors import ConfigError
from headgate_processors.files import write_whole

Audience = Literal["headgate-telemetry", "headgate-platform", "headgate-gateway"]

ISSUER = "https://headgate.internal"
KEY_FILE = "issuer.pem"
JWKS_FILE = "jwks.json"
KEYS_MAX = 3
"""Public keys that the file holds: tokens of the last rotations stay good until they expire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Signs tokens that name a subject, for one audience, until a time."""

    key: ec.EllipticCurvePrivateKey
    key_id: str
    name: str = ISSUER

    @classmethod
    def open(cls, folder: Path, *, name: str = ISSUER) -> Self:
        """The issuer whose key lies in `folder`.

        Raises:
            ConfigError: there is no key, or it cannot be read.
        """
        path = folder / KEY_FILE
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            message = f"{path}: no key to sign with ({error}). Make one: headgate collector keys"
            raise ConfigError(message) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            message = f"{path}: an elliptic-curve key (P-256) was expected. Make one: headgate collector keys"
            raise ConfigError(message)
        return cls(key=key, key_id=public_jwk(key)["kid"], name=name)

    def token(self, subject: str, *, audience: Audience, lifetime_s: float) -> str:
        """A signed token for `subject`, good for `lifetime_s` seconds from this moment."""
        issued = int(time.time())
        claims = {
            "iss": self.name,
            "sub": subject,
            "aud": audience,
            "iat": issued,
            "exp": issued + int(lifetime_s),
        }
        return jwt.encode(claims, self.key, algorithm="ES256", headers={"kid": self.key_id})


def make_keys(folder: Path) -> Path:
    """Make a signing key in `folder`, the only one that signs from this moment; the path of the public keys.

    Public keys of earlier ones stay in the file, `KEYS_MAX` in all. Both files are replaced atomically; the
    private one can be read by its owner only.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    keys = [public_jwk(key), *_known_keys(folder / JWKS_FILE)][:KEYS_MAX]
    write_whole(folder / JWKS_FILE, json.dumps({"keys": keys}, indent=1).encode() + b"\n", mode=0o644)
    write_whole(folder / KEY_FILE, private)
    return folder / JWKS_FILE


def public_jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    """The public half of a key as a JWK; its `kid` is a fingerprint of it."""
    numbers: Mapping[str, Any] = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    plain = {name: numbers[name] for name in ("crv", "kty", "x", "y")}
    return {**plain, "kid": _thumbprint(plain), "use": "sig", "alg": "ES256"}


def _thumbprint(plain: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]


def _known_keys(path: Path) -> list[dict[str, Any]]:
    try:
        known: list[dict[str, Any]] = json.loads(path.read_bytes())["keys"]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        message = f"{path} is no file of public keys ({error}). Move it away, and say it again."
        raise ConfigError(message) from error
    return known
