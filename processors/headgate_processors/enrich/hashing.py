"""Keyed hashes of content, and the key file that all receivers of a data folder share.

A hash is blake2b with 16 bytes of digest and a secret key, written as 32 hexadecimal digits: equal
content has equal hashes under one key, and nobody without the key can try candidates. The key lives
in `keys/hash-<id>.key` (mode 0600, 64 hexadecimal digits) and `keys/current` names the one in use.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from headgate_processors.enrich.canonical import canonical_arguments, canonical_bytes, canonical_json
from headgate_processors.errors import ConfigError
from headgate_processors.files import write_whole

__all__ = ["HashKey", "canonical_arguments", "canonical_bytes", "canonical_json"]

KEY_BYTES = 32
DIGEST_BYTES = 16
_KEYS = "keys"
_CURRENT = "current"


@dataclass(frozen=True, slots=True, kw_only=True)
class HashKey:
    """A hash key: `key_id` is public and stored beside every hash, `secret` never leaves the process."""

    key_id: str
    secret: bytes = field(repr=False)
    _keyed: blake2b = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # To copy a hash that has taken the key in is cheaper than to make one.
        object.__setattr__(self, "_keyed", blake2b(digest_size=DIGEST_BYTES, key=self.secret))

    @classmethod
    def load_or_create(cls, folder: Path) -> "HashKey":
        """Read the key in use below `folder`, making one at first use.

        Processes that race get the same key: one makes it, while the others wait for the folder.

        Raises:
            ConfigError: `keys/current` names a key that is missing, or a key file is damaged.
        """
        keys = folder / _KEYS
        keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        current = keys / _CURRENT
        if not current.exists():
            with _alone(keys):
                if not current.exists():
                    _settle(keys)
        return _read(keys, current.read_text(encoding="ascii", errors="replace").strip())

    @classmethod
    def rotate(cls, folder: Path) -> "HashKey":
        """Make a key below `folder` and name it as the one in use, for receivers from their next start on.

        Keys before it stay, for whoever compares rows that were hashed with them.
        """
        keys = folder / _KEYS
        keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = cls.of(secrets.token_bytes(KEY_BYTES))
        write_whole(keys / f"hash-{made.key_id}.key", made.secret.hex().encode() + b"\n")
        write_whole(keys / _CURRENT, made.key_id.encode() + b"\n")
        return made

    @classmethod
    def of(cls, secret: bytes) -> "HashKey":
        """A key from 32 secret bytes; its id is a fingerprint of them."""
        return cls(key_id=blake2b(secret, digest_size=4, person=b"headgate-key-id").hexdigest(), secret=secret)

    def hash(self, content: bytes | str) -> str:
        """The keyed hash of `content`, 32 hexadecimal digits; text is hashed as UTF-8."""
        encoded = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        digest = self._keyed.copy()
        digest.update(encoded)
        return digest.hexdigest()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder; the kernel frees it when its holder dies."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _settle(keys: Path) -> None:
    """Name one key: adopt a single existing file, else make one."""
    existing = sorted(keys.glob("hash-*.key"))
    if len(existing) > 1:
        raise ConfigError(
            f"{keys} holds {len(existing)} hash keys and no file {_CURRENT!r}: "
            f"write the id of the one in use into {keys / _CURRENT}"
        )
    made = None if existing else HashKey.of(secrets.token_bytes(KEY_BYTES))
    key_id = made.key_id if made else existing[0].stem.removeprefix("hash-")
    if made:
        _place(keys, f"hash-{key_id}.key", made.secret.hex())
    _place(keys, _CURRENT, key_id)


def _place(keys: Path, name: str, text: str) -> None:
    """Write a 0600 file whole and durable under `name`, unless another process was first."""
    temporary = keys / f".{name}.{secrets.token_hex(8)}"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, keys / name)
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(keys)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(keys: Path, key_id: str) -> HashKey:
    path = keys / f"hash-{key_id}.key"
    try:
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        raise ConfigError(
            f"{keys / _CURRENT} names hash key {key_id!r}, but {path} is missing: "
            "copy it from the receiver that made it"
        ) from None
    except (ValueError, UnicodeDecodeError):
        secret = b""
    if len(secret) != KEY_BYTES:
        raise ConfigError(f"{path} is damaged: expected {2 * KEY_BYTES} hexadecimal digits; restore it from a copy")
    return HashKey(key_id=key_id, secret=secret)
