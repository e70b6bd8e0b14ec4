"""The files of the configurations: where they are, what is in them, which variables they read."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from headgate_console.collector.catalogue import Selection
from headgate_console.collector.variables import DESCRIPTIONS
from headgate_processors.errors import ConfigError

PACKAGED = Path(__file__).parent / "configurations"
REPOSITORY = Path(__file__).parents[3] / "collector-config"
_VARIABLE = re.compile(r"\$\{env:(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """An environment variable that a configuration reads; without a default it must be set."""

    name: str
    default: str | None
    about: str


def folder() -> Path:
    """Where the files are: within the installed package, or in the checkout that it runs from.

    Raises:
        ConfigError: they are in neither place.
    """
    for place in (PACKAGED, REPOSITORY):
        if (place / "local.yaml").is_file():
            return place
    message = f"The Collector's configurations are missing: expected in {PACKAGED}. Install Headgate again."
    raise ConfigError(message)


def paths(selection: Selection) -> tuple[Path, ...]:
    """Its files, in the order in which a Collector merges them."""
    return tuple(folder() / name for name in selection.files)


def text(selection: Selection) -> str:
    """One file that says what the selection says: as it was written, or with an overlay merged into it."""
    base, *overlays = (path.read_text(encoding="utf-8") for path in paths(selection))
    if not overlays:
        return base
    merged = yaml.safe_load(base)
    for overlay in overlays:
        merged = _merged(merged, yaml.safe_load(overlay))
    head = f"# {' + '.join(selection.files)}, merged by `headgate collector config`. The files say why.\n"
    return head + yaml.dump(merged, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)


def variables(selection: Selection) -> tuple[Variable, ...]:
    """What the files read from the environment, in the order of the reference."""
    found: dict[str, str | None] = {}
    for path in paths(selection):
        for match in _VARIABLE.finditer(path.read_text(encoding="utf-8")):
            name, default = match["name"], match["default"]
            found[name] = default if found.get(name) is None else found[name]
    return tuple(
        Variable(name=name, default=found[name], about=about) for name, about in DESCRIPTIONS.items() if name in found
    )


def missing(selection: Selection, environment: Mapping[str, str]) -> tuple[Variable, ...]:
    """The variables that must be set and are not."""
    return tuple(
        variable for variable in variables(selection) if variable.default is None and not environment.get(variable.name)
    )


def needs(selection: Selection, absent: Iterable[Variable]) -> str:
    """A sentence that says what to set."""
    lines = "".join(f"\n  {variable.name}  {variable.about}" for variable in absent)
    return f"{selection.label} needs these variables:{lines}"


class _Dumper(yaml.SafeDumper):
    """Writes every value out, where a file used an anchor."""

    def ignore_aliases(self, _data: Any) -> bool:
        """Never."""
        return True


def _merged(base: Any, overlay: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(overlay, dict):
        return overlay
    return base | {key: _merged(base.get(key), value) for key, value in overlay.items()}
