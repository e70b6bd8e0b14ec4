"""Hash keys: one key for all, kept private, and hashes that only the key gives."""

import multiprocessing
import stat
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_processors.enrich.hashing import HashKey
from headgate_processors.errors import ConfigError

KEY = HashKey.of(bytes(range(32)))


def _key_id(folder: str) -> tuple[str, str]:
    key = HashKey.load_or_create(Path(folder))
    return key.key_id, key.hash("x")


def test_the_key_made_at_first_use_is_read_again(tmp_path: Path) -> None:
    """A second start has the same key, so hashes stay comparable."""
    assert HashKey.load_or_create(tmp_path) == HashKey.load_or_create(tmp_path)


def test_the_key_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    """The file of the key has mode 0600, its folder 0700, and the id is in the name."""
    key = HashKey.load_or_create(tmp_path)
    path = tmp_path / "keys" / f"hash-{key.key_id}.key"
    assert (0o600, 0o700) == (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode))


def test_processes_that_race_get_one_key(tmp_path: Path) -> None:
    """Eight first starts at once agree on one key and leave one file."""
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.map(_key_id, [str(tmp_path)] * 8, chunksize=1)
    assert 1 == len(set(found))
    assert [f"hash-{found[0][0]}.key"] == [path.name for path in (tmp_path / "keys").glob("*.key")]


def test_a_copied_key_file_is_adopted(tmp_path: Path) -> None:
    """A receiver that is given the key of another uses it."""
    first = HashKey.load_or_create(tmp_path / "a")
    (tmp_path / "b" / "keys").mkdir(parents=True)
    name = f"keys/hash-{first.key_id}.key"
    (tmp_path / "b" / name).write_bytes((tmp_path / "a" / name).read_bytes())
    assert first == HashKey.load_or_create(tmp_path / "b")


def test_two_keys_without_a_current_one_are_an_error(tmp_path: Path) -> None:
    """Which of two keys counts is not guessed."""
    keys = tmp_path / "keys"
    keys.mkdir()
    for name in ("a", "b"):
        (keys / f"hash-{name}.key").write_text("00" * 32)
    with pytest.raises(ConfigError, match="holds 2 hash keys"):
        HashKey.load_or_create(tmp_path)


@pytest.mark.parametrize("content", ["", "zz", "00" * 31, "é"])
def test_a_damaged_key_is_an_error(tmp_path: Path, content: str) -> None:
    """A key that is not 32 bytes is refused, because other hashes would follow silently."""
    key = HashKey.load_or_create(tmp_path)
    (tmp_path / "keys" / f"hash-{key.key_id}.key").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="is damaged"):
        HashKey.load_or_create(tmp_path)


def test_a_missing_key_is_an_error(tmp_path: Path) -> None:
    """A named key that is gone is not replaced by another."""
    key = HashKey.load_or_create(tmp_path)
    (tmp_path / "keys" / f"hash-{key.key_id}.key").unlink()
    with pytest.raises(ConfigError, match="is missing"):
        HashKey.load_or_create(tmp_path)


def test_the_secret_is_not_shown() -> None:
    """A key in a log line or traceback does not tell its secret."""
    assert f"HashKey(key_id='{KEY.key_id}')" == repr(KEY)


@given(st.binary())
def test_a_hash_is_keyed_blake2b_of_128_bits(content: bytes) -> None:
    """The hash is the documented function, and another key gives another."""
    assert blake2b(content, digest_size=16, key=KEY.secret).hexdigest() == KEY.hash(content)
    assert KEY.hash(content) != HashKey.of(bytes(32)).hash(content)


@given(st.text())
def test_text_is_hashed_as_utf_8(text: str) -> None:
    """Any text has a hash, lone surrogates included."""
    assert KEY.hash(text.encode("utf-8", "surrogatepass")) == KEY.hash(text)
