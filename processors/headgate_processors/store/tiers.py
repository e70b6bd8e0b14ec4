"""Which files to merge: neighbours in size, so that a row is rewritten a few times in its life, not every minute."""

from collections.abc import Callable, Iterator, Sequence

from headgate_processors.store.manifest import LiveFile

_SMALL_BYTES = 1 << 17


def runs(
    files: Sequence[LiveFile], *, files_min: int, bytes_max: int, rows_max: int, full: bool
) -> list[tuple[LiveFile, ...]]:
    """Groups of files worth merging, each at most `bytes_max` and `rows_max` together.

    Only files smaller than `bytes_max` count. Unless `full`, a file that is larger than all smaller ones together
    ends its group, so that a large file waits until as much again has gathered beside it. A group that the next
    would overfill is worth it when it has two files, any other when it has `files_min`.
    """
    small = sorted((file for file in files if file.bytes < bytes_max), key=lambda file: (file.bytes, file.path))
    found: list[tuple[LiveFile, ...]] = []
    run: list[LiveFile] = []
    run_bytes = run_rows = 0
    for file in small:
        too_much = run_bytes + file.bytes > bytes_max or run_rows + file.rows > rows_max
        uneven = not full and file.bytes > max(run_bytes, _SMALL_BYTES)
        if run and (too_much or uneven):
            is_filled = too_much and not uneven
            if len(run) >= (min(2, files_min) if is_filled else files_min):
                found.append(tuple(run))
            run, run_bytes, run_rows = [], 0, 0
        run.append(file)
        run_bytes, run_rows = run_bytes + file.bytes, run_rows + file.rows
    return [*found, tuple(run)] if len(run) >= files_min else found


def chunks(files: Sequence[LiveFile], *, bytes_max: int, rows_max: int) -> list[tuple[LiveFile, ...]]:
    """All files, oldest first, in groups of at most `bytes_max` and `rows_max` together, or of one that is larger."""
    found: list[tuple[LiveFile, ...]] = []
    run: list[LiveFile] = []
    for file in sorted(files, key=lambda file: (file.live_version, file.path)):
        grown = [*run, file]
        if run and (sum(one.bytes for one in grown) > bytes_max or sum(one.rows for one in grown) > rows_max):
            found.append(tuple(run))
            grown = [file]
        run = grown
    return [*found, tuple(run)] if run else found


def within(
    files: Sequence[LiveFile], *, size_of: Callable[[LiveFile], int], bytes_max: int
) -> Iterator[tuple[LiveFile, ...]]:
    """All files as they stand, in groups that are `bytes_max` together at most, or of one file that is more."""
    group: list[LiveFile] = []
    held = 0
    for file in files:
        size = size_of(file)
        if group and held + size > bytes_max:
            yield tuple(group)
            group, held = [], 0
        group.append(file)
        held += size
    if group:
        yield tuple(group)
