"""Kills what stands between an agent and the store, at random, and counts what the store has afterwards.

    python tests/faults/kill.py --topology local --seeds 20
    python tests/faults/kill.py --topology direct --victims receiver --faults 200 --pause 0

Senders write down what was acknowledged to them. At the end every acknowledged record must be in the views, once.
"""

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
import numbered
from parts import Part, compactor, headgate, sender
from topologies import TOPOLOGIES, Way

from headgate_processors.errors import HeadgateError
from headgate_processors.testing.ports import free_port

SENDERS = 3
SETTLE_S = 180.0
LOOK_EVERY_S = 0.5
DOWN_S_MAX = 2.0
BETWEEN_S = (0.2, 2.0)
TRIES = 3
"""For each fault: a victim that is not there at that moment is not killed."""
MEMBERS = {
    "receiver": "headgate_console.serve.receive",
    "worker": "headgate_processors.workers.child",
    "deriver": "headgate_console.serve.derive",
}
COMPACTOR = "headgate_console compact"
VICTIMS = (*MEMBERS, "compactor", "sender", "headgate")
COLLECTOR_VICTIMS = ("collector", "collector_while_headgate_is_down")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one seed showed; `missing` and `doubled` count records and must be 0."""

    topology: str
    seed: int
    faults: dict[str, int]
    acknowledged: int
    missing: int
    doubled: int
    exit_code: int
    duration_s: float

    @property
    def holds(self) -> bool:
        """Whether nothing acknowledged was lost or doubled, and the service ended well."""
        return self.acknowledged > 0 and not (self.missing or self.doubled or self.exit_code)


class Trial:
    """One seed: the processes, the faults, and the count."""

    def __init__(self, folder: Path, topology: str, seed: int, pause_s: float) -> None:
        self._folder, self._chance, self._pause_s = folder, random.Random(f"{topology}/{seed}"), pause_s
        self._topology, self._seed = topology, seed
        self._store, self._log = folder / "store", folder / "acknowledged.txt"
        port = free_port()
        self._headgate = headgate(self._store, folder, port=port)
        self._compactor = compactor(self._store, folder)
        self._way: Way = TOPOLOGIES[topology](folder, port)
        self._senders: dict[int, Part] = {}
        self._generation = 0
        self.faults: dict[str, int] = {}

    @property
    def acknowledged(self) -> list[int]:
        """The numbers of the requests that were acknowledged."""
        return [int(line) for line in self._log.read_text().split()] if self._log.exists() else []

    def run(self, victims: Sequence[str], faults: int) -> Outcome:
        """Start all, do the faults, let it settle, count."""
        began = time.monotonic()
        with self._running():
            for _ in range(TRIES * faults):
                if sum(self.faults.values()) < faults:
                    self._strike(self._chance.choice(victims))
            self._settle()
            self._compactor.kill()
            for part in self._way.parts:
                part.stop()
            code = self._headgate.stop()
        found, acknowledged = numbered.stored(self._store), self.acknowledged
        return Outcome(
            topology=self._topology,
            seed=self._seed,
            faults=self.faults,
            acknowledged=len(acknowledged) * numbered.RECORDS,
            missing=len(numbered.missing(acknowledged, found)),
            doubled=len(numbered.doubled(found)),
            exit_code=code,
            duration_s=round(time.monotonic() - began, 1),
        )

    @contextmanager
    def _running(self) -> Iterator[None]:
        try:
            self._headgate.start()
            for part in self._way.parts:
                part.start()
            for number in range(SENDERS):
                self._send(number)
            self._compactor.start()
            yield
        finally:
            for part in (*self._senders.values(), self._compactor, *self._way.parts, self._headgate):
                part.kill()

    def _send(self, number: int) -> None:
        """Start a sender with numbers that no earlier one had."""
        self._generation += 1
        self._senders[number] = sender(
            number,
            SENDERS,
            self._way.address,
            self._log,
            self._folder,
            first=self._generation * 1_000_000,
            pause_s=self._pause_s,
        )
        self._senders[number].start()

    def _strike(self, victim: str) -> None:
        """Let it work for a while, then kill one victim, and start it again if nobody else does."""
        self._work(self._chance.uniform(*BETWEEN_S))
        if self._kill(victim):
            self.faults[victim] = self.faults.get(victim, 0) + 1

    def _kill(self, victim: str) -> bool:
        if victim in MEMBERS:
            return self._headgate.kill_member(MEMBERS[victim], self._chance.randrange(1000))
        if victim == "compactor":
            return self._compactor.kill_member(COMPACTOR, 0)
        if victim == "sender":
            number = self._chance.randrange(SENDERS)
            self._senders[number].kill()
            self._send(number)
            return True
        if victim == "collector":
            return bool(self._way.parts) and self._restart(self._chance.choice(self._way.parts))
        if victim == "collector_while_headgate_is_down":
            self._headgate.kill()
            hit = bool(self._way.parts) and self._restart(self._chance.choice(self._way.parts))
            self._headgate.start()
            return hit
        return self._restart(self._headgate)

    def _restart(self, part: Part) -> bool:
        part.kill()
        time.sleep(self._chance.uniform(0, DOWN_S_MAX))
        part.start()
        return True

    def _work(self, seconds: float) -> None:
        """Wait that long, and until something was acknowledged meanwhile, so that every fault meets a load."""
        before, deadline = len(self.acknowledged), time.monotonic() + SETTLE_S
        time.sleep(seconds)
        while len(self.acknowledged) == before:
            if time.monotonic() > deadline or not all(part.runs for part in self._senders.values()):
                raise RuntimeError(f"nothing was acknowledged for {SETTLE_S:g} s: see the logs in {self._folder}")
            time.sleep(LOOK_EVERY_S / 5)

    def _settle(self) -> None:
        """End the senders, then wait until all that was acknowledged is there, or it has been long enough."""
        for part in self._senders.values():
            part.stop(signals=2)
        acknowledged, deadline = self.acknowledged, time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            if not numbered.missing(acknowledged, self._stored()) and self._way.is_empty():
                return
            time.sleep(LOOK_EVERY_S)

    def _stored(self) -> Counter[str]:
        """What the views have; nothing while they cannot be asked, for compaction may have replaced what they read."""
        try:
            return numbered.stored(self._store)
        except (HeadgateError, duckdb.Error):
            return Counter()


def trials(arguments: argparse.Namespace, say: Callable[[str], None]) -> Iterator[Outcome]:
    """Every seed in a folder of its own; the folder of one that does not hold is kept."""
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        folder = Path(tempfile.mkdtemp(prefix=f"headgate-faults-{arguments.topology}-{seed}-"))
        outcome = Trial(folder, arguments.topology, seed, arguments.pause).run(arguments.victims, arguments.faults)
        say(f"{'holds' if outcome.holds else 'DOES NOT HOLD'}: {asdict(outcome)}")
        if outcome.holds:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            say(f"kept: {folder}")
        yield outcome


def main() -> None:
    """Run the seeds, print what they showed as JSON; exit code 1 when one does not hold.

    Told to end, it ends what it started first.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topology", choices=sorted(TOPOLOGIES), default="direct")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--faults", type=int, default=12, help="how many in each seed")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds that a sender waits between requests")
    every = [*VICTIMS, *COLLECTOR_VICTIMS]
    parser.add_argument("--victims", nargs="+", choices=every, help="what is killed; everything there is if left out")
    arguments = parser.parse_args()
    if arguments.victims is None:
        arguments.victims = VICTIMS if arguments.topology == "direct" else every
    outcomes = list(trials(arguments, lambda text: print(text, file=sys.stderr)))
    print(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    sys.exit(not all(outcome.holds for outcome in outcomes))


if __name__ == "__main__":
    main()
