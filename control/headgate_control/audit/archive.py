"""A signed archive of evidence: what happened, what was decided, and the proof that nobody has edited it since.

A gzipped tar file. `manifest.json` names every other member with its SHA-256, `manifest.jws` signs it with control's
key, `jwks.json` holds the public half. `proof/` holds the part of each chain that is about the subject;
`decisions.jsonl`, `stops.jsonl`, `instances.jsonl` and `manifests.jsonl` say the same as its records, `policies/` has
the texts by which the decisions were made, and `timeline.jsonl` and whatever else is given come from the views.
"""

import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import file_digest
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
from jwt.api_jws import PyJWS

from headgate_control import kinds
from headgate_control.audit.evidence import DECISION, Evidence, Subject, evidence_of
from headgate_control.audit.heads import Head, Kept, heads
from headgate_control.audit.log import log_records, writers
from headgate_control.audit.proof import Proof, write_proof
from headgate_control.identity.signing_keys import SigningKeys
from headgate_control.kinds import STOP
from headgate_control.policy.kept import FOLDER as POLICIES
from headgate_control.policy.kept import kept_texts
from headgate_control.store.port import ControlStore
from headgate_processors.errors import StoreError

MANIFEST, SIGNATURE, JWKS, HEADS = "manifest.json", "manifest.jws", "jwks.json", "heads.json"
DECISIONS, STOPS = "decisions.jsonl", "stops.jsonl"
INSTANCES, MANIFESTS = "instances.jsonl", "manifests.jsonl"
STATEMENTS = {DECISIONS: DECISION, STOPS: STOP, INSTANCES: kinds.INSTANCE, MANIFESTS: kinds.MANIFEST}
"""The members that say what records of a kind in `proof/` say."""
PROOFS = "proof"
TYPE = "headgate-archive+jws"
ALGORITHM = "ES256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an archive holds."""

    path: Path
    key_id: str
    decisions: int
    stops: int
    chains: int
    members: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where evidence comes from; `rows` are rows of views, by the name of the view."""

    store: ControlStore
    logs: Path
    keys: SigningKeys
    rows: Mapping[str, Iterable[Mapping[str, Any]]]
    clock: Callable[[], int] = time.time_ns


def export(subject: Subject, sources: Sources, to: Path) -> Exported:
    """Write the archive of a session or a stop; in one step, so that no half of one is ever there.

    Raises:
        StoreError: a chain cannot be read to its end.
        ConfigError: there is no key to sign with.
        OSError: the archive cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.") as place:
        folder = Path(place)
        (folder / PROOFS).mkdir()
        evidence = evidence_of(_with_own(subject, sources.store), sources.logs)
        evidence = _with_manifests(evidence, sources.store)
        chains = [*_journal_proofs(evidence, sources, folder), *_log_proofs(evidence, sources, folder)]
        said = {name: _statements(folder, chains, name, kind) for name, kind in STATEMENTS.items()}
        _policies(evidence, sources, folder)
        for name, rows in sources.rows.items():
            _write_lines(folder / f"{name}.jsonl", rows)
        found = heads(sources.store, sources.logs)
        (folder / HEADS).write_bytes(orjson.dumps([asdict(head) for head in found], option=orjson.OPT_INDENT_2))
        key_id = _signed(folder, subject, chains, found, sources)
        packed = folder / "packed"
        members = _pack(folder, packed)
        packed.chmod(0o600)
        packed.replace(to)
    return Exported(
        path=to, key_id=key_id, decisions=said[DECISIONS], stops=said[STOPS], chains=len(chains), members=members
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chain:
    """The proof of a chain, and the member that holds it."""

    member: str
    kept: Kept
    proof: Proof

    def written(self) -> dict[str, object]:
        return {"member": self.member, "kept": self.kept, **asdict(self.proof)}


def _with_own(subject: Subject, store: ControlStore) -> Subject:
    """A stop with the instance that it names, if it names one: nobody else need have met it."""
    if subject.kind != "stop":
        return subject
    named: set[str] = set()
    position = 0
    while events := store.events(after=position):
        position = events[-1].position
        sides = (side for event in events if event.kind == STOP for side in (event.before, event.after))
        keys = (side["key"] for side in sides if side is not None and side.get("stop_id") == subject.id)
        named.update(str(key[1]) for key in keys if isinstance(key, list) and key[0] == "instance")
    return replace(subject, instances=subject.instances | named)


def _with_manifests(evidence: Evidence, store: ControlStore) -> Evidence:
    """With the manifests of its instances, also where no decision names them."""
    records = [record for one in evidence.instances if (record := store.get(kinds.INSTANCE, one)) is not None]
    digests = {str(digest) for record in records if (digest := record.body.get("manifest_digest"))}
    return replace(evidence, manifests=evidence.manifests | digests)


def _policies(evidence: Evidence, sources: Sources, folder: Path) -> None:
    """Put the texts of policies in that are kept; of those that are not the digest stays in the decisions."""
    kept = kept_texts(sources.store, sources.logs.parent / POLICIES)
    for digest in sorted(evidence.policies & kept.keys()):
        (folder / POLICIES).mkdir(exist_ok=True)
        (folder / POLICIES / kept[digest].name).write_bytes(kept[digest].read_bytes())


def _journal_proofs(evidence: Evidence, sources: Sources, folder: Path) -> Iterator[_Chain]:
    for anchor in sources.store.anchors():
        yield from _proof(folder, "journal", anchor.writer, sources.store.chain(anchor.writer), evidence.in_journal)


def _log_proofs(evidence: Evidence, sources: Sources, folder: Path) -> Iterator[_Chain]:
    for writer in writers(sources.logs):
        yield from _proof(folder, "log", writer, log_records(sources.logs, writer, []), evidence.in_log)


def _proof(folder: Path, kept: Kept, writer: str, records: Any, wanted: Any) -> Iterator[_Chain]:
    member = f"{PROOFS}/{kept}-{quote(writer, safe='')}.jsonl"
    try:
        with (folder / member).open("wb") as file:
            proof = write_proof(records, wanted, file)
    except ValueError as error:
        raise StoreError(str(error)) from error
    if proof is None:
        (folder / member).unlink()
    else:
        yield _Chain(member=member, kept=kept, proof=proof)


def _statements(folder: Path, chains: Iterable[_Chain], member: str, kind: str) -> int:
    """Write what the proofs' records of one kind say, each as a line; how many there are."""
    count = 0
    with (folder / member).open("wb") as file:
        for body in (body for chain in chains for body in _whole(folder / chain.member) if body.get("kind") == kind):
            file.write(orjson.dumps(body, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE))
            count += 1
    return count


def _whole(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            if not line.startswith(b'"'):
                yield orjson.loads(line)["body"]


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("wb") as file:
        for row in rows:
            file.write(orjson.dumps(row, default=str, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE))


def _signed(folder: Path, subject: Subject, chains: Iterable[_Chain], found: Iterable[Head], sources: Sources) -> str:
    """Write the manifest with its signature; the id of the key that signed."""
    key_id, private = sources.keys.signing()
    jwk = next(one.jwk for one in sources.keys.ring().keys if one.key_id == key_id)
    (folder / JWKS).write_bytes(orjson.dumps({"keys": [dict(jwk)]}, option=orjson.OPT_INDENT_2))
    content = {
        "version": 1,
        "subject": {"kind": subject.kind, "id": subject.id, "keys": sorted(subject.keys)},
        "created_unix_nano": sources.clock(),
        "chains": [chain.written() for chain in chains],
        "heads": [asdict(head) for head in found],
        "members": {
            name: {"sha256": _sha256(folder / name), "bytes": (folder / name).stat().st_size}
            for name in _members(folder)
        },
    }
    manifest = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    headers = {"kid": key_id, "typ": TYPE}
    (folder / MANIFEST).write_bytes(manifest)
    (folder / SIGNATURE).write_text(PyJWS().encode(manifest, private, algorithm=ALGORITHM, headers=headers))
    return key_id


def _members(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _pack(folder: Path, to: Path) -> int:
    """Put all members into one file, the signed manifest first."""
    first = [MANIFEST, SIGNATURE, JWKS]
    names = first + [name for name in _members(folder) if name not in first]
    with tarfile.open(to, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = (folder / name).stat().st_size, 0o600, int(time.time())
            with (folder / name).open("rb") as file:
                tar.addfile(info, file)
    return len(names)
