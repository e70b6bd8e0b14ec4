"""Sessions from keys, links and guesses: the rules that decide how many sessions there are."""

from collections.abc import Sequence
from hashlib import sha256

import pytest

from headgate_analytics.stitch import Fact, Stitched, session_key, trace_key
from headgate_analytics.stitcher import Stitcher, open_nothing
from headgate_analytics.testing.nodes import log_fact, trace_fact

GAP_NS = 30 * 60 * 10**9
GAP_MS = 30 * 60 * 1000
UUID = "0199c1a2-7b4e-7c11-9a57-0c2e6ad1b001"
ULID = "01JD3V9QW8MR2TN5YB7TC1ZK3X"


def _sessions(*facts: Fact) -> list[Stitched]:
    return _told([facts])[-1][0]


def _told(batches: Sequence[Sequence[Fact]]) -> list[tuple[list[Stitched], set[str]]]:
    """The sessions told, and the ids removed, after each of the batches."""
    with open_nothing() as database:
        stitcher = Stitcher(database, idle_gap_ns=GAP_NS)
        found = []
        for batch in batches:
            stitcher.absorb(batch)
            changes = list(stitcher.changes())
            sessions = sorted((one for change in changes for one in change.sessions), key=lambda one: one.key)
            found.append((sessions, {gone for change in changes for gone in change.removed}))
        return found


def _keys(*facts: Fact) -> list[str]:
    return sorted(session.key.key for session in _sessions(*facts))


@pytest.mark.parametrize(
    ("key", "scope"),
    [
        (UUID, ""),
        (UUID.upper(), ""),
        (UUID.replace("-", ""), ""),
        (f"thread:{UUID}/run", ""),
        (ULID, ""),
        (f"run-{ULID}", ""),
        ("thread-1", "agent"),
        ("sess-42", "agent"),
        ("", "agent"),
        (f"x{UUID}", "agent"),
        (f"{UUID}0", "agent"),
        ("01JD3V9QW8MR2TN5YB7TC1ZK3U", "agent"),
        (f"{ULID}9", "agent"),
        ("ses_68b1f00dffe3vK2yQmXwPz7a", "agent"),
    ],
)
def test_a_key_with_a_unique_id_needs_no_scope(key: str, scope: str) -> None:
    """A UUID or ULID is unique in the world, so that client and gateway meet; `thread-1` is one of a service."""
    assert scope == session_key("default", "agent", key).scope


def test_the_session_id_is_the_agreed_hash() -> None:
    """32 hexadecimal digits of SHA-256 over tenant, scope and key, joined by NUL."""
    plain = sha256(b"default\0agent\0thread-1").hexdigest()[:32]
    unique = sha256(b"acme\0\0" + UUID.encode()).hexdigest()[:32]
    trace = sha256(b"default\0\0" + b"a" * 32).hexdigest()[:32]
    assert plain == session_key("default", "agent", "thread-1").session_id
    assert unique == session_key("acme", "agent", UUID).session_id
    assert trace == trace_key("default", "a" * 32).session_id
    assert sha256(b"default\0\0thread-1").hexdigest()[:32] == session_key("default", None, "thread-1").session_id


def test_traces_with_one_key_are_one_session() -> None:
    """Several turns, and logs without a trace, under one key."""
    [session] = _sessions(trace_fact("a", key="s1"), trace_fact("b", key="s1", begin=10**9), log_fact("s1"))
    assert ("attribute", 3) == (session.source, len(session.anchors))


def test_one_key_of_two_services_is_two_sessions_unless_it_is_unique() -> None:
    """`thread-1` of two services are two conversations; a UUID is one, whoever says it."""
    assert 2 == len(_sessions(trace_fact("a", key="t1"), trace_fact("b", key="t1", service="other")))
    assert 1 == len(_sessions(trace_fact("a", key=UUID), trace_fact("b", key=UUID, service="gateway")))


def test_tenants_never_share_a_session() -> None:
    """The same key of two tenants is two sessions."""
    assert 2 == len(_sessions(trace_fact("a", key=UUID), trace_fact("b", key=UUID, tenant="acme")))


def test_a_key_that_changes_within_a_trace_does_not_split_it() -> None:
    """Some frameworks write a new conversation id at every step; the earliest names the session."""
    found = _sessions(trace_fact("a", key="second", begin=50), trace_fact("a", key="first", begin=10), trace_fact("a"))
    assert ["first"] == [session.key.key for session in found]


def test_keys_that_meet_in_a_trace_are_one_session_wherever_they_stand() -> None:
    """A trace with two keys joins the traces of both."""
    found = _sessions(
        trace_fact("a", key="k1", begin=0),
        trace_fact("b", key="k2", begin=20),
        trace_fact("c", key="k1", begin=30),
        trace_fact("c", key="k2", begin=40),
    )
    assert [("k1", 3)] == [(session.key.key, len(session.anchors)) for session in found]


def test_a_keyless_trace_stands_for_itself() -> None:
    """An agent, workflow or server root: a busy web server must not become one endless session."""
    facts = [trace_fact(name, instance="p1", root_others=1, begin=begin) for begin, name in enumerate("abc")]
    assert ["a", "b", "c"] == _keys(*facts)
    assert {"trace"} == {session.source for session in _sessions(*facts)}


def test_keyless_calls_of_one_process_are_guessed_together() -> None:
    """SDK instrumentation without an agent: traces of one process, marked as a guess."""
    [session] = _sessions(
        *(trace_fact(name, instance="p1", root_calls=1, begin=begin) for begin, name in enumerate("abc"))
    )
    assert ("guess", "a", 3) == (session.source, session.key.key, len(session.anchors))


def test_a_guess_ends_where_the_process_was_idle() -> None:
    """Exactly the gap still belongs together, a nanosecond more does not."""
    first = trace_fact("a", instance="p1", root_calls=1, until=1_000)
    near = trace_fact("b", instance="p1", root_calls=1, begin=1_000 + GAP_MS, until=1_001 + GAP_MS)
    far = trace_fact("c", instance="p1", root_calls=1, begin=1_002 + 2 * GAP_MS, until=1_003 + 2 * GAP_MS)
    assert ["a"] == _keys(first, near)
    assert ["a", "c"] == _keys(first, near, far)


def test_a_long_call_keeps_its_process_busy() -> None:
    """The gap counts from the latest end, not from the last start."""
    long = trace_fact("a", instance="p1", root_calls=1, until=3 * GAP_MS)
    short = trace_fact("b", instance="p1", root_calls=1, begin=10, until=20)
    late = trace_fact("c", instance="p1", root_calls=1, begin=3 * GAP_MS + 5, until=3 * GAP_MS + 9)
    assert ["a"] == _keys(long, short, late)


@pytest.mark.parametrize(
    "other",
    [
        {"instance": "p2", "root_calls": 1},
        {"instance": None, "root_calls": 1},
        {"instance": "p1", "root_calls": 1, "root_others": 1},
        {"instance": "p1"},
        {"instance": "p1", "root_calls": 1, "key": "k"},
        {"instance": "p1", "root_calls": 1, "tenant": "acme"},
    ],
    ids=["another process", "no process", "another root too", "no root", "a key", "another tenant"],
)
def test_nothing_else_is_guessed(other: dict[str, object]) -> None:
    """Only keyless traces of one process whose every root is a call."""
    assert 2 == len(_sessions(trace_fact("a", instance="p1", root_calls=1), trace_fact("b", begin=5, **other)))  # type: ignore[arg-type]


def test_links_join_keyless_traces() -> None:
    """A trace that a link names is part of the same work, over any number of hops."""
    [session] = _sessions(
        trace_fact("a", root_others=1, begin=2),
        trace_fact("b", root_others=1, begin=1, linked_trace="a"),
        trace_fact("c", root_others=1, begin=0, linked_trace="b"),
    )
    assert ("trace", "c", 3) == (session.source, session.key.key, len(session.anchors))


def test_a_link_never_joins_what_has_a_name() -> None:
    """Two keyed sessions may link to each other and stay two."""
    assert ["k1", "k2"] == _keys(trace_fact("a", key="k1"), trace_fact("b", key="k2", linked_trace="a"))
    assert ["b", "k1"] == _keys(trace_fact("a", key="k1"), trace_fact("b", root_others=1, linked_trace="a"))


def test_a_link_to_a_trace_that_never_came_joins_nothing() -> None:
    """The trace is a session alone."""
    assert ["a"] == _keys(trace_fact("a", root_others=1, linked_trace="never"))


def test_start_up_noise_is_no_session() -> None:
    """A throw-away id under which nothing happened, and a web server's health checks."""
    assert [] == _keys(trace_fact("a", key=UUID, substantive=False), log_fact("warm-up", substantive=False))
    assert [] == _keys(trace_fact("b", root_others=1, substantive=False))
    assert ["s1"] == _keys(trace_fact("a", key="s1", substantive=False), trace_fact("b", key="s1"))


def test_a_log_without_a_trace_and_without_a_key_belongs_nowhere() -> None:
    """It stays a raw record."""
    assert [] == _sessions(log_fact("k")._replace(key=None))


def _restated(before: list[Fact], after: list[Fact]) -> tuple[list[str], set[str], set[str]]:
    """The keys after, the ids that stood before, and those reported removed."""
    (first, _), (second, removed) = _told([before, after])
    return [session.key.key for session in second], {session.key.session_id for session in first}, removed


def test_a_key_that_comes_late_renames_the_session() -> None:
    """The trace's own session is removed when a record names it."""
    keys, before, removed = _restated([trace_fact("a", root_others=1)], [trace_fact("a", key="s1")])
    assert (["s1"], before) == (keys, removed)


def test_two_sessions_that_turn_out_to_be_one_leave_one() -> None:
    """The younger key gives way to the elder."""
    keys, before, removed = _restated(
        [trace_fact("a", key="k1"), trace_fact("b", key="k2", begin=5)], [trace_fact("b", key="k1", begin=9)]
    )
    assert ["k1"] == keys
    assert {session_key("default", "agent", "k2").session_id} == removed
    assert removed < before


def test_an_earlier_trace_renames_a_guess() -> None:
    """The first trace of the process names the session, whenever it comes."""
    late = trace_fact("b", instance="p1", root_calls=1, begin=500)
    keys, before, removed = _restated([late], [trace_fact("a", instance="p1", root_calls=1)])
    assert (["a"], before) == (keys, removed)


def test_a_trace_that_leaves_a_guess_splits_it() -> None:
    """A late agent root shows that one of the traces was no bare call."""
    bare = [
        trace_fact(name, instance="p1", root_calls=1, begin=begin, until=begin + 1)
        for name, begin in (("a", 0), ("b", GAP_MS), ("c", 2 * GAP_MS))
    ]
    keys, before, removed = _restated(bare, [trace_fact("b", instance="p1", root_others=1, begin=GAP_MS)])
    assert ["a", "b", "c"] == sorted(keys)
    assert set() == removed
    assert {trace_key("default", "a").session_id} == before


def test_a_trace_that_a_link_takes_out_of_a_guess_leaves_the_rest_standing() -> None:
    """The first trace of a guess goes; what remains is written under its own name before the old one is removed."""
    guessed = [trace_fact(name, instance="p1", root_calls=1, begin=begin) for begin, name in enumerate("abc")]
    keys, before, removed = _restated(guessed, [trace_fact("z", root_others=1, begin=-5, linked_trace="a")])
    assert ["b", "z"] == sorted(keys)
    assert before == removed


def test_a_trace_of_two_processes_is_guessed_with_the_first() -> None:
    """A trace may pass through two processes; what it leaves behind is told again."""
    both = [trace_fact(name, instance="p2", root_calls=1, begin=begin) for begin, name in enumerate("ab")]
    keys, before, removed = _restated(both, [trace_fact("a", instance="p1", root_calls=1)])
    assert ["a", "b"] == sorted(keys)
    assert set() == removed
    assert 1 == len(before)


def test_noise_that_becomes_a_session_was_none_before() -> None:
    """Nothing is removed that never was."""
    keys, before, removed = _restated([trace_fact("a", key="s1", substantive=False)], [trace_fact("a", key="s1")])
    assert (["s1"], set(), set()) == (keys, before, removed)


def test_absorbing_again_changes_nothing() -> None:
    """A resent fact touches its session and leaves it as it is."""
    facts = [trace_fact("a", key="s1"), log_fact("s1")]
    keys, before, removed = _restated(facts, facts)
    assert (["s1"], set()) == (keys, removed)
    assert 1 == len(before)
