"""Sessions do not depend on the order, the batches or the repeats in which facts come."""

from hypothesis import given, settings
from hypothesis import strategies as st

from headgate_analytics.served import ToolSpan
from headgate_analytics.stitch import Fact, Stitched
from headgate_analytics.stitcher import Stitcher, open_nothing
from headgate_analytics.testing.nodes import MS, START_UNIX_NANO

GAP_NS = 100 * MS
TRACES = [f"trace-{number}" for number in range(5)]
UUID = "0199c1a2-7b4e-7c11-9a57-0c2e6ad1b001"


@st.composite
def facts(draw: st.DrawFn) -> Fact:
    """A fact about one of a few traces or keys, so that they meet often; most say no key."""
    trace = draw(st.sampled_from([*TRACES, *TRACES, None]))
    key = draw(st.sampled_from(["k1", "k2", UUID])) if trace is None or draw(st.integers(0, 4)) == 0 else None
    first = START_UNIX_NANO + draw(st.integers(0, 9)) * 40 * MS
    call = trace is not None and draw(st.integers(0, 3)) > 0
    linked = draw(st.sampled_from(TRACES)) if trace and draw(st.integers(0, 3)) == 0 else None
    return Fact(
        tenant="default",
        trace_id=trace,
        service_name=draw(st.sampled_from(["agent", "gateway"])),
        key=key,
        instance=draw(st.sampled_from(["p1", "p1", "p2", None])) if trace else None,
        first_unix_nano=first,
        last_unix_nano=first + draw(st.integers(0, 3)) * 30 * MS,
        substantive=draw(st.integers(0, 3)) > 0,
        root_calls=int(call),
        root_others=int(trace is not None and not call and draw(st.booleans())),
        linked_trace_id=linked if linked != trace else None,
    )


def _final(batches: list[list[Fact]]) -> dict[str, Stitched]:
    """What stands in the tables after every batch was derived, as the deriver writes and removes it."""
    tables: dict[str, Stitched] = {}
    with open_nothing() as database:
        stitcher = Stitcher(database, idle_gap_ns=GAP_NS)
        for batch in batches:
            stitcher.absorb(batch)
            changes = list(stitcher.changes())
            tables |= {one.key.session_id: one for change in changes for one in change.sessions}
            for session_id in {gone for change in changes for gone in change.removed}:
                tables.pop(session_id, None)
    return tables


@settings(max_examples=250)
@given(data=st.data(), every=st.lists(facts(), min_size=1, max_size=14))
def test_any_order_and_any_cut_gives_the_same_sessions(data: st.DataObject, every: list[Fact]) -> None:
    """All at once, one by one, shuffled, with repeats: the tables end the same."""
    shuffled = data.draw(st.permutations([*every, *every[: len(every) // 3]]))
    cut = data.draw(st.integers(0, len(shuffled)))
    expected = _final([every])
    assert expected == _final([[fact] for fact in shuffled])
    assert expected == _final([shuffled[:cut], shuffled[cut:]])


@settings(max_examples=100)
@given(every=st.lists(facts(), min_size=1, max_size=14))
def test_every_trace_is_in_one_session_at_most(every: list[Fact]) -> None:
    """Sessions share no anchor."""
    anchors = [anchor for session in _final([every]).values() for anchor in session.anchors]
    assert sorted(set(anchors)) == sorted(anchors)


SERVED = [
    Fact(
        tenant="default",
        trace_id=trace,
        service_name="agent",
        key=key,
        instance=None,
        first_unix_nano=START_UNIX_NANO + begin * MS,
        last_unix_nano=START_UNIX_NANO + until * MS,
        substantive=tool is None,
        root_calls=0,
        root_others=int(tool is None),
        tool=tool,
    )
    for trace, key, begin, until, tool in [
        ("a", "k1", 0, 9_000, None),
        ("a", "k1", 1_000, 2_000, ToolSpan(tool="read", served=False)),
        ("b", None, 1_100, 1_900, None),
        ("b", None, 1_100, 1_900, ToolSpan(tool="read", served=True)),
        ("c", None, 5_000, 5_100, None),
        ("c", None, 5_000, 5_100, ToolSpan(tool="read", served=True)),
    ]
]


@given(order=st.permutations(SERVED))
def test_served_calls_find_their_caller_in_any_order(order: list[Fact]) -> None:
    """The one inside the call joins it, the one outside stays alone."""
    assert _final([SERVED]) == _final([[fact] for fact in order])
    assert 2 == len(_final([SERVED]))
