"""What a gateway saw in traces of its own joins the session in which the agent tells of it, in any order."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from headgate_analytics.stitch import Fact, Stitched
from headgate_analytics.stitcher import Stitcher, open_nothing
from headgate_analytics.testing.nodes import MS, START_UNIX_NANO, trace_fact
from headgate_analytics.witnessed import ToldCall

GAP_NS = 100 * MS
UUID = "0199c1a2-7b4e-7c11-9a57-0c2e6ad1b001"
ID = "resp_68a1f0c2d4b7e9a1"


def _call(
    trace: str,
    *,
    gateway: bool = False,
    response_id: str | None = ID,
    place: str | None = None,
    key: str | None = None,
    begin: int = 0,
    until: int = 1_000,
    instance: str | None = "headgate:ai-1",
) -> list[Fact]:
    """A trace that is one model call, as its two facts."""
    trace_one = trace_fact(
        trace,
        key=key,
        begin=begin,
        until=until,
        service="headgate:ai-1" if gateway else "agent",
        instance=instance if gateway else None,
        root_calls=1,
    )._replace(is_platform=gateway)
    told = ToldCall(response_id=response_id, place=place, is_gateway=gateway)
    return [trace_one, trace_one._replace(substantive=False, root_calls=0, instance=None, call=told)]


def _final(batches: Sequence[Sequence[Fact]]) -> dict[str, Stitched]:
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


def _traces(found: dict[str, Stitched]) -> list[list[str]]:
    return sorted(sorted(anchor.rpartition("\0")[2] for anchor in one.anchors) for one in found.values())


def test_the_same_response_id_brings_a_gateways_trace_to_its_agent_whichever_comes_first() -> None:
    """The session keeps the agent's name."""
    agent, gateway = _call("agent"), _call("gateway", gateway=True, begin=10, until=990)
    for order in ([agent, gateway], [gateway, agent], [[*agent, *gateway]]):
        found = _final(order)
        assert [["agent", "gateway"]] == _traces(found)
        assert ["agent"] == [one.key.key for one in found.values()]


def test_calls_of_one_process_stay_one_guess_when_a_gateway_saw_them_too() -> None:
    """Two keyless calls of one process, each with its own trace at the gateway."""
    facts = [
        *(fact._replace(instance="p1" if fact.root_calls else None) for fact in _call("a", response_id=ID + "a")),
        *_call("ga", gateway=True, response_id=ID + "a", begin=10, until=900),
        *(
            fact._replace(instance="p1" if fact.root_calls else None)
            for fact in _call("b", response_id=ID + "b", begin=1_050, until=1_500)
        ),
        *_call("gb", gateway=True, response_id=ID + "b", begin=1_060, until=1_400),
    ]
    found = _final([[fact] for fact in facts])
    assert [["a", "b", "ga", "gb"]] == _traces(found)
    assert ["guess"] == [one.source for one in found.values()]


def test_a_key_that_only_the_gateway_knows_names_the_session() -> None:
    """The agent's telemetry says none."""
    found = _final([_call("agent"), _call("gateway", gateway=True, key=UUID)])
    assert [UUID] == [one.key.key for one in found.values()]
    assert [["agent", "gateway"]] == _traces(found)


def test_an_agents_own_key_comes_before_the_gateways() -> None:
    """The gateway's is earlier, and weaker."""
    gateway = _call("gateway", gateway=True, key="header", begin=0)
    found = _final([gateway, _call("agent", key="thread-1", begin=5)])
    assert ["thread-1"] == [one.key.key for one in found.values()]


def test_the_same_id_a_day_later_is_another_call() -> None:
    """Scripted servers answer with the same id for ever."""
    gateway = _call("gateway", gateway=True, begin=86_400_000, until=86_401_000)
    assert [["agent"], ["gateway"]] == _traces(_final([_call("agent"), gateway]))


def test_of_several_calls_with_the_same_id_the_one_around_it_counts() -> None:
    """A scripted server's loop: each call of the gateway goes to the agent's call at that moment."""
    calls = [_call(f"a{n}", begin=n * 5_000, until=n * 5_000 + 900) for n in range(4)]
    seen = [_call(f"g{n}", gateway=True, begin=n * 5_000 + 10, until=n * 5_000 + 800) for n in range(4)]
    assert [[f"a{n}", f"g{n}"] for n in range(4)] == _traces(_final([*seen, *calls]))


def test_a_cut_call_without_an_id_joins_by_instance_model_and_time() -> None:
    """The gateway cut it before the first byte."""
    place = "ai-1/gpt-5"
    agent = _call("agent", response_id=None, place=place)
    gateway = _call("gateway", gateway=True, response_id=None, place=place, begin=10, until=900)
    assert [["agent", "gateway"]] == _traces(_final([gateway, agent]))


def test_a_cut_call_that_may_be_either_of_two_is_left_alone() -> None:
    """Two calls of one instance to one model at the same time."""
    place = "ai-1/gpt-5"
    agents = [_call(f"a{n}", response_id=None, place=place) for n in range(2)]
    gateway = _call("gateway", gateway=True, response_id=None, place=place, begin=10, until=900)
    assert [["a0"], ["a1"], ["gateway"]] == _traces(_final([*agents, gateway]))


def test_what_only_the_gateway_saw_is_a_session_for_each_instance() -> None:
    """As long as it is not idle for longer than the gap."""
    seen = [
        _call(f"g{n}", gateway=True, response_id=f"{ID}{n}", begin=at, until=at + 10)
        for n, at in enumerate((0, 50, 500))
    ]
    other = _call("h", gateway=True, response_id=ID, begin=20, until=30, instance="headgate:ai-2")
    assert [["g0", "g1"], ["g2"], ["h"]] == _traces(_final([*seen, other]))


def test_a_lone_call_of_the_gateway_goes_where_the_nearest_of_its_instance_goes() -> None:
    """A denied call has no id, and an agent that says no instance: its other calls tell which session it is."""
    known = [*_call("agent", until=1_000), *_call("known", gateway=True, begin=10, until=900)]
    lone = _call("lone", gateway=True, response_id=None, begin=950, until=960)
    for order in ([known, lone], [lone, known], [[*lone, *known]]):
        assert [["agent", "known", "lone"]] == _traces(_final(order))


@st.composite
def _calls(draw: st.DrawFn) -> list[Fact]:
    gateway = draw(st.booleans())
    begin = draw(st.integers(0, 9)) * 40
    facts = _call(
        draw(st.sampled_from(["t1", "t2", "t3"])) if draw(st.booleans()) else ("g" if gateway else "a") + str(begin),
        gateway=gateway,
        response_id=draw(st.sampled_from([ID, ID + "2", None])),
        place=draw(st.sampled_from(["ai-1/m", None])),
        key=draw(st.sampled_from(["k1", UUID, None, None, None])),
        begin=begin,
        until=begin + draw(st.integers(0, 3)) * 30,
        instance=draw(st.sampled_from(["headgate:ai-1", "headgate:ai-2"])),
    )
    process = draw(st.sampled_from(["p1", None]))
    return [fact if gateway or not fact.root_calls else fact._replace(instance=process) for fact in facts]


@settings(max_examples=300)
@given(data=st.data(), every=st.lists(_calls(), min_size=1, max_size=9))
def test_any_order_and_any_cut_gives_the_same_sessions(data: st.DataObject, every: list[list[Fact]]) -> None:
    """All at once, one by one, shuffled, with repeats: the tables end the same."""
    facts = [fact for call in every for fact in call]
    shuffled = data.draw(st.permutations([*facts, *facts[: len(facts) // 3]]))
    cut = data.draw(st.integers(0, len(shuffled)))
    expected = _final([facts])
    assert expected == _final([[fact] for fact in shuffled])
    assert expected == _final([shuffled[:cut], shuffled[cut:]])
    anchors = [anchor for one in expected.values() for anchor in one.anchors]
    assert sorted(set(anchors)) == sorted(anchors)
    assert sorted({f"trace\0default\0{fact.trace_id}" for fact in facts}) == sorted(anchors)


def test_the_clock_starts_at_the_tests_own_time() -> None:
    """Facts of these tests lie where a gateway's weak key cannot overflow."""
    assert START_UNIX_NANO + 2**62 < 2**63
