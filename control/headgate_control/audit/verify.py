"""Everything that is wrong with the chains of control: the journal of each writer, its records, and the logs.

What is read is left as it is, and may be written meanwhile.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from headgate_control.audit.chain import GENESIS, Anchor, Fault, Record, faults
from headgate_control.audit.heads import ANCHOR, Head, Kept, read_head
from headgate_control.audit.log import file_of, log_entries, misnamed, writers
from headgate_control.audit.pruning import Chained, pruned
from headgate_control.audit.standing import record_problems
from headgate_control.budgets.books import BOOKS, BOOKS_ID, books_of
from headgate_control.policy.kept import FOLDER as POLICIES
from headgate_control.policy.kept import text_problems
from headgate_control.store.port import ControlStore
from headgate_control.store.record import read_event
from headgate_processors.errors import TransientError

FAULTS_MAX = 1_000
JOURNAL = "journal"
RECORDS = "records"
ALONE = "control"
"""What a node is called that has its database for itself, so that all texts are in its own folder."""


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
    """What went by: the last record and how many there were; in a journal, the heads of logs and what is no event."""

    number: int = 0
    digest: str = GENESIS
    stopped: list[Fault] = field(default_factory=list)
    heads: set[Head] = field(default_factory=set)

    def through(self, entries: Iterable[Record | Fault], writer: str) -> Iterator[Record | Fault]:
        """The entries; where they cannot be read further, that is a fault."""
        try:
            for entry in entries:
                self.number += 1
                if isinstance(entry, Record):
                    self.digest = entry.digest
                yield entry
        except (TransientError, TypeError, ValueError) as error:
            self._add(writer, self.number + 1, f"it cannot be read: {error}")

    def events(self, entries: Iterable[Record | Fault]) -> Iterator[Record | Fault]:
        """The records of a journal."""
        for entry in entries:
            if isinstance(entry, Record):
                self._event(entry)
            yield entry

    def _event(self, record: Record) -> None:
        try:
            event = read_event(record.body)
            if event["kind"] == ANCHOR and event["after"] is not None:
                self.heads.add(read_head(event["after"]))
        except ValueError as error:
            self._add(record.writer, record.number, f"it was changed: {error}")

    def _add(self, writer: str, number: int, problem: str) -> None:
        if len(self.stopped) < FAULTS_MAX:
            self.stopped.append(Fault(writer=writer, number=number, problem=problem))


def verify(store: ControlStore, logs: Path, anchors: Iterable[Head] = ()) -> Verified:
    """Look at every chain; `anchors` are heads that were kept elsewhere.

    The logs are also compared with every head that the journal was given of these books.
    """
    own = (None, books_of(logs))
    known, apart, gone = set(anchors), list[Finding](), dict[Chained, Anchor]()
    journals, is_read = set[str](), False
    try:
        apart += _damage(store)
        gone = _gone(store, apart)
        journals, is_read = {anchor.writer for anchor in store.anchors()}, True
    except (TransientError, TypeError, ValueError) as error:
        apart.append(Finding(place=JOURNAL, writer=None, number=None, problem=f"it cannot be read in whole: {error}"))
    apart += _elsewhere(store, logs)
    chains = []
    for writer in _all(known, "journal", journals):
        verdict, heads = _journal(store, _Asked.of("journal", writer, known, gone))
        chains.append(verdict)
        known |= {head for head in heads if head.books in own}
    chains += [_log(logs, _Asked.of("log", writer, known, gone)) for writer in _all(known, "log", writers(logs))]
    if is_read and not any(chain.findings for chain in chains if chain.kept == "journal"):
        apart += [*_emptied(chains), *islice(_records(store), FAULTS_MAX), *_texts(store, logs)]
    return Verified(chains=tuple(chains), findings=tuple(apart))


def _damage(store: ControlStore) -> Iterator[Finding]:
    for one in store.damage():
        yield Finding(place=one.place, writer=one.writer, number=one.number, problem=one.problem)


def _elsewhere(store: ControlStore, logs: Path) -> Iterator[Finding]:
    """Logs of other books are not compared with what the journal knows of its own."""
    try:
        record = store.get(BOOKS, BOOKS_ID)
    except (TransientError, ValueError):
        return
    if record is not None and record.body.get("books") != books_of(logs):
        where = f"{record.body.get('data')} on {record.body.get('host')}"
        problem = f"the logs of this journal are in {where}, and {logs} is not of them: verify there"
        yield Finding(place=RECORDS, writer=None, number=None, problem=problem)


def _gone(store: ControlStore, apart: list[Finding]) -> dict[Chained, Anchor]:
    try:
        return pruned(store)
    except (TypeError, ValueError) as error:
        apart.append(Finding(place=RECORDS, writer=None, number=None, problem=str(error)))
        return {}


def _emptied(chains: Iterable[Verdict]) -> Iterator[Finding]:
    """Control journals what it decides by before it decides, so that a log without a journal has lost it."""
    counts = {kept: sum(one.number for one in chains if one.kept == kept) for kept in ("journal", "log")}
    if counts["log"] and not counts["journal"]:
        problem = f"it is empty, and the logs have {counts['log']} records: it was emptied, or is another one's"
        yield Finding(place=JOURNAL, writer=None, number=None, problem=problem)


def _texts(store: ControlStore, logs: Path) -> Iterator[Finding]:
    for place, problem in text_problems(store, logs.parent / POLICIES, own=ALONE):
        yield Finding(place=place, writer=None, number=None, problem=problem)


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


def _journal(store: ControlStore, asked: _Asked) -> tuple[Verdict, set[Head]]:
    passed, writer = asked.passed(), asked.writer
    records = passed.events(passed.through(store.chain(writer), writer))
    kept = islice(faults(records, anchors=asked.anchors, since=asked.since, writer=writer), FAULTS_MAX)
    found = sorted([*kept, *passed.stopped], key=lambda fault: fault.number)
    findings = tuple(Finding(place=JOURNAL, writer=writer, number=one.number, problem=one.problem) for one in found)
    return asked.verdict(passed, findings), passed.heads


def _log(logs: Path, asked: _Asked) -> Verdict:
    passed, writer = asked.passed(), asked.writer
    entries = passed.through(log_entries(logs, writer), writer)
    kept = islice(faults(entries, anchors=asked.anchors, since=asked.since, writer=writer), FAULTS_MAX)
    found = [*kept, *islice(misnamed(logs, writer), FAULTS_MAX), *passed.stopped]
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
