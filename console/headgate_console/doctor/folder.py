"""The examination of the folder itself: live files, what waits to be sealed, what was refused."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headgate_analytics.derive import PROGRESS, RAW
from headgate_console.doctor.finding import Finding, Level
from headgate_console.render.numbers import ago, plural, size
from headgate_processors.receiver.dead_letters import read_dead_letters
from headgate_processors.store.check import glance
from headgate_processors.store.disk import Disk, LocalDisk
from headgate_processors.store.folder import open_folder
from headgate_processors.store.manifest import read_manifest
from headgate_processors.store.watermark import Reserve, Watermark

UNSEALED_FOR_LONG = timedelta(minutes=5)
FILES_MANY = 2000
DEAD_LETTERS = "dead-letters"
REASONS_MAX = 5


def examine_folder(root: Path, *, now: datetime) -> list[Finding]:
    """Every check of the folder.

    Raises:
        StoreError: it holds no store, or it is newer or damaged.
    """
    return [*_files(root), *_damage(root), *_unsealed(root, now), *_dead_letters(root)]


def derived_behind(root: Path) -> str | None:
    """What derived tables do not know yet, as a sentence; None when they are current."""
    manifest = read_manifest(root)
    try:
        progress = json.loads((root / PROGRESS).read_bytes())
        version, epoch = int(progress["version"]), int(progress.get("epoch", 0))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        version = epoch = 0
    newer = [file for file in manifest.files if file.dataset in RAW and file.live_version > version]
    if manifest.derived_epoch > epoch:
        return "Derived rows were lost: sessions, calls and timelines are to be derived again."
    if newer:
        return f"{plural(sum(file.rows for file in newer), 'raw row')} in no session, call or timeline yet."
    return None


def _files(root: Path) -> Iterator[Finding]:
    files = read_manifest(open_folder(root).root).files
    by_dataset: Counter[str] = Counter()
    for file in files:
        by_dataset[file.dataset] += 1
    many = len(files) > FILES_MANY
    yield Finding(
        topic="store",
        level=Level.NOTE if many else Level.OK,
        text=f"{root}: {plural(len(files), 'live file')}, {size(sum(file.bytes for file in files))}.",
        next_step="Merge them: headgate compact" if many else "",
        rows=tuple({"dataset": name, "files": number} for name, number in sorted(by_dataset.items())),
    )


def _damage(root: Path) -> Iterator[Finding]:
    manifest = read_manifest(root)
    found = [str(damage) for damage in glance(root, manifest)]
    set_aside = [
        f"{one.file.path}: {one.reason}; {plural(one.file.rows, 'row')} of {one.file.dataset}"
        for one in manifest.damaged
    ]
    if found or set_aside:
        yield Finding(
            topic="damage",
            level=Level.WARNING,
            text=f"{plural(len(found) + len(set_aside), 'file')} damaged; all queries go on without them.",
            next_step="Put them back from a copy, then: headgate store repair. All of it: headgate store check --deep",
            details=(*found, *set_aside),
        )


def examine_disk(root: Path, reserve: Reserve, *, disk: Disk | None = None) -> list[Finding]:
    """Whether requests are refused because the disk is too full."""
    waiting = sum(path.stat().st_size for path in open_folder(root).segments.glob("*.seg"))
    lack = Watermark(root=root, disk=disk or LocalDisk(), reserve=reserve).lacks(waiting)
    if lack is None:
        return []
    return [
        Finding(
            topic="disk",
            level=Level.WARNING,
            text=f"Requests are refused, and senders told to come back: {lack}.",
            next_step="Make room; it goes on by itself. What to delete: docs/guides/operate-the-store.md",
        )
    ]


def _unsealed(root: Path, now: datetime) -> Iterator[Finding]:
    waiting = [path.stat() for path in open_folder(root).segments.glob("*.seg")]
    if not waiting:
        return
    oldest = datetime.fromtimestamp(min(stat.st_mtime for stat in waiting), UTC)
    stuck = now - oldest > UNSEALED_FOR_LONG
    yield Finding(
        topic="segments",
        level=Level.WARNING if stuck else Level.OK,
        text=f"{plural(len(waiting), 'segment')}, {size(sum(stat.st_size for stat in waiting))}, wait to be sealed;"
        f" the oldest was written {ago(oldest, now)}.",
        next_step="Nothing is lost. Start `headgate up` on this folder and it seals them." if stuck else "",
    )


def _dead_letters(root: Path) -> Iterator[Finding]:
    reasons = Counter((letter.signal.value, letter.reason) for letter in read_dead_letters(root / DEAD_LETTERS))
    if reasons:
        yield Finding(
            topic="dead letters",
            level=Level.WARNING,
            text=f"{plural(reasons.total(), 'refusal')} kept as they came, unredacted, in {root / DEAD_LETTERS}.",
            next_step="Mend the sender; the files hold the bytes and the reason of each.",
            details=tuple(
                f"{plural(number, 'time')} {reason} in {signal}"
                for (signal, reason), number in reasons.most_common(REASONS_MAX)
            ),
            rows=tuple(
                {"signal": signal, "reason": reason, "refusals": number}
                for (signal, reason), number in reasons.most_common()
            ),
        )
