"""What the doctor finds about tokens and certificates."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from headgate_console.doctor.credentials import examine_credentials
from headgate_console.doctor.finding import Level
from headgate_processors.credentials.keystore import KeyStore
from headgate_processors.receiver.tls import TlsConfig
from headgate_processors.testing.issuers import Authority

DAY_NS = 86_400 * 10**9


def test_without_credentials_there_is_nothing_to_say(tmp_path: Path) -> None:
    """Most folders have none."""
    assert [] == examine_credentials(tmp_path, None, now=datetime.now(UTC))


def test_tokens_that_end_soon_are_named(tmp_path: Path) -> None:
    """One that ended, one that will, one that was revoked, one without an end: two are worth a word."""
    keys = KeyStore(tmp_path)
    ended = keys.create("collector", name="edge", lifetime_ns=1).credential.token_id
    ending = keys.create("gateway", lifetime_ns=3 * DAY_NS).credential.token_id
    keys.revoke(keys.create("client", lifetime_ns=1).credential.token_id)
    keys.create("client")
    [finding] = examine_credentials(tmp_path, None, now=datetime.now(UTC) + timedelta(minutes=1))
    assert (Level.WARNING, [ended, ending]) == (finding.level, [row["token_id"] for row in finding.rows])
    assert f"{ended} (edge) ended 6" in finding.details[0]
    assert f"{ending} ends in 2 d 23 h" in finding.details[1]
    keys.revoke(ended)
    keys.revoke(ending)
    assert [Level.OK] == [found.level for found in examine_credentials(tmp_path, None, now=datetime.now(UTC))]


def test_a_key_store_that_cannot_be_read_is_a_warning(tmp_path: Path) -> None:
    """The text says what is wrong with which file."""
    (tmp_path / "credentials.json").write_text("{")
    [finding] = examine_credentials(tmp_path, None, now=datetime.now(UTC))
    assert Level.WARNING == finding.level
    assert "credentials.json: damaged" in finding.text


def test_a_certificate_that_ends_soon_or_does_not_fit_is_a_warning(tmp_path: Path) -> None:
    """Files that are well have their end told too."""
    authority = Authority(tmp_path)
    for days, level in ((100, Level.OK), (3, Level.WARNING), (-1, Level.WARNING)):
        files = authority.issue("receiver", days=days)
        tls = TlsConfig(cert_file=files.certificate, key_file=files.key)
        [finding] = examine_credentials(tmp_path, tls, now=datetime.now(UTC))
        assert level == finding.level
    assert "ended" in finding.text
    files.key.write_text("no key")
    [finding] = examine_credentials(tmp_path, tls, now=datetime.now(UTC))
    assert "could not start" in finding.text
