"""Numbers as people read them."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from headgate_console.render import numbers


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (None, "–"),
        ("0", "$0"),
        ("0.000123", "$0.00012"),
        ("0.0099", "$0.0099"),
        ("0.0813", "$0.0813"),
        ("1.5", "$1.50"),
        ("999.999", "$1,000.00"),
        ("12345.6", "$12,346"),
        ("-0.25", "-$0.2500"),
    ],
)
def test_money_keeps_what_matters_at_its_size(usd: str | None, shown: str) -> None:
    """Cents from a dollar on, four places from a cent on, two digits below; unknown is a dash."""
    assert shown == numbers.money(None if usd is None else Decimal(usd))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0, "0"), (950, "950"), (999, "999"), (1000, "1.00k"), (41_234, "41.2k"), (999_999, "1.00M")],
)
def test_tokens_have_three_digits(value: int | None, shown: str) -> None:
    """Tokens are scaled to thousands and millions without ever showing 1000k."""
    assert shown == numbers.tokens(value)


@pytest.mark.parametrize(
    ("ns", "shown"),
    [
        (None, "–"),
        (0, "0 ms"),
        (5, "<1 ms"),
        (312_000_000, "312 ms"),
        (999_600_000, "1.0 s"),
        (41_200_000_000, "41.2 s"),
        (125_000_000_000, "2 m 05 s"),
        (3_840_000_000_000, "1 h 04 m"),
        (273_600_000_000_000, "3 d 04 h"),
    ],
)
def test_durations_change_unit_with_their_length(ns: int | None, shown: str) -> None:
    """From milliseconds to days, two units at most."""
    assert shown == numbers.duration(ns)


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (0, "0 %"), (0.001, "<1 %"), (0.5, "50 %"), (0.999, ">99 %"), (1, "100 %")]
)
def test_a_share_is_whole_only_when_it_is(value: float | None, shown: str) -> None:
    """99.9 per cent is not shown as all of it, nor a thousandth as nothing."""
    assert shown == numbers.share(value)


def test_sizes_are_binary() -> None:
    """Bytes are counted in powers of 1024 and say so."""
    assert ["–", "950 B", "1.00 KiB", "64.0 MiB"] == [numbers.size(n) for n in (None, 950, 1024, 64 << 20)]


def test_a_moment_is_in_utc() -> None:
    """Times are shown in UTC whatever offset they came with."""
    assert "2026-11-24 08:00:00" == numbers.moment(datetime.fromisoformat("2026-11-24T10:00:00+02:00"))


def test_ago_counts_back_from_now() -> None:
    """What lies ahead of now says so instead of a negative age."""
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    times = [None, now, now.replace(minute=1), now.replace(hour=11)]
    assert ["–", "just now", "in the future", "1 h 00 m ago"] == [numbers.ago(time, now) for time in times]
