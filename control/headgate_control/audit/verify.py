"""Everything that is wrong with the chains of control: the journal of each writer, its records, and the logs.

What is read is left as it is, and may be written meanwhile.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from headgate_control.audit.chain import GENESIS, Anchor, Fault, Record, faults
from headgate_control.audit.heads import Head, Kept, journalled
from headgate_control.audit.log import file_of, log_records, writers
from headgate_control.audit.standing import record_problems
from headgate_control.store.port import ControlStore
from headgate_processors.errors import TransientError

FAULTS_MAX = 1_000
JOURNAL = "journal"
RECORDS = "records"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong, and where: `place` is the file or table, `number` the record's; None where it has none."""

    place: str
    writer: str | None
    number: int | None
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a chain holds, and at most `FAULTS_MAX` of its faults; `anchors` is how many heads it was compared with."""

    kept: Kept
    writer: str
    number: int
    digest: str
    anchors: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Every chain, and what is wrong with none of them in particular."""

    chains: tuple[Verdict, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def all_findings(self) -> list[Finding]:
        """Everything that is wrong."""
        return [*(finding for chain in self.chains for finding in chain.findings), *self.findings]


@dataclass(slots=True)
class _Passed:
    """What went by: the last record and how many there were."""

    number: int = 0
    digest: str = GENESIS
    stopped: list[Fault] = field(default_factory=list)

    def through(self, records: Iterable[Record], writer: str) -> Iterator[Record]:
        """The records; where they cannot be read further, that is a fault."""
        try:
            for record in records:
                self.number, self.digest = self.number + 1, record.digest
                yield record
        except (TransientError, TypeError, ValueError) as error:
            self.stopped.append(Fault(writer=writer, number=self.number + 1, problem=f"it cannot be read: {error}"))


def verify(store: ControlStore, logs: Path, anchors: Iterable[Head] = ()) -> Verified:
    """Look at every chain; `anchors` are heads that were kept elsewhere.

    The logs are also compared with every head that the journal was given.
    """
    known, apart = set(anchors), list[Finding]()
    try:
        journals = {anchor.writer for anchor in store.anchors()}
        known.update(journalled(store))
    except (TransientError, TypeError, ValueError) as error:
        journals = {head.writer for head in known if head.kept == "journal"}
        apart.append(Finding(place=JOURNAL, writer=None, number=None, problem=f"it cannot be read in whole: {error}"))
    chains = [_journal(store, writer, _of(known, "journal", writer)) for writer in _all(known, "journal", journals)]
    chains += verify_logs(logs, known).chains
    if not apart and not any(chain.findings for chain in chains if chain.kept == "journal"):
        apart += islice(_records(store), FAULTS_MAX)
    return Verified(chains=tuple(chains), findings=tuple(apart))


def verify_logs(logs: Path, anchors: Iterable[Head] = ()) -> Verified:
    """Look at the logs of a folder alone, such as those of a gateway on a machine without control state."""
    known = set(anchors)
    every = _all(known, "log", writers(logs))
    return Verified(chains=tuple(_log(logs, writer, _of(known, "log", writer)) for writer in every))


def _all(known: Iterable[Head], kept: Kept, found: Iterable[str]) -> list[str]:
    return sorted({*found, *(head.writer for head in known if head.kept == kept)})


def _of(known: Iterable[Head], kept: Kept, writer: str) -> list[Anchor]:
    return [head.anchor for head in known if (head.kept, head.writer) == (kept, writer)]


def _journal(store: ControlStore, writer: str, anchors: list[Anchor]) -> Verdict:
    passed = _Passed()
    found = [*islice(faults(passed.through(store.chain(writer), writer), anchors=anchors), FAULTS_MAX), *passed.stopped]
    findings = tuple(
        Finding(place=JOURNAL, writer=writer, number=fault.number, problem=fault.problem) for fault in found
    )
    return _verdict("journal", writer, passed, anchors, findings)


def _log(logs: Path, writer: str, anchors: list[Anchor]) -> Verdict:
    passed, unreadable = _Passed(), list[Fault]()
    records = passed.through(log_records(logs, writer, unreadable), writer)
    found = [*islice(faults(records, anchors=anchors), FAULTS_MAX), *unreadable, *passed.stopped]
    findings = tuple(
        Finding(place=file_of(logs, writer, fault.number), writer=writer, number=fault.number, problem=fault.problem)
        for fault in found
    )
    return _verdict("log", writer, passed, anchors, findings)


def _verdict(kept: Kept, writer: str, passed: _Passed, anchors: list[Anchor], findings: tuple[Finding, ...]) -> Verdict:
    return Verdict(
        kept=kept, writer=writer, number=passed.number, digest=passed.digest, anchors=len(anchors), findings=findings
    )


def _records(store: ControlStore) -> Iterator[Finding]:
    """What is wrong with the order of events and with what they add up to."""
    try:
        for writer, number in store.misplaced():
            yield Finding(
                place=JOURNAL, writer=writer, number=number, problem="its position is not after the last one's"
            )
        for problem in record_problems(store):
            yield Finding(place=RECORDS, writer=None, number=None, problem=problem)
    except (TransientError, TypeError, ValueError) as error:
        yield Finding(place=RECORDS, writer=None, number=None, problem=f"they cannot be read: {error}")
