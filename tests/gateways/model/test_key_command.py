"""A provider's key that a command prints."""

import shlex
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from headgate_gateways.model.key_command import AGAIN_S, KEPT_MAX_S, KEPT_S, KeyCommand
from headgate_gateways.model.provider_keys import key_source
from headgate_processors.errors import ConfigError, TransientError


def python(code: str, *more: str) -> str:
    """A command line that runs some Python."""
    return shlex.join([sys.executable, "-c", code, *more])


def printing(path: Path) -> str:
    """One that prints a file, and fails where there is none."""
    return python("import sys; print(open(sys.argv[1]).read())", str(path))


def settled() -> None:
    """Wait for commands that run beside."""
    for thread in threading.enumerate():
        if thread.name == "provider-key":
            thread.join(timeout=10)


def test_the_key_is_what_the_command_prints_without_a_shell() -> None:
    """Blanks and the end of the line are none of it, and `$HOME` is three words."""
    line = python("import sys; print(' sk-1 ' + sys.argv[1])", "$HOME")
    assert "sk-1 $HOME" == key_source(f"command:{line}")()


def test_it_is_asked_again_beside_the_calls_that_go_on(tmp_path: Path) -> None:
    """With the old key until the new one is there, and not before its time."""
    (tmp_path / "key").write_text("old")
    now = 0.0
    command = KeyCommand(printing(tmp_path / "key"), clock=lambda: now)
    (tmp_path / "key").write_text("new")
    now, seen = KEPT_S - 1, [command()]
    settled()
    now = KEPT_S
    seen.append(command())
    settled()
    assert ["old", "old", "new"] == [*seen, command()]


def test_where_the_command_fails_the_key_is_good_for_an_hour(tmp_path: Path) -> None:
    """Then there is none, until it gives one again."""
    (tmp_path / "key").write_text("sk-1")
    now = 0.0
    command = KeyCommand(printing(tmp_path / "key"), clock=lambda: now)
    (tmp_path / "key").unlink()
    now = KEPT_MAX_S
    seen = [command()]
    settled()
    now = KEPT_MAX_S + AGAIN_S
    with pytest.raises(TransientError, match="gives none"):
        command()
    settled()
    (tmp_path / "key").write_text("sk-2")
    now += AGAIN_S
    with pytest.raises(TransientError):
        command()
    settled()
    assert ["sk-1", "sk-2"] == [*seen, command()]


def test_a_command_that_prints_nothing_takes_no_key_away(tmp_path: Path) -> None:
    """It may do so without an error, as where a secret manager is locked."""
    (tmp_path / "key").write_text("sk-1")
    now = 0.0
    command = KeyCommand(printing(tmp_path / "key"), clock=lambda: now)
    (tmp_path / "key").write_text("\n")
    now = KEPT_S
    command()
    settled()
    assert "sk-1" == command()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (python("raise SystemExit(3)"), "ended with 3"),
        (python("print('x' * 10_000)"), "prints more than"),
        (python("print()"), "prints nothing"),
        (python("import sys; sys.stdout.buffer.write(bytes([255]))"), "prints no text"),
        (python("import time; time.sleep(60)"), "did not end within 0.5 seconds"),
        ("/nowhere/vault read", "No such file"),
    ],
)
def test_a_command_that_gives_no_key_is_no_key(line: str, why: str, caplog: pytest.LogCaptureFixture) -> None:
    """The log says why, once, and what a call hears says nothing more."""
    command = KeyCommand(line, wait_s=0.5 if "sleep" in line else 10)
    with pytest.raises(TransientError, match="there is no key of the provider"):
        command()
    assert [True] == [why in one.message for one in caplog.records]


@pytest.mark.parametrize("line", ["", " ", "'"])
def test_a_line_that_is_no_command_is_refused(line: str) -> None:
    """When the settings are read."""
    with pytest.raises(ConfigError):
        key_source(f"command:{line}")


@pytest.mark.parametrize("source", ["env:NOWHERE_AT_ALL", "command:" + python("print()")])
def test_no_key_names_its_place_and_no_secret(source: str) -> None:
    """Whatever the place is."""
    give: Callable[[], str] = key_source(source)
    with pytest.raises(TransientError, match="there is no key of the provider"):
        give()
