"""The memory of results by text: it computes once, and it is bounded."""

import pytest

from headgate_processors.enrich import recent
from headgate_processors.enrich.recent import Recent


def test_a_text_that_comes_again_is_not_computed_again() -> None:
    """The second time the first result is given."""
    computed: list[str] = []

    def compute(text: str) -> str:
        computed.append(text)
        return text.upper()

    remembered = Recent(compute)
    assert ["A", "B", "A"] == [remembered(text) for text in ("a", "b", "a")]
    assert ["a", "b"] == computed


def test_a_text_in_use_outlives_those_that_are_not() -> None:
    """What is asked for again and again stays while others come and go."""
    computed: list[str] = []

    def compute(text: str) -> int:
        computed.append(text)
        return len(text)

    remembered = Recent(compute, chars_max=40)
    for number in range(100):
        remembered("often")
        remembered(f"text {number}")
    assert 1 == computed.count("often")


def test_the_memory_is_bounded_in_entries_and_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither many texts nor long ones make it grow, and of a text of 64 MiB nothing is kept."""
    monkeypatch.setattr(recent, "ENTRIES_MAX", 10)
    many, long_ = Recent(len), Recent(len, chars_max=1000)
    for number in range(1000):
        many(str(number))
        long_(str(number) + "x" * 100)
    assert len(many) <= 20
    assert len(long_) <= 20
    huge = Recent(len)
    assert 64 << 20 == huge("x" * (64 << 20))
    assert 0 == len(huge)
