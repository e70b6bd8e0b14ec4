"""The starter bundle: read from the package, and written out for a site to begin with."""

from importlib import resources
from importlib.abc import Traversable
from pathlib import Path

from headgate_control.policy.bundle import Bundle, bundle_of
from headgate_processors.errors import ConfigError

FILES = ("manifest-rules.cedar", "tests/manifest-rules.yaml")


def starter_bundle() -> Bundle:
    """The bundle for a site without `policy.dir`."""
    return bundle_of({name: _packaged(name) for name in FILES if name.endswith(".cedar")})


def write_starter(folder: Path) -> list[Path]:
    """Write the bundle and its cases into a folder, which is made where it is missing.

    Raises:
        ConfigError: a file is there already; nothing is written then.
        OSError: the folder cannot be written.
    """
    paths = [folder / name for name in FILES]
    there = next((path for path in (*paths, *folder.glob("*.cedar")) if path.exists()), None)
    if there is not None:
        message = f"{there} is there already: give a folder without policies"
        raise ConfigError(message)
    for name, path in zip(FILES, paths, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_packaged(name), encoding="utf-8")
    return paths


def _packaged(name: str) -> str:
    found: Traversable = resources.files("headgate_control.policy.starter")
    return found.joinpath(*name.split("/")).read_text(encoding="utf-8")
