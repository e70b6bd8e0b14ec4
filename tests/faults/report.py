"""Runs every fault plan and the fuzzer, and writes what they showed as a page.

    python tests/faults/report.py --out docs/reference/reliability.md
    python tests/faults/report.py --share 0.1

Without --out it prints the page.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = """# Reliability

What `make faults` showed: parts of the way from an agent to the store are killed at random, requests are mutated, and
afterwards every record that a sender was told is safe is looked for in the views. This page is written by the command.

{machine}

| What is done | How often | Records acknowledged | Missing | There twice | Minutes |
| --- | ---: | ---: | ---: | ---: | ---: |
{plans}

| Mutated | Inputs | Refused whole | Records received | Stored | Known already | Refused | Minutes |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{fuzzed}

Each line again, by itself:

{commands}

`tests/faults/test_faults.py` runs about a tenth of it with every change.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One line: a script with its arguments, of which `counted` is how much of it is done."""

    what: str
    script: str
    arguments: Sequence[str]
    counted: str
    full: int

    def command(self, share: float) -> list[str]:
        """The arguments for a share of the whole."""
        return [self.script, *self.arguments, self.counted, str(max(1, round(self.full * share)))]


KILLS = (
    Plan(
        what="Sender, receiver, worker, compactor, deriver, supervisor killed; no Collector; seeds of 12 kills",
        script="kill.py",
        arguments=["--topology", "direct"],
        counted="--seeds",
        full=20,
    ),
    Plan(
        what="The same and the Collector, through `local.yaml`",
        script="kill.py",
        arguments=["--topology", "local"],
        counted="--seeds",
        full=20,
    ),
    Plan(
        what="The same and either Collector, through `agent.yaml` and `gateway.yaml`",
        script="kill.py",
        arguments=["--topology", "chain"],
        counted="--seeds",
        full=20,
    ),
    Plan(
        what="`kill -9` of the receiver under full load",
        script="kill.py",
        arguments=["--topology", "direct", "--victims", "receiver", "--pause", "0"],
        counted="--faults",
        full=200,
    ),
)
FUZZED = (
    Plan(what="Protobuf", script="fuzz.py", arguments=["protobuf"], counted="--runs", full=1_000_000),
    Plan(what="JSON", script="fuzz.py", arguments=["json"], counted="--runs", full=10_000),
)


def run(command: Sequence[str]) -> tuple[Any, float]:
    """What a script prints, and how many minutes it takes.

    Raises:
        SystemExit: what it was to show does not hold.
    """
    print(" ".join(command), file=sys.stderr)
    began = time.monotonic()
    ended = subprocess.run([sys.executable, *_here(command)], stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        sys.exit(f"it does not hold:\n{ended.stdout}")
    return json.loads(ended.stdout), (time.monotonic() - began) / 60


def kill_line(plan: Plan, command: Sequence[str]) -> str:
    """A line of the first table."""
    outcomes, minutes = run(command)
    kills = sum(sum(outcome["faults"].values()) for outcome in outcomes)
    acknowledged, missing, doubled = (
        sum(outcome[name] for outcome in outcomes) for name in ("acknowledged", "missing", "doubled")
    )
    times = f"{len(outcomes)} seeds, {kills} kills" if len(outcomes) > 1 else f"{kills} kills"
    return f"| {plan.what} | {times} | {acknowledged:,} | {missing} | {doubled} | {minutes:.1f} |"


def fuzz_line(plan: Plan, command: Sequence[str]) -> str:
    """A line of the second table."""
    tally, minutes = run(command)
    counts = (tally[name] for name in ("runs", "requests_refused", "received", "stored", "known", "refused"))
    return f"| {plan.what} | {' | '.join(f'{count:,}' for count in counts)} | {minutes:.1f} |"


def machine() -> str:
    """What it ran on, and when."""
    day = datetime.now(UTC).date().isoformat()
    return (
        f"{day}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}."
    )


def _here(command: Sequence[str]) -> list[str]:
    return [str(HERE / command[0]), *command[1:]]


def main() -> None:
    """Run everything, then write the page or print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="how much of it, 1 is all")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    kills = [kill_line(plan, plan.command(arguments.share)) for plan in KILLS]
    fuzzed = [fuzz_line(plan, plan.command(arguments.share)) for plan in FUZZED]
    commands = [f"    python tests/faults/{' '.join(plan.command(arguments.share))}" for plan in (*KILLS, *FUZZED)]
    page = PAGE.format(
        machine=machine(), plans="\n".join(kills), fuzzed="\n".join(fuzzed), commands="\n".join(commands)
    )
    if arguments.out is None:
        print(page)
    else:
        arguments.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
