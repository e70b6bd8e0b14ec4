"""`headgate compact`: few large files out of many small ones."""

from typing import Any

import typer

from headgate_console.cli.options import Data, Json, examples, settings
from headgate_console.cli.screen import screen
from headgate_console.render.numbers import duration, plural, size

EXAMPLES = """
    headgate compact
    headgate compact --data /var/lib/headgate --json
"""


def compact(context: typer.Context, data: Data = None, as_json: Json = False) -> None:
    """Merge small files, remove repeats, old revisions, what retention keeps no longer, and what was forgotten.

    `headgate up` does this by itself; both may run at once.
    """
    from dataclasses import asdict

    from headgate_console.wiring import reserve, retention
    from headgate_processors.store import CompactConfig
    from headgate_processors.store import compact as compact_store

    chosen = settings(context, data=data)
    config = CompactConfig(disk_free_min=reserve(chosen), retention=retention(chosen))
    report = asdict(compact_store(chosen.data, config=config))
    if as_json:
        screen().json([report])
    else:
        screen().show(_lines(report))


def _lines(report: dict[str, Any]) -> list[str]:
    before = f"{plural(report['files_before'], 'file')} ({size(report['bytes_before'])})"
    after = f"{report['files_after']:,} ({size(report['bytes_after'])})"
    rewritten = f"{plural(report['rewritten_rows'], 'row')} rewritten"
    dropped = f"{report['dropped_rows']:,} repeats and old revisions dropped"
    lines = [
        f"{before} are now {after}, in {duration(round(report['duration_s'] * 1e9))}.",
        f"{rewritten}, {dropped}, {plural(report['deleted_files'], 'replaced file')} deleted.",
    ]
    if report["adopted_segments"]:
        lines.append(f"{plural(report['adopted_segments'], 'segment')} of writers that are gone sealed.")
    if report["expired_rows"]:
        lines.append(f"{plural(report['expired_rows'], 'row')} older than retention keeps, removed.")
    if report["set_aside_files"]:
        lines.append(f"{plural(report['set_aside_files'], 'damaged file')} set aside: headgate store check.")
    if report["postponed_files"]:
        lines.append(f"{plural(report['postponed_files'], 'file')} left as they are: the disk is nearly full.")
    return lines


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compact", epilog=examples(EXAMPLES))(compact)
