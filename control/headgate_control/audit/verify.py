"""Everything that is wrong with the chains of control: the journal of each writer, its records, and the logs.

What is read is left as it is, and may be written meanwhile.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from headgate_control.audit.chain import GENESIS, Anchor, Fault, Record, faults
from headgate_control.audit.heads import Head, Kept, journalled
from headgate_control.audit.log import file_of, log_records, writers
from headgate_control.audit.pruning import Chained, pruned
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
    """What a chain holds, and at most `FAULTS_MAX` of its faults; `anchors` is how many heads it was compared with.

    `pruned` records at its beginning were taken away, and the journal says so: it is proven from the next one on.
    """

    kept: Kept
    writer: str
    number: int
    digest: str
    anchors: int
    findings: tuple[Finding, ...]
    pruned: int = 0


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
    known, apart, gone = set(anchors), list[Finding](), dict[Chained, Anchor]()
    try:
        gone = pruned(store)
        journals = {anchor.writer for anchor in store.anchors()}
        known.update(journalled(store))
    except (TransientError, TypeError, ValueError) as error:
        journals = {head.writer for head in known if head.kept == "journal"}
        apart.append(Finding(place=JOURNAL, writer=None, number=None, problem=f"it cannot be read in whole: {error}"))
    chains = [_journal(store, _Asked.of("journal", writer, known, gone)) for writer in _all(known, "journal", journals)]
    chains += [_log(logs, _Asked.of("log", writer, known, gone)) for writer in _all(known, "log", writers(logs))]
    if not apart and not any(chain.findings for chain in chains if chain.kept == "journal"):
        apart += islice(_records(store), FAULTS_MAX)
    return Verified(chains=tuple(chains), findings=tuple(apart))


def verify_logs(logs: Path, anchors: Iterable[Head] = ()) -> Verified:
    """Look at the logs of a folder alone, such as those of a gateway on a machine without control state."""
    known = set(anchors)
    every = _all(known, "log", writers(logs))
    return Verified(chains=tuple(_log(logs, _Asked.of("log", writer, known, {})) for writer in every))


def _all(known: Iterable[Head], kept: Kept, found: Iterable[str]) -> list[str]:
    return sorted({*found, *(head.writer for head in known if head.kept == kept)})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A chain that is to be looked at, with what is known of it."""

    kept: Kept
    writer: str
    anchors: list[Anchor]
    since: Anchor | None

    @classmethod
    def of(cls, kept: Kept, writer: str, known: Iterable[Head], gone: Mapping[Chained, Anchor]) -> "_Asked":
        anchors = [head.anchor for head in known if (head.kept, head.writer) == (kept, writer)]
        return cls(kept=kept, writer=writer, anchors=anchors, since=gone.get((kept, writer)))

    def passed(self) -> _Passed:
        """Nothing went by yet."""
        return _Passed() if self.since is None else _Passed(number=self.since.number, digest=self.since.digest)

    def verdict(self, passed: _Passed, findings: tuple[Finding, ...]) -> Verdict:
        """What there is to say of it."""
        return Verdict(
            kept=self.kept,
            writer=self.writer,
            number=passed.number,
            digest=passed.digest,
            anchors=len(self.anchors),
            findings=findings,
            pruned=0 if self.since is None else self.since.number,
        )


def _journal(store: ControlStore, asked: _Asked) -> Verdict:
    passed = asked.passed()
    records = passed.through(store.chain(asked.writer), asked.writer)
    found = [*islice(faults(records, anchors=asked.anchors, since=asked.since), FAULTS_MAX), *passed.stopped]
    findings = tuple(
        Finding(place=JOURNAL, writer=asked.writer, number=fault.number, problem=fault.problem) for fault in found
    )
    return asked.verdict(passed, findings)


def _log(logs: Path, asked: _Asked) -> Verdict:
    passed, unreadable, writer = asked.passed(), list[Fault](), asked.writer
    records = passed.through(log_records(logs, writer, unreadable), writer)
    kept = islice(faults(records, anchors=asked.anchors, since=asked.since), FAULTS_MAX)
    found = [*kept, *unreadable, *passed.stopped]
    findings = tuple(
        Finding(place=file_of(logs, writer, fault.number), writer=writer, number=fault.number, problem=fault.problem)
        for fault in found
    )
    return asked.verdict(passed, findings)


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
