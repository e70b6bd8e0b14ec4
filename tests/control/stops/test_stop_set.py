"""The set of stops: what it catches, what it lets pass, and that a change leaves the old set alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_control.stops.stop import SCOPES, Facts, Key, Mode, Stop, parse_key
from headgate_control.stops.stop_set import StopSet
from headgate_processors.errors import ConfigError

NOW = 1_000
CALL = Facts(
    lineage=("child", "parent"),
    session="s1",
    workflow="fix-tests",
    team="payments",
    tool="create_issue",
    mcp_server="github",
    provider="openai",
    model="gpt-5",
    identities=("ada", "credential-1"),
)


def stop(key: Key, *, mode: Mode = "stop", epoch: int = 1, expires: int | None = None) -> Stop:
    """A stop of a key."""
    return Stop(
        stop_id=f"stop-{epoch}",
        key=key,
        mode=mode,
        reason="a test",
        author="ada",
        accepted_unix_nano=0,
        epoch=epoch,
        expires_unix_nano=expires,
    )


def caught(*stops: Stop, facts: Facts = CALL) -> Mode | None:
    """How a call is hindered."""
    found = StopSet.of(stops, epoch=1).matching(facts, at_unix_nano=NOW)
    return None if found is None else found.mode


@pytest.mark.parametrize(
    "key",
    [
        ("instance", "child"),
        ("instance", "parent"),
        ("session", "s1"),
        ("workflow", "fix-tests"),
        ("team", "payments"),
        ("tool", "create_issue"),
        ("tool", "github/create_issue"),
        ("model", "openai/gpt-5"),
        ("identity", "ada"),
        ("identity", "credential-1"),
        ("mcp-server", "github"),
        ("platform", ""),
    ],
)
def test_a_call_is_caught_by_everything_it_is_part_of(key: Key) -> None:
    """In all nine scopes; what an instance launched is stopped with it."""
    assert "stop" == caught(stop(key))


@pytest.mark.parametrize(
    "key",
    [
        ("instance", "sibling"),
        ("tool", "gitlab/create_issue"),
        ("model", "azure/gpt-5"),
        ("model", "openai/gpt-5-mini"),
        ("team", "fix-tests"),
    ],
)
def test_neighbours_are_left_alone(key: Key) -> None:
    """A stop is about what it names."""
    assert None is caught(stop(key))


def test_a_call_of_which_nothing_is_known_is_caught_by_the_platform_alone() -> None:
    """What is not known is no empty text that a stop could name."""
    nobody = Facts()
    others = [stop((scope, "")) for scope in SCOPES if scope != "platform"]
    assert (None, "stop") == (caught(*others, facts=nobody), caught(stop(("platform", "")), facts=nobody))


def test_a_stop_goes_before_a_pause() -> None:
    """Whatever their scopes are."""
    pause = stop(("platform", ""), mode="pause")
    assert ("pause", "stop") == (caught(pause), caught(pause, stop(("session", "s1"))))


def test_what_has_expired_holds_nobody() -> None:
    """From that moment on, and not before."""
    assert (None, "stop") == tuple(caught(stop(("team", "payments"), expires=end)) for end in (NOW, NOW + 1))


def test_a_change_gives_another_set() -> None:
    """Who decides by the old one is not surprised, and its epoch says which it was."""
    old = StopSet()
    new = old.with_stop(stop(("team", "payments"), epoch=7))
    resumed = new.without(stop(("team", "payments"), epoch=7), epoch=8)
    assert [(0, 0), (7, 1), (8, 0)] == [(one.epoch, len(list(one))) for one in (old, new, resumed)]


@given(
    st.lists(
        st.tuples(st.sampled_from(SCOPES), st.sampled_from("ab"), st.sampled_from(["stop", "pause"]), st.booleans()),
        max_size=20,
    )
)
def test_changes_one_by_one_give_the_same_set_as_all_at_once(changes: list[tuple[str, str, Mode, bool]]) -> None:
    """A gateway that heard each of them and one that read a snapshot decide alike."""
    step, held = StopSet(), dict[tuple[Key, Mode], Stop]()
    for epoch, (scope, target, mode, resumes) in enumerate(changes, 1):
        key: Key = (scope, target)  # type: ignore[assignment]
        if resumes and (key, mode) in held:
            step = step.without(held.pop((key, mode)), epoch=epoch)
        elif not resumes:
            made = stop(key, mode=mode, epoch=epoch)
            step, held[key, mode] = step.with_stop(made), made
    whole = StopSet.of(held.values(), epoch=len(changes))
    assert sorted(one.epoch for one in whole) == sorted(one.epoch for one in step)


@pytest.mark.parametrize(
    ("scope", "target", "expected"),
    [
        ("teem", "x", "no scope 'teem': expected one of instance, session"),
        ("platform", "x", "the platform has no id, but 'x' was given"),
        ("team", None, "which team"),
        ("team", "", "which team"),
        ("model", "gpt-5", "a model is named with its provider, such as openai/gpt-5"),
        ("team", "x" * 513, "which team"),
    ],
)
def test_a_key_that_is_none_says_what_is_expected(scope: str, target: str | None, expected: str) -> None:
    """As people type it."""
    with pytest.raises(ConfigError, match=expected):
        parse_key(scope, target)


def test_a_key_is_a_scope_and_whose() -> None:
    """The platform is nobody's."""
    assert [("platform", ""), ("tool", "github/x")] == [parse_key("platform", None), parse_key("tool", "github/x")]
