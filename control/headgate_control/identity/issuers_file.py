"""The file of issuers whose tokens a site believes, as it is written."""

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from headgate_control.manifests.spec import ENTRIES_MAX, NamePattern
from headgate_processors.documents import Document

ISSUERS_MAX = 64
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class ClaimNames(Document):
    """Which claims say what: `user` the person, `instance` an instance of Headgate that the token stands for.

    A token whose `team` is another one than its instance's is refused.
    """

    user: str = "sub"
    instance: str | None = None
    team: str | None = None


class InstanceRule(Document):
    """Tokens stand for an instance when each of these claims fits its pattern; of a list one fits."""

    claims: dict[str, NamePattern] = Field(min_length=1, max_length=ENTRIES_MAX)
    instance: str = Field(min_length=1)


class ForeignIssuer(Document):
    """An issuer that is believed, for one audience; its keys are in a file, at an address, or where it says itself."""

    issuer: str = Field(min_length=1)
    audience: str = Field(min_length=1)
    jwks_file: Path | None = None
    jwks_uri: str | None = None
    claims: ClaimNames = ClaimNames()
    instances: list[InstanceRule] = Field(default_factory=list, max_length=ENTRIES_MAX)

    @property
    def keys_place(self) -> tuple[str, str]:
        """Where its keys come from: `file`, `address` or `discovery`, and which."""
        if self.jwks_file is not None:
            return "file", str(self.jwks_file)
        return ("discovery", self.issuer) if self.jwks_uri is None else ("address", self.jwks_uri)

    @model_validator(mode="after")
    def _one_source(self) -> "ForeignIssuer":
        if self.jwks_file is not None and self.jwks_uri is not None:
            raise ValueError("give jwks_file or jwks_uri, not both; without either the issuer says where its keys are")
        if self.jwks_file is None and not is_safe(self.jwks_uri or self.issuer):
            what = "issuer, without jwks_file or jwks_uri," if self.jwks_uri is None else "jwks_uri"
            raise ValueError(f"{what} begins with https://; http:// is for this machine alone")
        return self

    @model_validator(mode="after")
    def _says_who(self) -> "ForeignIssuer":
        if self.claims.instance is None and not self.instances:
            raise ValueError("no token would be of an instance: give claims.instance, or instances")
        return self


class IssuersFile(Document):
    """A file of issuers, each once."""

    issuers: list[ForeignIssuer] = Field(max_length=ISSUERS_MAX)

    @model_validator(mode="after")
    def _each_once(self) -> "IssuersFile":
        names = [one.issuer for one in self.issuers]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} stands there twice: an issuer has one audience and one source of keys")
        return self


def is_safe(address: str) -> bool:
    """Whether nobody on the way can change what is fetched there."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    is_own = parts.scheme == "http" and host in _LOOPBACK
    return bool(host) and (parts.scheme == "https" or is_own) and parts.username is None
