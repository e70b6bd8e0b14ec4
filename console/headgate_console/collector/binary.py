"""Where the Collector's program is, and how to get one."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from headgate_console.collector.variables import BINARY
from headgate_console.errors import CommandError
from headgate_processors.errors import ConfigError

BUILT = Path("build") / "collector" / "headgate-collector"
NAMES = ("headgate-collector", "otelcol-contrib")
CHECK_S_MAX = 60.0
_CHECKOUT = Path(__file__).parents[3]
HOW = (
    "There is no Collector here. Build one in a checkout of Headgate: make collector (needs Go). Or put otelcol-contrib"
    " 0.158 on the PATH: https://github.com/open-telemetry/opentelemetry-collector-releases/releases."
    f" Or name one: {BINARY}=/path/to/it"
)


def find_binary(environment: Mapping[str, str]) -> Path:
    """The program: what the environment names, what `make collector` built, what is on the PATH.

    Raises:
        ConfigError: the environment names none that can be run.
        CommandError: there is none; the message says how to get one.
    """
    named = environment.get(BINARY)
    if named:
        found = shutil.which(named, path=environment.get("PATH"))
        if found is None:
            message = f"{BINARY}: {named} is no program that can be run. Name another, or leave it out."
            raise ConfigError(message)
        return Path(found)
    for path in _places(environment):
        if os.access(path, os.X_OK) and path.is_file():
            return path.resolve()
    raise CommandError(HOW)


def _places(environment: Mapping[str, str]) -> Iterator[Path]:
    yield BUILT
    yield _CHECKOUT / BUILT
    for name in NAMES:
        found = shutil.which(name, path=environment.get("PATH"))
        if found:
            yield Path(found)


def check(binary: Path, files: tuple[Path, ...], environment: Mapping[str, str]) -> str:
    """What the Collector has against these files; empty when nothing.

    Raises:
        CommandError: it cannot be run, or does not end.
    """
    try:
        done = subprocess.run(  # noqa: S603 - our own program and files, no shell
            [str(binary), "validate", *arguments(files)],
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=CHECK_S_MAX,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"{binary} could not check the configuration: {error}"
        raise CommandError(message) from error
    if done.returncode == 0:
        return ""
    said = done.stderr.strip() or done.stdout.strip() or f"it ended with {done.returncode}"
    return said.removeprefix("Error: ")


def arguments(files: tuple[Path, ...]) -> list[str]:
    """The flags that name the files."""
    return [part for file in files for part in ("--config", str(file))]
