"""A chain of records: each holds the digest of the one before, so that whoever knows the head knows all of them.

A record's digest is SHA-256 over writer, number, the digest before and the SHA-256 of the body, joined by NUL: whoever
has the bodies' digests alone can follow a chain without reading it. The first record of a chain follows `GENESIS`. An
*anchor* is a head that was written down elsewhere: it shows that the end was not cut off.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

import orjson

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record; `body` is canonical JSON in UTF-8, `number` counts from 1 for each writer."""

    writer: str
    number: int
    previous: str
    body: bytes
    digest: str

    def line(self) -> bytes:
        """The record as a line of JSON, with the body as an object in it."""
        head = orjson.dumps(
            {"writer": self.writer, "number": self.number, "previous": self.previous, "digest": self.digest}
        )
        return head[:-1] + b',"body":' + self.body + b"}\n"

    @classmethod
    def parse(cls, line: bytes) -> "Record":
        """The record of a line.

        Raises:
            ValueError: it is no such line, byte for byte.
        """
        try:
            found = orjson.loads(line)
            record = cls(
                writer=found["writer"],
                number=found["number"],
                previous=found["previous"],
                body=canonical(found["body"]),
                digest=found["digest"],
            )
        except (KeyError, TypeError, orjson.JSONDecodeError) as error:
            raise ValueError(f"no record of a chain: {error}") from error
        if record.line() != line:
            raise ValueError("no record of a chain: it is written otherwise than records are")
        return record


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """The head of a chain at some moment: how many records it had, and the digest of the last."""

    writer: str
    number: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with a chain, and at which record."""

    writer: str
    number: int
    problem: str


@dataclass(slots=True)
class Chain:
    """The end of one writer's chain, where records are added."""

    writer: str
    number: int = 0
    head: str = GENESIS

    def add(self, body: Mapping[str, object]) -> Record:
        """The next record; it is in the chain from this moment on."""
        written, number = canonical(body), self.number + 1
        digest = digest_of(self.writer, number, self.head, written)
        record = Record(writer=self.writer, number=number, previous=self.head, body=written, digest=digest)
        self.number, self.head = number, digest
        return record

    @property
    def anchor(self) -> Anchor:
        """The head as it is now."""
        return Anchor(writer=self.writer, number=self.number, digest=self.head)


def canonical(body: object) -> bytes:
    """JSON with sorted keys and nothing between them: the same bytes for the same values."""
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


def digest_of(writer: str, number: int, previous: str, body: bytes) -> str:
    """The digest of a record, 64 hexadecimal digits."""
    return linked(writer, number, previous, sha256(body).hexdigest())


def linked(writer: str, number: int, previous: str, body_digest: str) -> str:
    """The digest of a record of whose body only the SHA-256 is known."""
    return sha256(f"{writer}\0{number}\0{previous}\0{body_digest}".encode()).hexdigest()


def faults(
    records: Iterable[Record | Fault],
    *,
    anchors: Iterable[Anchor] = (),
    since: Anchor | None = None,
    writer: str | None = None,
) -> Iterator[Fault]:
    """Everything that is wrong with the records of a writer, by default of the first one, and with its anchors.

    They begin at number 1, or after `since`, where those up to it were pruned; older anchors cannot be compared then.
    One that cannot be read stands among them as what is wrong with it.
    """
    head: str | None
    number, head, first = (0, GENESIS, "") if since is None else (since.number, since.digest, since.writer)
    writer = writer or first
    wanted: dict[int, list[Anchor]] = {}
    for anchor in anchors:
        if anchor.number > number:
            wanted.setdefault(anchor.number, []).append(anchor)
        elif since is not None and anchor.number == number and anchor.digest != head:
            yield Fault(writer=writer, number=number, problem="it was pruned, and is not the record that was anchored")
    for record in records:
        number += 1
        if isinstance(record, Fault):
            yield record
            wanted.pop(number, None)
            number, head = record.number, None
            continue
        writer = writer or record.writer
        yield from (_fault(record, problem) for problem in _problems(record, writer, number, head))
        for anchor in wanted.pop(record.number, []):
            if anchor.digest != record.digest:
                yield _fault(record, "it is not the record that was anchored here")
        number, head = record.number, record.digest
    for left, lost in sorted(wanted.items()):
        if left:
            problem = f"the chain has {number} records, and {left} were anchored: its end is missing"
            yield Fault(writer=lost[0].writer, number=left, problem=problem)


def _fault(record: Record, problem: str) -> Fault:
    return Fault(writer=record.writer, number=record.number, problem=problem)


def _problems(record: Record, writer: str, number: int, head: str | None) -> Iterator[str]:
    if record.writer != writer:
        yield f"it is of writer {record.writer!r} in the chain of {writer!r}"
    if record.number != number:
        yield f"it stands where record {number} should"
    if head is not None and record.previous != head:
        yield "it does not follow the record before it"
    if digest_of(record.writer, record.number, record.previous, record.body) != record.digest:
        yield "it was changed: its digest is another"
