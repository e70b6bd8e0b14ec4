"""The listeners of control and of model gateways: where they are, with which certificate, and whose a port is."""

import ssl
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from headgate_console.control.place import Place
from headgate_gateways import serving
from headgate_processors.errors import ConfigError
from headgate_processors.receiver.addresses import guarded_address, shown_address
from headgate_processors.receiver.tls import TlsConfig, TlsFiles, rotating

if TYPE_CHECKING:
    from headgate_console.settings import Settings
    from headgate_console.settings.definition import ControlSettings, ListenerTlsSettings, ModelGatewaySettings

SUPERVISOR = "supervisor"
"""The name in the file of addresses under which a `headgate up` says that it was there."""
FRONT = "a proxy with a certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where to listen. `is_default`: nobody has chosen the port. `certificate` None speaks no TLS."""

    host: str
    port: int
    is_default: bool
    certificate: Path | None
    context: ssl.SSLContext | None

    @property
    def address(self) -> str:
        """`HOST:PORT`."""
        return shown_address(self.host, self.port)


def control_door(settings: "Settings") -> Door:
    """Where control listens.

    Raises:
        ConfigError: other machines would send tokens in clear, or its certificate cannot be used.
    """
    return _door(settings.control, "control")


def model_door(settings: "Settings") -> Door:
    """Where the model gateway listens, as `control_door`."""
    return _door(settings.gateways.model, "gateways.model")


def tls_of(settings: "Settings") -> tuple[TlsConfig | None, TlsConfig | None]:
    """The files for TLS of control and of the model gateway; None for one that does without.

    Raises:
        ConfigError: a certificate without a key, or a key without a certificate.
    """
    return _tls(settings.control.tls, "control.tls"), _tls(settings.gateways.model.tls, "gateways.model.tls")


def _door(section: "ControlSettings | ModelGatewaySettings", name: str) -> Door:
    tls = _tls(section.tls, f"{name}.tls")
    is_private = tls is not None or section.insecure
    host, port = guarded_address(section.listen, setting=f"{name}.listen", is_private=is_private, front=FRONT)
    return Door(
        host=host,
        port=port,
        is_default=section.listen == type(section)().listen,
        certificate=None if tls is None else tls.cert_file.absolute(),
        context=None if tls is None else rotating(TlsFiles(tls)),
    )


def _tls(given: "ListenerTlsSettings", setting: str) -> TlsConfig | None:
    if given.cert_file is not None and given.key_file is not None:
        return TlsConfig(cert_file=given.cert_file, key_file=given.key_file, setting=setting)
    if given.cert_file is None and given.key_file is None:
        return None
    message = f"{setting}: cert_file and key_file belong together: give both, or none"
    raise ConfigError(message)


def is_first_start(place: Place, supervisor: str) -> bool:
    """Whether control has not listened yet under this `headgate up`, so that nobody knows where it is."""
    return place.addresses().get(SUPERVISOR) != supervisor


def listening(door: Door, app: web.Application, *, is_first: bool) -> AbstractAsyncContextManager[str]:
    """The application at its door; where it really listens, as `HOST:PORT`.

    At the first start a default port that is taken gives way to a free one. Later agents know where it is, and their
    keys must not go to whoever has taken it meanwhile.
    """
    return serving.listening(app, door.host, door.port, tls=door.context, gives_way=is_first and door.is_default)
