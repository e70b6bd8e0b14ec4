"""Keys to sign with: one signs, those before it are good until their overlap ends, and none is readable by others."""

import json
import stat
from pathlib import Path

import jwt
import pytest

from headgate_control.identity.signing_keys import FILE_NAME, OVERLAP_NS, SigningKeys
from headgate_processors.errors import ConfigError

NOW = 1_790_000_000_000_000_000


def test_a_folder_gets_one_key_once(tmp_path: Path) -> None:
    """Its owner alone may read it, and whoever opens it again has the same."""
    first = SigningKeys.open(tmp_path / "keys")
    assert first.signing()[0] == SigningKeys.open(tmp_path / "keys").signing()[0]
    assert 0o600 == stat.S_IMODE((tmp_path / "keys" / FILE_NAME).stat().st_mode)
    assert 0o700 == stat.S_IMODE((tmp_path / "keys").stat().st_mode)
    assert "private" not in json.dumps(first.jwks())
    assert "private_pem" not in repr(first.ring())


def test_a_key_that_was_rotated_verifies_until_its_overlap_ends(tmp_path: Path) -> None:
    """The new one signs at once, in every process; the private half of the old one is gone."""
    now = [NOW]
    keys = SigningKeys.open(tmp_path, clock=lambda: now[0])
    other = SigningKeys(tmp_path, clock=lambda: now[0])
    old = keys.signing()[0]
    new = keys.rotate()
    assert [new.key_id, old] == [one["kid"] for one in other.jwks()["keys"]]  # type: ignore[attr-defined]
    assert (new.key_id, {new.key_id, old}) == (other.signing()[0], set(other.good()))
    assert ["signing", "verifying"] == [one.state(NOW) for one in other.ring().keys]
    assert 1 == (tmp_path / FILE_NAME).read_text().count("BEGIN PRIVATE KEY")
    ends = [one.get("exp") for one in json.loads((tmp_path / "jwks.json").read_bytes())["keys"]]
    assert [None, (NOW + OVERLAP_NS) // 10**9] == ends
    now[0] += OVERLAP_NS
    assert ([new.key_id], "retired") == (list(other.good()), other.ring().keys[1].state(now[0]))


def test_a_stolen_key_is_good_no_longer(tmp_path: Path) -> None:
    """Without an overlap; and no later rotation makes it good again."""
    keys = SigningKeys.open(tmp_path, clock=lambda: NOW)
    stolen = keys.signing()[0]
    keys.rotate(overlap_ns=0)
    keys.rotate()
    assert stolen not in keys.good()
    assert 2 == len(keys.good())


def test_what_a_key_signed_is_verified_by_its_public_half(tmp_path: Path) -> None:
    """With the algorithm ES256 alone."""
    keys = SigningKeys.open(tmp_path)
    key_id, private = keys.signing()
    text = jwt.encode({"a": 1}, private, algorithm="ES256", headers={"kid": key_id})
    assert {"a": 1} == jwt.decode(text, keys.good()[key_id], algorithms=["ES256"])


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"version":2}', b'{"version":1,"keys":[{}]}', b'{"version":1,"keys":[1]}']
)
def test_a_damaged_file_is_not_believed(tmp_path: Path, content: bytes) -> None:
    """Nor replaced by a new key without being asked."""
    keys = SigningKeys.open(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(ConfigError):
        keys.ring()
    with pytest.raises(ConfigError):
        SigningKeys.open(tmp_path)


def test_a_file_that_others_may_write_is_not_believed(tmp_path: Path) -> None:
    """Whoever writes it could sign as control."""
    keys = SigningKeys.open(tmp_path)
    (tmp_path / FILE_NAME).chmod(0o666)
    with pytest.raises(ConfigError, match="others than its owner"):
        keys.signing()


def test_a_folder_without_keys_signs_nothing(tmp_path: Path) -> None:
    """And its list of public keys is empty."""
    keys = SigningKeys(tmp_path)
    assert {"keys": []} == keys.jwks()
    with pytest.raises(ConfigError, match="headgate control keys rotate"):
        keys.signing()
