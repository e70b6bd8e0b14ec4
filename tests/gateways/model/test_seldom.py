"""What a flood leaves in the log is bounded, and its size is told."""

from headgate_gateways.model.seldom import EVERY_NS, Seldom


def test_a_flood_is_told_once_a_second_with_its_size() -> None:
    """The first at once, the others together."""
    now = [0]
    seldom = Seldom(lambda: now[0])
    first = [seldom.count() for _ in range(3)]
    now[0] += EVERY_NS
    assert ([1, None, None], 3) == (first, seldom.count())
