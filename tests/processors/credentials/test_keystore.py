"""Tests of the key store: what is on disk, who may change it, and that several processes may."""

import json
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headgate_processors.credentials.keystore import KeyStore
from headgate_processors.credentials.tokens import digest_of
from headgate_processors.errors import ConfigError


def test_a_token_is_kept_as_a_digest_in_a_file_for_its_owner_only(tmp_path: Path) -> None:
    """256 random bits are shown once; the file holds what says nothing about them."""
    issued = KeyStore(tmp_path).create("gateway", name="model gateway", lifetime_ns=10)
    file = tmp_path / "credentials.json"
    assert issued.token is not None
    assert re.fullmatch(r"hgt_gateway-[0-9a-f]{12}_[0-9a-f]{64}", issued.token)
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert issued.token.rpartition("_")[2] not in file.read_text()
    assert digest_of(issued.token) == json.loads(file.read_text())["credentials"][0]["digest"]
    assert issued.token not in repr(issued)
    assert [] == [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_folder_without_a_key_store_holds_no_credential(tmp_path: Path) -> None:
    """It needs no file to begin with."""
    assert not KeyStore(tmp_path).keys().by_id


def test_many_that_change_it_at_once_lose_nothing(tmp_path: Path) -> None:
    """Each sees what the others wrote."""
    with ThreadPoolExecutor(8) as pool:
        issued = list(pool.map(lambda _: KeyStore(tmp_path).create("client"), range(24)))
        list(pool.map(lambda one: KeyStore(tmp_path).revoke(one.credential.token_id), issued[:8]))
    found = KeyStore(tmp_path).keys().by_id
    assert {one.credential.token_id for one in issued} == set(found)
    assert 8 == sum(one.state(0) == "revoked" for one in found.values())


def test_one_certificate_has_one_role_at_a_time(tmp_path: Path) -> None:
    """A second role needs the first one revoked."""
    keys = KeyStore(tmp_path)
    first = keys.create("gateway", certificate="g")
    assert first.token is None
    with pytest.raises(ConfigError, match="revoke that first"):
        keys.create("control", certificate="g")
    keys.revoke(first.credential.token_id)
    keys.create("control", certificate="g")
    assert "control" == keys.keys().by_certificate["g"].role


def test_revoking_twice_keeps_the_first_time_and_an_unknown_id_is_an_error(tmp_path: Path) -> None:
    """What was revoked stays so."""
    times = iter([5, 6, 7, 8])
    keys = KeyStore(tmp_path, clock=lambda: next(times))
    token_id = keys.create("client").credential.token_id
    assert 6 == keys.revoke(token_id).revoked_unix_nano
    assert 6 == keys.revoke(token_id).revoked_unix_nano
    with pytest.raises(ConfigError, match="headgate token list"):
        keys.revoke("client-1")


def test_a_damaged_key_store_is_not_written_over(tmp_path: Path) -> None:
    """What somebody may still restore stays as it is."""
    (tmp_path / "credentials.json").write_text('{"version": 1, "credentials": [{"role": "emperor"}]}')
    with pytest.raises(ConfigError, match="damaged"):
        KeyStore(tmp_path).create("client")
    assert "emperor" in (tmp_path / "credentials.json").read_text()
