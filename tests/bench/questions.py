"""How long questions take at some million spans, and rebuilding everything that is derived."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from figures import Figure, Section
from processes import Watch

from headgate_console.queries.opening import open_views
from headgate_console.settings import load_settings

CACHES = Path("/proc/sys/vm/drop_caches")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What one command took; `rss_bytes` is the most that it used."""

    seconds: float
    rss_bytes: int
    cpu_s: float


def measure_questions(spans: int, folder: Path, *, over: str, store: Path | None = None) -> Section:
    """Fill a store, build everything that is derived, and ask what an operator asks, cold and warm.

    A `store` that was filled before is taken as it is.
    """
    data = store or folder / "questions"
    filled = None
    if store is None:
        filled = _run(["generate", "--spans", str(spans), "--over", over, "--no-derive", "--data", str(data)])
    rebuilt = _run(["derive", "--full", "--data", str(data)])
    with open_views(load_settings({"data": data}).settings) as views:
        row = views.execute("SELECT count(*) FROM spans").fetchone()
        found = views.execute("SELECT session_id FROM sessions ORDER BY tool_call_count DESC LIMIT 1").fetchone()
    assert row is not None
    assert found is not None
    figures = []
    if filled is not None:
        figures.append(Figure(what="filling the store", value=filled.seconds, unit="s", note=f"{row[0]:,} spans"))
    figures += [
        Figure(what="size on disk", value=_size(data) / row[0], unit="bytes/span"),
        Figure(
            what="rebuild of all derived tables",
            value=rebuilt.seconds,
            unit="s",
            note=f"{rebuilt.rss_bytes / 2**20:,.0f} MiB at most, {rebuilt.cpu_s:,.0f} s of CPU",
        ),
    ]
    questions = {
        "sessions that run": ["sessions", "--state", "running"],
        "timeline of one session": ["session", str(found[0])],
        "cost by workflow": ["cost", "--by", "workflow"],
        "search in the ledger": ["ledger", "--search", "calc"],
    }
    for what, arguments in questions.items():
        is_cold = _drop_caches()
        first = _run([*arguments, "--data", str(data)])
        again = min((_run([*arguments, "--data", str(data)]) for _ in range(2)), key=lambda one: one.seconds)
        cold = "after dropping the page cache" if is_cold else "the page cache could not be dropped"
        figures += [
            Figure(what=f"{what}, cold", value=first.seconds, unit="s", note=cold),
            Figure(what=f"{what}, warm", value=again.seconds, unit="s", note=f"{again.rss_bytes / 2**20:,.0f} MiB"),
        ]
    return Section(
        title=f"Questions at {row[0] / 1e6:,.2g} million spans",
        text=(
            f"A store filled by `headgate generate --data` with sessions over {over}. Each question is the command "
            "that an operator types, the start of Python included; warm is the better of two."
        ),
        figures=figures,
    )


def _run(arguments: Sequence[str]) -> Command:
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "headgate_console", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    with Watch([process.pid]) as watch:
        _, errors = process.communicate()
        seconds = time.monotonic() - began
    if process.returncode:
        message = f"headgate {' '.join(arguments)} ended with {process.returncode}: {errors.decode()[-2000:]}"
        raise RuntimeError(message)
    most = max(sum(one.values()) for one in watch.rss_bytes)
    return Command(seconds=seconds, rss_bytes=most, cpu_s=sum(watch.cpu_s.values()))


def _drop_caches() -> bool:
    """Let the next question read from disk; only root may."""
    os.sync()
    try:
        CACHES.write_text("3", encoding="ascii")
    except OSError:
        return False
    return True


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))
