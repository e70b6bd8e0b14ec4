"""The deriver's process: how long it waits between two runs."""

from hypothesis import given
from hypothesis import strategies as st

from headgate_console.serve.derive import INTERVAL_MAX_S, INTERVAL_S, pause_s


@given(took_s=st.floats(min_value=0, max_value=1e6))
def test_it_rests_as_long_as_it_worked_but_not_for_long(took_s: float) -> None:
    """Short runs follow each other each second; long ones leave half of the time to others, five seconds at most."""
    assert INTERVAL_S <= pause_s(took_s) <= INTERVAL_MAX_S
    assert pause_s(took_s) == took_s or took_s < INTERVAL_S or took_s > INTERVAL_MAX_S
