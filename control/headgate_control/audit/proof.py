"""Part of a chain that proves itself: some records whole, of those between and after only the digests of their bodies.

Line by line: a record as the log has it, or the SHA-256 of a body as a JSON string. It begins with the first record
that is whole and ends with the head, so that a head that was kept elsewhere can be found in it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, BinaryIO

import orjson

from headgate_control.audit.chain import Record, linked

LINE_BYTES_MAX = 2 << 20
_HEX = frozenset("0123456789abcdef")

Wanted = Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Where a proof begins and ends: the record before its first has the digest `previous`."""

    writer: str
    first: int
    previous: str
    number: int
    digest: str
    whole: int


class ProofError(Exception):
    """A line of a proof does not follow from those before it; the message says which."""


def write_proof(records: Iterable[Record], wanted: Wanted, to: BinaryIO) -> Proof | None:
    """Write the proof of a chain's records that are wanted; None, and nothing, where none is.

    Raises:
        ValueError: the body of a record is no JSON object.
    """
    first: Record | None = None
    last: Record | None = None
    whole = 0
    for record in records:
        is_wanted = wanted(_body(record))
        if first is None and not is_wanted:
            continue
        first, last, whole = first or record, record, whole + is_wanted
        to.write(record.line() if is_wanted else orjson.dumps(sha256(record.body).hexdigest()) + b"\n")
    if first is None or last is None:
        return None
    return Proof(
        writer=first.writer,
        first=first.number,
        previous=first.previous,
        number=last.number,
        digest=last.digest,
        whole=whole,
    )


@dataclass(slots=True)
class ProofReader:
    """Follows a proof line by line; `digests` are those of the numbers that are looked for."""

    writer: str
    number: int
    head: str
    looked_for: frozenset[int]
    digests: dict[int, str]

    @classmethod
    def of(cls, proof: Proof, looked_for: Iterable[int] = ()) -> "ProofReader":
        """A reader at the beginning."""
        return cls(proof.writer, proof.first - 1, proof.previous, frozenset(looked_for), {})

    def bodies(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """The bodies of whole records, in order.

        Raises:
            ProofError: a line does not follow.
        """
        for line in lines:
            self.number += 1
            body = self._step(line)
            if self.number in self.looked_for:
                self.digests[self.number] = self.head
            if body is not None:
                yield body

    def _step(self, line: bytes) -> bytes | None:
        if not line.startswith(b'"'):
            return self._whole(line)
        digest = line[1:-2].decode("ascii", "replace")
        if len(digest) != 64 or line[-2:] != b'"\n' or set(digest) - _HEX:
            raise self._broken("it is no digest")
        self.head = linked(self.writer, self.number, self.head, digest)
        return None

    def _whole(self, line: bytes) -> bytes:
        try:
            record = Record.parse(line)
        except ValueError as error:
            raise self._broken(str(error)) from error
        if (record.writer, record.number, record.previous) != (self.writer, self.number, self.head):
            raise self._broken("it does not follow the record before it")
        self.head = linked(self.writer, self.number, self.head, sha256(record.body).hexdigest())
        if self.head != record.digest:
            raise self._broken("it was changed: its digest is another")
        return record.body

    def _broken(self, problem: str) -> ProofError:
        return ProofError(f"record {self.number} of {self.writer}: {problem}")


def _body(record: Record) -> Mapping[str, Any]:
    body = orjson.loads(record.body)
    if not isinstance(body, dict):
        raise ValueError(f"record {record.number} of {record.writer} is no object: headgate audit verify")
    return body
