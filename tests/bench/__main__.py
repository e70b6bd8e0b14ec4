"""`make bench`: what Headgate costs and bears on this machine, next to the least that it could cost.

    python tests/bench [--seconds S] [--spans N] [--full] [--no-write]

Prints tables and writes docs/reference/performance.md, unless --no-write says otherwise. Nothing here asserts a time.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from decisions import DECISIONS_MAX, measure_decisions
from figures import Section, markdown, plain
from fleet import ROOT
from gateway import measure_gateway
from loads import described, encoded
from machine import machine
from parts import measure_parts
from questions import measure_questions
from stops import measure_stops
from sustained import Run, bare_cpu, has_collector, run_once, shown_run, shown_sinks

PAGE = ROOT / "docs" / "reference" / "performance.md"
PARTS_SPANS = 20_000
SINK_S = 5.0
STOPS, STOPS_FULL = 30, 200
EVERY = "parts,sinks,runs,questions,decisions,gateway,stops"
HEAD = """\
# Performance

What Headgate costs and bears, measured by `make bench` next to the least that the same thing could cost on the same
machine in the same run. Figures of other machines differ, and so do those of a machine that does other work; the
ratios to the baselines differ less. [Size a machine](../guides/size-a-machine.md) says what follows from them.

"""


def main() -> None:
    """Measure, print and write."""
    chosen = _arguments()
    with tempfile.TemporaryDirectory(prefix="headgate-bench-", dir=chosen.folder) as place:
        about = machine(Path(place))
        print("\n".join(f"{name:<12} {value}" for name, value in about.items()), flush=True)
        sections = []
        for section in _sections(chosen, Path(place)):
            print(plain(section), flush=True)
            sections.append(section)
    if chosen.write:
        chosen.page.write_text(_page(about, chosen, sections), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each run under load takes")
    parser.add_argument("--spans", type=int, default=200_000, help="how many spans questions are asked of")
    parser.add_argument("--rate", type=float, default=10_000.0, help="spans a second of the run that is held back")
    parser.add_argument("--requests", type=int, default=5_000, help="how many go through the model gateway")
    parser.add_argument(
        "--full", action="store_true", help="ten minutes under load, ten million spans, 100,000 requests, 200 stops"
    )
    parser.add_argument("--only", default=EVERY, help="some of these, with commas")
    parser.add_argument("--runs", default="full,paced,underived,sdk,collector", help="some of these, with commas")
    parser.add_argument("--store", type=Path, default=None, help="a store filled before, to ask the questions of")
    parser.add_argument("--folder", type=Path, default=None, help="where to work; the system's temporary folder")
    parser.add_argument("--write", action=argparse.BooleanOptionalAction, default=True, help="write the page")
    parser.add_argument("--page", type=Path, default=PAGE, help="which page to write")
    chosen = parser.parse_args()
    if chosen.full:
        chosen.seconds, chosen.spans, chosen.requests = 600.0, 10_000_000, 100_000
    return chosen


def _sections(chosen: argparse.Namespace, folder: Path) -> Iterator[Section]:
    only = set(chosen.only.split(","))
    if "parts" in only:
        load = encoded(min(PARTS_SPANS, chosen.spans), request_records=None)
        parts, content_share = measure_parts(load, folder)
        yield described(load, content_share)
        yield parts
    rates: dict[bool, float] = {}
    if "sinks" in only:
        seconds = min(SINK_S, chosen.seconds)
        sinks = {
            (kind, is_sdk): bare_cpu(kind, is_sdk=is_sdk, seconds=seconds, folder=folder)
            for kind in ("bare", "ours")
            for is_sdk in (False, True)
        }
        rates = {is_sdk: sinks["bare", is_sdk].rate for is_sdk in (False, True)}
        yield shown_sinks(sinks)
    if "runs" in only:
        for run in _runs(chosen):
            yield shown_run(run_once(run, folder), rates.get(run.is_sdk))
    if "questions" in only:
        yield measure_questions(chosen.spans, folder, over="30 d" if chosen.full else "1 d", store=chosen.store)
    yield from _control(only, chosen, folder)


def _control(only: AbstractSet[str], chosen: argparse.Namespace, folder: Path) -> Iterator[Section]:
    """Decisions, the model gateway, stops."""
    if "decisions" in only:
        yield measure_decisions(min(DECISIONS_MAX, 4 * chosen.requests), folder)
    if "gateway" in only:
        yield from measure_gateway(chosen.requests, folder)
    if "stops" in only:
        yield measure_stops(STOPS_FULL if chosen.full else min(STOPS, chosen.requests // 10), folder)


def _runs(chosen: argparse.Namespace) -> Iterator[Run]:
    """The long run first; the others tell what makes a difference, and a minute each is enough for them."""
    short = min(chosen.seconds, 60.0)
    runs = [
        Run(name="full", seconds=chosen.seconds),
        Run(name="paced", seconds=short, rate=chosen.rate),
        Run(name="underived", seconds=short, is_derived=False),
        Run(name="sdk", seconds=short, is_sdk=True),
        Run(name="collector", seconds=short, through_collector=True),
    ]
    for run in runs:
        if run.through_collector and not has_collector():
            sys.stderr.write("without the Collector, which `make collector` builds\n")
        elif run.name in chosen.runs.split(","):
            yield run


def _page(about: dict[str, str], chosen: argparse.Namespace, sections: list[Section]) -> str:
    size = f"--seconds {chosen.seconds:g} --spans {chosen.spans}"
    command = f'make bench ARGS="{"--full" if chosen.full else size}"'
    rows = "\n".join(f"| {name} | {value} |" for name, value in {**about, "command": f"`{command}`"}.items())
    told = "\n".join(markdown(section) for section in sections)
    return f"{HEAD}## The machine\n\n| | |\n| --- | --- |\n{rows}\n\n{told}"


if __name__ == "__main__":
    main()
