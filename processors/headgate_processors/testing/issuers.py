"""An issuer of JSON Web Tokens and certificates for tests: keys made on the spot, no files but those asked for."""

import base64
import datetime as dt
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = dt.timedelta(days=1)
_WIDTH_BYTES = 32


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenIssuer:
    """Signs tokens with one key."""

    key_id: str = "key-1"
    key: ec.EllipticCurvePrivateKey = field(default_factory=_new_key, repr=False)

    def token(self, subject: Any, *, audience: Any = "headgate-platform", **claims: Any) -> str:
        """A token; it expires far in the future unless `claims` say otherwise, and one that is None is left out."""
        payload = {"sub": subject, "aud": audience, "exp": 10**10, **claims}
        payload = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(payload, self.key, algorithm="ES256", headers={"kid": self.key_id})

    def public(self) -> dict[str, Any]:
        """The public key as a JWK."""
        numbers = self.key.public_key().public_numbers()
        points = {name: _base64(value.to_bytes(_WIDTH_BYTES)) for name, value in (("x", numbers.x), ("y", numbers.y))}
        return {"kty": "EC", "crv": "P-256", "kid": self.key_id, "use": "sig", "alg": "ES256", **points}


def write_key_file(path: Path, *issuers: TokenIssuer) -> Path:
    """Replace a JWKS file."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"keys": [issuer.public() for issuer in issuers]}))
    temporary.chmod(0o600)
    return temporary.replace(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFiles:
    """A certificate, its key, and the authority that signed it, in PEM files."""

    certificate: Path
    key: Path
    authority: Path


class Authority:
    """A certificate authority."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        self._folder = folder
        self._key = _new_key()
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        is_authority = x509.BasicConstraints(ca=True, path_length=0)
        builder = _builder(self._name, self._name, self._key).add_extension(is_authority, critical=True)
        self.file = folder / f"{name.replace(' ', '-')}.pem"
        self.file.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))

    def issue(self, common_name: str, *, uris: Sequence[str] = (), file: str = "", days: float = 1) -> CertificateFiles:
        """A certificate for 127.0.0.1 and localhost, with SPIFFE ids when they are given."""
        key = _new_key()
        names: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.DNSName("localhost"),
            *(x509.UniformResourceIdentifier(uri) for uri in uris),
        ]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = _builder(subject, self._name, key, days=days)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        stem = self._folder / (file or common_name)
        files = CertificateFiles(
            certificate=stem.with_suffix(".crt"), key=stem.with_suffix(".key"), authority=self.file
        )
        _replace(files.key, _key_pem(key))
        _replace(files.certificate, _pem(builder.sign(self._key, hashes.SHA256())))
        return files


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: float = 1
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now - _DAY, now + days * _DAY - _DAY))
        .not_valid_after(now + days * _DAY)
    )


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_bytes(content)
    temporary.chmod(0o600)
    temporary.replace(path)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
