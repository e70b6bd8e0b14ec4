"""Times of things that were done many times."""

from collections.abc import Sequence

from figures import Figure

UNITS_NS = {"µs": 1e3, "ms": 1e6}


def at(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1_000 * len(ordered)) // 1_000) - 1)]


def spread(
    what: str,
    times_ns: Sequence[int],
    unit: str,
    *,
    baseline: Sequence[int] | None = None,
    shares: Sequence[float] = (0.5, 0.99),
    note: str = "",
) -> list[Figure]:
    """Median, 99th percentile and whatever else of times in nanoseconds, with those of a baseline."""
    return [
        Figure(
            what=f"{what}, {name(share)}",
            value=at(times_ns, share) / UNITS_NS[unit],
            unit=unit,
            baseline=at(baseline, share) / UNITS_NS[unit] if baseline is not None else None,
            note=note if share == shares[0] else "",
        )
        for share in shares
    ]


def name(share: float) -> str:
    """What a share is called: `p50`, `p99`, `max`."""
    return "max" if share == 1 else f"p{share * 100:g}"
