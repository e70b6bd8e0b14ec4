"""Whether an archive is what control signed; needs nothing but the file, and reads it once from its beginning.

It is believed as far as its key is: compare the key's id with one that you have from elsewhere, or give a list of keys.
"""

import base64
import gzip
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import orjson
from jwt import PyJWK, PyJWKSet, PyJWTError
from jwt.api_jws import PyJWS

from headgate_control.audit.archive import ALGORITHM, JWKS, MANIFEST, SIGNATURE, STATEMENTS, TYPE
from headgate_control.audit.chain import canonical
from headgate_control.audit.heads import Head
from headgate_control.audit.proof import LINE_BYTES_MAX, Proof, ProofError, ProofReader
from headgate_processors.errors import ConfigError

SIGNED_BYTES_MAX = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """What is wrong with an archive, and in which member of it."""

    member: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveVerdict:
    """What an archive is about, who signed it, and what is wrong with it.

    `is_pinned`: the key was one of those that whoever asks had given. `compared` is how many heads were found in it.
    """

    about: Mapping[str, Any]
    key_id: str | None
    is_pinned: bool
    compared: int
    flaws: tuple[Flaw, ...]


@dataclass(slots=True)
class _Check:
    """The members as they go by."""

    members: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    chains: dict[str, tuple[str, Proof]] = field(default_factory=dict)
    anchors: list[Head] = field(default_factory=list)
    proved: dict[str, set[bytes]] = field(default_factory=lambda: {kind: set() for kind in STATEMENTS.values()})
    said: dict[str, set[bytes]] = field(default_factory=lambda: {kind: set() for kind in STATEMENTS.values()})
    seen: set[str] = field(default_factory=set)
    compared: int = 0

    def member(self, name: str, size: int, content: IO[bytes]) -> Iterator[Flaw]:
        """Look at one member after the first three."""
        expected = self.members.get(name)
        if expected is None or name in self.seen:
            yield Flaw(
                member=name, problem="the manifest does not name it" if expected is None else "it is there twice"
            )
            return
        self.seen.add(name)
        if size != expected.get("bytes"):
            yield Flaw(member=name, problem=f"it has {size} bytes, and {expected.get('bytes')} were signed")
            return
        digest = sha256()
        lines = _lines(content, digest)
        try:
            yield from self._read(name, lines)
            for _ in lines:
                pass
        except (ProofError, ValueError) as error:
            yield Flaw(member=name, problem=str(error))
            for _ in lines:
                pass
        if digest.hexdigest() != expected.get("sha256"):
            yield Flaw(member=name, problem="it was changed: its SHA-256 is not the one that was signed")

    def _read(self, name: str, lines: Iterator[bytes]) -> Iterator[Flaw]:
        if name in self.chains:
            yield from self._proof(name, lines)
        elif name in STATEMENTS:
            for line in lines:
                self.said[STATEMENTS[name]].add(sha256(canonical(orjson.loads(line))).digest())

    def _proof(self, name: str, lines: Iterator[bytes]) -> Iterator[Flaw]:
        kept, proof = self.chains[name]
        mine = [head for head in self.anchors if (head.kept, head.writer) == (kept, proof.writer)]
        reader = ProofReader.of(proof, (head.number for head in mine))
        for body in reader.bodies(lines):
            kind = orjson.loads(body).get("kind")
            if kind in self.proved:
                self.proved[kind].add(sha256(body).digest())
        if (reader.number, reader.head) != (proof.number, proof.digest):
            yield Flaw(member=name, problem=f"it ends at record {reader.number}, not at the head that was signed")
        for head in mine:
            if head.number in reader.digests:
                self.compared += 1
                if reader.digests[head.number] != head.digest:
                    yield Flaw(member=name, problem=f"record {head.number} is not the one of the head that was kept")

    def end(self, *, is_whole: bool) -> Iterator[Flaw]:
        """What is missing; where all is whole, what is said without a proof."""
        for name in sorted(self.members.keys() - self.seen):
            yield Flaw(member=name, problem="it is missing")
        for name, kind in STATEMENTS.items():
            if is_whole and name in self.seen and self.proved[kind] != self.said[kind]:
                yield Flaw(member=name, problem="it does not say what the records in proof/ say")


def check_archive(path: Path, *, pinned: bytes | None = None, anchors: Iterable[Head] = ()) -> ArchiveVerdict:
    """Look at an archive; `pinned` is a JWKS with the keys that are trusted, `anchors` are heads that were kept.

    Raises:
        ConfigError: the archive cannot be opened, or `pinned` is no JWKS.
    """
    trusted = _keys(pinned, "the list of trusted keys") if pinned is not None else None
    check, flaws = _Check(anchors=list(anchors)), list[Flaw]()
    at, about, key_id = "the archive", dict[str, Any](), None
    try:
        with gzip.open(path) as file, tarfile.open(fileobj=file, mode="r|") as tar:
            signed = dict(_signed(tar))
            key_id = _verify(signed, trusted)
            about = _take(check, orjson.loads(signed[MANIFEST]))
            flaws += check.member(JWKS, len(signed[JWKS]), BytesIO(signed[JWKS]))
            while (info := tar.next()) is not None:
                at = info.name
                content = tar.extractfile(info) if info.isreg() else None
                if content is None:
                    flaws.append(Flaw(member=at, problem="it is no file"))
                else:
                    flaws += check.member(at, info.size, content)
            # The checksum of the whole stands at its end.
            while file.read(1 << 20):
                pass
        flaws += check.end(is_whole=not flaws)
    except _ForgedError as error:
        flaws.append(Flaw(member=error.member, problem=error.problem))
    except FileNotFoundError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        flaws.append(Flaw(member=at, problem=f"it cannot be read: {type(error).__name__}: {error}"))
    return ArchiveVerdict(
        about=about,
        key_id=key_id,
        is_pinned=trusted is not None and key_id is not None,
        compared=check.compared,
        flaws=tuple(flaws),
    )


class _ForgedError(Exception):
    """The manifest is not what control signed."""

    def __init__(self, member: str, problem: str) -> None:
        super().__init__(problem)
        self.member, self.problem = member, problem


def _signed(tar: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    """The first three members: the manifest, its signature, the key."""
    for expected in (MANIFEST, SIGNATURE, JWKS):
        info = tar.next()
        content = tar.extractfile(info) if info is not None and info.isreg() else None
        if info is None or content is None or info.name != expected or info.size > SIGNED_BYTES_MAX:
            raise _ForgedError(expected, "it is not where it belongs: expected an archive of `headgate audit export`")
        yield expected, content.read()


def _verify(signed: Mapping[str, bytes], trusted: Mapping[str, PyJWK] | None) -> str:
    """The id of the key that signed the manifest."""
    text = signed[SIGNATURE]
    try:
        own = _keys(signed[JWKS], JWKS)
        header = PyJWS().get_unverified_header(text)
        key = own.get(header.get("kid", ""))
        if header.get("typ") != TYPE or key is None:
            raise _ForgedError(SIGNATURE, f"it is no signature of an archive by the key in {JWKS}")
        if trusted is not None:
            key = trusted.get(header["kid"])
            if key is None:
                raise _ForgedError(JWKS, f"it is signed by {header['kid']}, which is none of the trusted keys")
        payload = PyJWS().decode(text, key, algorithms=[ALGORITHM])
    except ConfigError as error:
        raise _ForgedError(JWKS, str(error)) from error
    except PyJWTError as error:
        raise _ForgedError(SIGNATURE, f"the signature is not good: {type(error).__name__}") from error
    last = text.rpartition(b".")[2]
    if base64.urlsafe_b64encode(base64.urlsafe_b64decode(last + b"==")).rstrip(b"=") != last:
        raise _ForgedError(SIGNATURE, "the signature is written otherwise than signatures are")
    if payload != signed[MANIFEST]:
        raise _ForgedError(MANIFEST, "it is not what was signed")
    return str(header["kid"])


def _take(check: _Check, manifest: Any) -> dict[str, Any]:
    """What a signed manifest says; it is as control wrote it."""
    if manifest["version"] != 1:
        raise _ForgedError(MANIFEST, "it is of a newer Headgate: verify it with that one")
    check.members = manifest["members"]
    for chain in manifest["chains"]:
        proof = {name: chain[name] for name in Proof.__dataclass_fields__}
        check.chains[chain["member"]] = (chain["kept"], Proof(**proof))
    return {"created_unix_nano": manifest["created_unix_nano"], **manifest["subject"]}


def _keys(content: bytes, name: str) -> Mapping[str, PyJWK]:
    try:
        return {str(key.key_id): key for key in PyJWKSet.from_json(content.decode())}
    except (PyJWTError, ValueError, AttributeError, TypeError, KeyError) as error:
        raise ConfigError(f"{name} is no JWKS with ES256 keys: {type(error).__name__}") from error


def _lines(content: IO[bytes], digest: Any) -> Iterator[bytes]:
    """The lines of a member, each digested as it goes by."""
    while line := content.readline(LINE_BYTES_MAX):
        digest.update(line)
        yield line
