"""TLS of the listeners: files that are read again when they were replaced, so that certificates rotate."""

import logging
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from headgate_processors.errors import ConfigError
from headgate_processors.files import FileState, file_state

_LOGGER = logging.getLogger(__name__)
_State = tuple[FileState | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """A certificate chain and its key in PEM files. With `client_ca_file` every peer must show a certificate
    that one of these authorities signed. `setting` is what errors call it.
    """

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None
    setting: str = "receiver.tls"

    @property
    def files(self) -> Sequence[Path]:
        """Every file."""
        return [path for path in (self.cert_file, self.key_file, self.client_ca_file) if path is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsMaterial:
    """What the files held when they were read: as a context for sockets, and as bytes for gRPC."""

    context: ssl.SSLContext
    cert: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None


class TlsFiles:
    """The material of this moment. Files that do not fit together, as in the middle of a replacement, change
    nothing: the material before stays in use, and the log says so once. Safe for many threads.
    """

    def __init__(self, config: TlsConfig) -> None:
        """Read the files.

        Raises:
            ConfigError: one cannot be read, or they do not fit together.
        """
        self._config = config
        self._lock = threading.Lock()
        self._state = self._look()
        self._material = _read(config)

    def current(self) -> TlsMaterial:
        """The material as the files are now, or as they last were good."""
        state = self._look()
        if state != self._state:
            with self._lock:
                if state != self._state:
                    self._state = state
                    self._replace()
        return self._material

    def _replace(self) -> None:
        try:
            self._material = _read(self._config)
        except ConfigError as error:
            _LOGGER.warning("TLS goes on with the certificate before: %s", error)

    def _look(self) -> _State:
        return tuple(file_state(path) for path in self._config.files)


def rotating(files: TlsFiles) -> ssl.SSLContext:
    """A context for a server that takes one for good: each handshake is made with the files of its moment."""
    context = files.current().context

    def renewed(connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = files.current().context

    context.sni_callback = renewed
    return context


def pinned(cert_file: Path) -> ssl.SSLContext:
    """A context for clients that trust the one certificate with which a chain begins, by whatever name it is called.

    Raises:
        ConfigError: it cannot be read, or is none.
    """
    try:
        first = x509.load_pem_x509_certificates(cert_file.read_bytes())[0]
        text = first.public_bytes(Encoding.PEM).decode("ascii")
        context = ssl.create_default_context(cadata=text)
    except (OSError, ValueError) as error:
        message = f"{cert_file}: {error}. Expected the certificate of the server, in PEM"
        raise ConfigError(message) from error
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def certificate_names(certificate: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The names of a verified certificate, as `ssl` gives it: SPIFFE ids and other URIs first, then common names."""
    if not certificate:
        return ()
    uris = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
    common = [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    return (*uris, *common)


def ends_at(chain: bytes) -> datetime:
    """When the first certificate of a chain that ends does so.

    Raises:
        ValueError: it is no chain of PEM certificates.
    """
    return min(certificate.not_valid_after_utc for certificate in x509.load_pem_x509_certificates(chain))


def _read(config: TlsConfig) -> TlsMaterial:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        cert, key = config.cert_file.read_bytes(), config.key_file.read_bytes()
        client_ca = config.client_ca_file.read_bytes() if config.client_ca_file is not None else None
        # An empty password: OpenSSL would else ask on the terminal for that of an encrypted key.
        context.load_cert_chain(config.cert_file, config.key_file, password="")
        if client_ca is not None:
            context.load_verify_locations(cadata=client_ca.decode("ascii"))
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        files = ", ".join(map(str, config.files))
        message = (
            f"{config.setting}: {files}: {error}. Expected PEM files: a certificate chain, its unencrypted key, "
            "and authorities"
        )
        raise ConfigError(message) from error
    return TlsMaterial(context=context, cert=cert, key=key, client_ca=client_ca)
