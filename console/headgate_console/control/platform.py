"""Where Headgate's own parts send what they tell the store, and how they know that it is there."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headgate_console.settings.values import NOWHERE
from headgate_processors.receiver.addresses import is_loopback, parsed_address

if TYPE_CHECKING:
    from headgate_console.settings import Settings

COLLECTOR = "127.0.0.1:4319"


def platform_of(settings: "Settings") -> str:
    """Where Headgate's own parts send to: the Collector where one is in front."""
    platform = settings.receiver.platform
    return COLLECTOR if platform == NOWHERE else platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """The certificate of the platform listener, in PEM, and a name in it: parts of its machine trust no other."""

    certificate: bytes
    name: str


def pinned_of(settings: "Settings") -> Pinned | None:
    """How the platform listener is known; None where it is on loopback, or a Collector's, and speaks no TLS.

    Raises:
        OSError: the certificate cannot be read.
    """
    file, address = settings.receiver.tls.cert_file, platform_of(settings)
    if file is None or is_loopback(parsed_address(address, setting="receiver.platform")[0]):
        return None
    certificate = file.read_bytes()
    return Pinned(certificate=certificate, name=_name_in(certificate))


def channel(pinned: Pinned | None) -> dict[str, Any]:
    """The same as OpenTelemetry's exporters take it."""
    import grpc  # noqa: PLC0415 - commands that tell nobody do without.

    if pinned is None:
        return {"insecure": True}
    return {
        "insecure": False,
        "credentials": grpc.ssl_channel_credentials(pinned.certificate),
        "channel_options": (("grpc.ssl_target_name_override", pinned.name),),
    }


def _name_in(certificate: bytes) -> str:
    from cryptography import x509  # noqa: PLC0415 - as above.

    names = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    found = [*names.value.get_values_for_type(x509.DNSName), *map(str, names.value.get_values_for_type(x509.IPAddress))]
    return found[0].replace("*.", "any.", 1)
