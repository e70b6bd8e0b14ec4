"""Coverage-guided mutations of OTLP requests, through the whole span path into a store.

    python tests/faults/fuzz.py protobuf --runs 1000000
    python tests/faults/fuzz.py json --runs 10000

Every mutation is decoded by itself under atheris (libFuzzer), which keeps those that reach code that none reached
before, and a group of them at a time goes on: dialects, content, redaction, store. What must hold: only the
agreed errors, no hang, and received = stored + known already + refused. An input that breaks it is kept.
"""

import argparse
import gzip
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["headgate_processors.otlp"]):
    from headgate_processors.otlp import decode

from headgate_processors.errors import HeadgateError, PermanentError
from headgate_processors.otlp.port import Encoding, Signal
from headgate_processors.receiver.port import CLIENT
from headgate_processors.replay.convert import to_protobuf
from headgate_processors.store import Store
from headgate_processors.workers.build import PreparerConfig, build_preparer
from headgate_processors.workers.port import ExportRequest, Outcome

RECORDINGS = Path(__file__).parents[1] / "recordings"
SIGNALS = tuple(Signal)
ROOTS = ("resourceSpans", "resourceLogs", "resourceMetrics")
SEED_BYTES_MAX = 6_000
SEEDS_MAX = 400
GROUP = 256
INPUT_BYTES_MAX = 16_384
HANG_S = 20
MEMORY_MIB = 3_000
RECEIVED_UNIX_NANO = 1_794_000_000_000_000_000


class BrokenError(Exception):
    """Something that must hold did not."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of all inputs; `requests_refused` could not be read at all, the other counts are records."""

    runs: int = 0
    requests_refused: int = 0
    received: int = 0
    stored: int = 0
    known: int = 0
    refused: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def adds_up(self) -> bool:
        """Whether every record that was received is accounted for."""
        return self.received == self.stored + self.known + self.refused


class Target:
    """Takes one input at a time, as libFuzzer brings them."""

    def __init__(self, encoding: Encoding, folder: Path) -> None:
        self._encoding, self._report = encoding, folder / "tally.json"
        self._store = Store.open(folder / "store")
        self._preparer = build_preparer(PreparerConfig(folder=folder / "store"))
        self._group: list[ExportRequest] = []
        self.tally = Tally()

    def __call__(self, given: bytes) -> None:
        """One input: its first byte chooses the signal, the rest is the body."""
        self.tally.runs += 1
        if not given:
            return
        signal, body = SIGNALS[given[0] % len(SIGNALS)], given[1:]
        try:
            decode(body, signal=signal, encoding=self._encoding)
        except PermanentError:
            self.tally.requests_refused += 1
            return
        self._group.append(
            ExportRequest(
                body=body,
                signal=signal,
                encoding=self._encoding,
                sender=CLIENT,
                received_unix_nano=RECEIVED_UNIX_NANO + self.tally.runs,
            )
        )
        if len(self._group) == GROUP:
            self.flush()

    def flush(self) -> None:
        """Bring the group into the store, and count."""
        group, self._group = self._group, []
        prepared = self._preparer.prepare(group)
        for outcome in prepared.outcomes:
            self._count(outcome)
        if prepared.batches:
            appended = self._store.append(prepared.batches)
            self.tally.stored += appended.stored
            self.tally.known += appended.duplicates
        if not self.tally.adds_up:
            raise BrokenError(f"it does not add up: {self.tally}")
        self._report.write_text(json.dumps(asdict(self.tally)))

    def _count(self, outcome: Outcome | HeadgateError) -> None:
        if isinstance(outcome, HeadgateError):
            raise BrokenError(f"decoded alone, refused in a group: {outcome}")
        if outcome.unreadable:
            raise BrokenError(f"Headgate's own code failed on {outcome.unreadable[0].raw[:2000]!r}")
        self.tally.received += outcome.received
        self.tally.refused += len(outcome.rejected)
        for record in outcome.rejected:
            self.tally.reasons[record.reason] = self.tally.reasons.get(record.reason, 0) + 1


def seeds(encoding: Encoding) -> Iterator[bytes]:
    """Small requests that real agents sent, in the form that a target takes."""
    chosen = sorted(RECORDINGS.glob("*/*.jsonl.gz"))
    random.Random(0).shuffle(chosen)
    for path in chosen:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                body: dict[str, Any] = json.loads(line)
                request = body.get("request") or body.get("body") or body
                signal = next(one for one, key in zip(SIGNALS, ROOTS, strict=True) if key in request)
                text = json.dumps(request).encode()
                form = text if encoding == "json" else to_protobuf(text, signal=signal, encoding="json")
                if len(form) <= SEED_BYTES_MAX:
                    yield bytes([SIGNALS.index(signal)]) + form


def fuzz(arguments: argparse.Namespace) -> None:
    """The process that libFuzzer runs in: it ends the process itself."""
    target = Target(arguments.encoding, arguments.folder)

    def one(given: bytes) -> None:
        target(given)
        if target.tally.runs == arguments.runs:
            target.flush()

    options = [
        f"-runs={arguments.runs}",
        f"-seed={arguments.seed + 1}",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-timeout={HANG_S}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-artifact_prefix={arguments.folder}/",
        "-print_final_stats=1",
        "-verbosity=0",
        "-close_fd_mask=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(arguments.folder / "corpus")], one)
    atheris.Fuzz()


def launch(arguments: argparse.Namespace) -> int:
    """Write the seeds, run the process, print what it counted as JSON; exit code 1 when something did not hold.

    Told to end, it ends the process first.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = Path(tempfile.mkdtemp(prefix=f"headgate-fuzz-{arguments.encoding}-"))
    (folder / "corpus").mkdir()
    for number, seed in zip(range(SEEDS_MAX), seeds(arguments.encoding), strict=False):
        (folder / "corpus" / f"{number:04}").write_bytes(seed)
    began = time.monotonic()
    command = [sys.executable, __file__, *sys.argv[1:], "--folder", str(folder)]
    with (folder / "log").open("wb") as log:
        code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    tally = json.loads((folder / "tally.json").read_text()) if (folder / "tally.json").exists() else {}
    duration_s = round(time.monotonic() - began, 1)
    holds = code == 0 and tally.get("runs", 0) >= arguments.runs
    print(json.dumps({"encoding": arguments.encoding, "holds": holds, "duration_s": duration_s, **tally}, indent=1))
    if holds:
        shutil.rmtree(folder)
    else:
        print(f"exit code {code}; what broke it is in {folder}; the end of its log:", file=sys.stderr)
        print("\n".join((folder / "log").read_text(errors="replace").splitlines()[-40:]), file=sys.stderr)
    return int(not holds)


def main() -> None:
    """Fuzz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoding", choices=["protobuf", "json"])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder is None:
        sys.exit(launch(arguments))
    fuzz(arguments)


if __name__ == "__main__":
    main()
