"""The figures of a drill: percentiles, what counts as good, and how it is asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_console.cli.drill import _at, _batches, _is_good, _summed

GOOD = {
    "phase": "streaming",
    "effect_ms": 1.0,
    "client_ended_ms": 2.0,
    "upstream_closed_ms": 3.0,
    "next_call_denied": True,
    "silent": [],
}


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [
        (1, 0.5, 1),
        (1, 0.99, 1),
        (2, 0.5, 1),
        (3, 0.5, 2),
        (10, 0.99, 10),
        (100, 0.5, 50),
        (100, 0.99, 99),
        (200, 0.99, 198),
    ],
)
def test_a_percentile_is_a_value_that_was_measured(count: int, share: float, expected: int) -> None:
    """The smallest that so many do not exceed."""
    assert expected == _at([float(number + 1) for number in range(count)], share)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.sampled_from([0.5, 0.99]))
def test_a_percentile_is_not_exceeded_by_its_share(values: list[float], share: float) -> None:
    """Whatever the values are."""
    found = _at(sorted(values), share)
    assert sum(value <= found for value in values) >= share * len(values)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({"next_call_denied": False}, False),
        ({"effect_ms": None}, False),
        ({"client_ended_ms": None}, False),
        ({"upstream_closed_ms": None}, False),
        ({"effect_ms": 0.0}, True),
    ],
)
def test_a_run_is_good_when_all_of_it_happened(changed: dict[str, object], expected: bool) -> None:
    """However quickly."""
    assert expected == _is_good({**GOOD, **changed})


@pytest.mark.parametrize(("runs", "expected"), [(1, [1]), (10, [10]), (25, [10, 10, 5])])
def test_runs_are_asked_for_a_few_at_a_time(runs: int, expected: list[int]) -> None:
    """All of them, in the end."""
    assert expected == list(_batches(runs))


def test_what_did_not_happen_is_in_no_percentile() -> None:
    """A figure without any value has no row."""
    rows = list(
        _summed([{**GOOD, "upstream_closed_ms": None}, {**GOOD, "upstream_closed_ms": None, "effect_ms": None}])
    )
    assert [("its acknowledgement", "1.0 ms"), ("the agent's end of the call", "2.0 ms")] == [
        (row["what"], row["max"]) for row in rows
    ]
