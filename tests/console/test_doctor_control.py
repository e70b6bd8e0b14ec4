"""What the doctor finds about control."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headgate_console.control.client import control_client
from headgate_console.control.place import Place
from headgate_console.doctor.control import examine_control
from headgate_console.doctor.finding import Level
from headgate_console.settings.definition import Settings
from headgate_control.policy.kept import PolicyJournal
from headgate_control.policy.starter.files import starter_bundle
from headgate_control.store.opening import open_sqlite


def test_where_control_was_never_started_there_is_nothing_to_say(tmp_path: Path) -> None:
    """Nor is anything made."""
    assert ([], []) == (examine_control(Settings(data=tmp_path), now=datetime.now(UTC)), list(tmp_path.iterdir()))


@pytest.mark.parametrize(("problem", "expected"), [("a.cedar: unexpected token", [Level.WARNING]), (None, [])])
def test_policies_that_are_refused_are_a_warning(tmp_path: Path, problem: str | None, expected: list[Level]) -> None:
    """With what is wrong with them."""
    place = Place(data=tmp_path)
    with closing(open_sqlite(place.database, writer="control")) as store:
        policies = PolicyJournal(store, place.policies, node="control")
        policies.use(starter_bundle())
        policies.refused(problem)
        policies.tell()
    found = examine_control(Settings(data=tmp_path), now=datetime.now(UTC))
    assert (expected, [problem] if problem else []) == (
        [one.level for one in found],
        [line for one in found for line in one.details],
    )


@pytest.mark.parametrize(("mode", "expected"), [(0o600, 0), (0o644, 1), (0o620, 1)])
def test_a_token_of_the_admin_that_others_can_read_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, expected: int
) -> None:
    """By the doctor, and by each command that uses it."""
    token = Place(data=tmp_path).admin_token
    token.write_text("hgt_admin-1_x")
    token.chmod(mode)
    settings = Settings(data=tmp_path)
    control_client(settings)
    told = examine_control(settings, now=datetime.now(UTC))
    assert (expected, expected) == (len(told), len(caplog.messages))
