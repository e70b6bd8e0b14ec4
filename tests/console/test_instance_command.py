"""`headgate instance`: what is wrong with a command is said before control is asked."""

from pathlib import Path

import pytest

from headgate_console.testing.commands import runner


def test_a_state_that_no_instance_is_ever_in_is_bad_usage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Nobody may read from it that there is no instance."""
    told = runner(capsys, "instance")("list", "--state", "bogus", "--data", str(tmp_path))
    assert (2, "") == (told.code, told.out)
    assert "--state: no instance is ever 'bogus'; expected one of created, running" in " ".join(told.err.split())
