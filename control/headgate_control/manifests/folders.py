"""The folders that files lie in, as few as hold them all without granting more than needed."""

from collections.abc import Iterable

from headgate_control.manifests.globs import PATTERN_CHARS_MAX, settled_path

FOLDERS_MAX = 20


def folders(paths: Iterable[str]) -> list[str]:
    """The folders of `paths`, none below another; past 20 the deepest ones become the folder above them.

    A file directly below `/` stands for itself. Paths that lead out of where they begin are in none.
    """
    found = {_folder(settled) for path in paths if (settled := settled_path(path)) is not None}
    kept = _highest(found)
    while len(kept) > FOLDERS_MAX:
        deepest = max(one.count("/") for one in kept)
        above = {_above(one) if one.count("/") == deepest else one for one in kept}
        if above == set(kept):
            break
        kept = _highest(above)
    return [one.removeprefix("./") for one in kept]


def _folder(settled: str) -> str:
    above = settled.rpartition("/")[0] or settled
    while len(above) > PATTERN_CHARS_MAX:
        above = _above(above)
    return above


def _above(folder: str) -> str:
    """The folder above; what lies directly below `/` or is the workspace itself stays."""
    return folder.rpartition("/")[0] or folder


def _highest(found: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for one in sorted(found, key=lambda folder: (folder.count("/"), folder)):
        if not any(one == above or one.startswith(above + "/") for above in kept):
            kept.append(one)
    return sorted(kept)
