"""Where Headgate's own parts tell the store what they did."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk._logs.export import LogRecordExportResult

from headgate_console.control.platform import pinned_of, platform_of
from headgate_console.control.records import exporter_to
from headgate_console.settings import Settings, load_settings
from headgate_processors.credentials.authenticator import CredentialAuthenticator
from headgate_processors.credentials.keystore import KeyStore
from headgate_processors.receiver.config import ReceiverConfig
from headgate_processors.receiver.server import Receiver
from headgate_processors.receiver.tls import TlsConfig
from headgate_processors.testing.ingest import MemoryIngest
from headgate_processors.testing.issuers import Authority


def settings(platform: str, certificate: Path) -> Settings:
    """Those of a site whose platform listener is there."""
    flags = {"cert_file": str(certificate), "key_file": str(certificate.with_suffix(".key"))}
    return load_settings(
        {"receiver.platform": platform, **{f"receiver.tls.{name}": path for name, path in flags.items()}}
    ).settings


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    """Who may send."""
    return KeyStore(tmp_path)


@pytest.fixture
def certificate(tmp_path: Path, keys: KeyStore) -> Iterator[tuple[Path, str]]:
    """A platform listener that other machines reach, with this certificate; and where it is."""
    files = Authority(tmp_path).issue("platform")
    tls = TlsConfig(cert_file=files.certificate, key_file=files.key, client_ca_file=None)
    config = ReceiverConfig(grpc=None, http=None, platform="0.0.0.0:0", tls=tls)
    receiver = Receiver(MemoryIngest(), config=config, authenticator=CredentialAuthenticator(keys))
    yield files.certificate, receiver.start()["platform"]
    receiver.drain(5)


def test_parts_trust_the_certificate_of_a_platform_listener_that_other_machines_reach(
    certificate: tuple[Path, str], keys: KeyStore
) -> None:
    """Whatever address it listens on, and whoever signed it."""
    file, address = certificate
    found = settings(address, file)
    exporter = exporter_to(platform_of(found), str(keys.create("control").token), pinned_of(found))
    told = exporter.export([])
    exporter.shutdown()  # type: ignore[no-untyped-call]
    assert LogRecordExportResult.SUCCESS == told


@pytest.mark.parametrize("platform", ["127.0.0.1:4319", "localhost:4319", "none"])
def test_on_this_machine_alone_parts_speak_plainly(platform: str, certificate: tuple[Path, str]) -> None:
    """Also to a Collector in front."""
    assert pinned_of(settings(platform, certificate[0])) is None
