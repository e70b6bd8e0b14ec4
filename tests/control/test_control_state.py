"""Control state: what is launched, stopped and limited is what is decided by, on every node and after every start."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from headgate_control.budgets.budget import Budget
from headgate_control.identity.gateway_key import key_id_of
from headgate_control.identity.launch import Launch, launch, revoke
from headgate_control.manifests.grant import Grant
from headgate_control.manifests.load import parse_manifest
from headgate_control.state import ControlState, State
from headgate_control.stops.commands import resume, stop
from headgate_control.store.opening import open_sqlite
from headgate_control.store.port import ControlStore
from headgate_control.store.record import Event
from headgate_processors.errors import ConfigError, ForbiddenError, StoreError, TransientError

MANIFEST = """
apiVersion: headgate.dev/v1
kind: AgentManifest
metadata: {name: fixer, team: payments, workflow: fix-tests, repo: acme/calc, inherits: everyone}
spec: {tools: [{tool: read_file}], risk_tier: low, budgets: [{usd: 0.5}]}
"""
PROFILE = """
apiVersion: headgate.dev/v1
kind: AgentProfile
metadata: {name: everyone, level: platform}
spec:
  tools: [{tool: "*"}]
  risk_tier: medium
  runtime: {driver: bubblewrap}
  budgets: [{scope: team, window: day, calls: 9}]
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ControlStore]:
    """Control state in a file."""
    with closing(open_sqlite(tmp_path / "control.db", writer="control-1")) as made:
        yield made


def grant() -> Grant:
    """A manifest under a profile."""
    profile = parse_manifest(PROFILE, {}, source="profile").levels[0]
    return parse_manifest(MANIFEST, {"everyone": profile}, source="manifest")


def launched(state: ControlState, store: ControlStore, **more: str) -> tuple[str, str]:
    """An instance and its key."""
    made = launch(store, state.refresh().snapshot, Launch(grant=grant(), launched_by="ada", **more))  # type: ignore[arg-type]
    state.refresh()
    return made.instance.instance_id, made.gateway_key


def test_a_launch_is_a_record_a_manifest_a_key_and_budgets(store: ControlStore) -> None:
    """All of them in one change, and what the manifest says is on the record."""
    state = ControlState(store)
    name, key = launched(state, store, user="bob")
    now = state.now
    instance = now.snapshot.instances[name]
    assert ("payments", "fix-tests", "acme/calc", "medium", "bubblewrap", "everyone", "ada", "bob", name) == (
        instance.team,
        instance.workflow,
        instance.repo,
        instance.risk_tier,
        instance.runtime,
        instance.policy_profile,
        instance.launched_by,
        instance.user,
        instance.root,
    )
    assert grant() == now.snapshot.grants[instance.manifest_digest]
    kept = now.keys[key_id_of(key) or ""]
    assert (name, True, False) == (kept.instance_id, kept.is_good(key, 0), kept.is_good(key + "0", 0))
    assert {("instance", name): "total", ("team", "payments"): "day"} == {
        one.place: one.window for one in now.budgets.values()
    }
    assert key not in "".join(str(event) for event in store.events())


def test_a_child_stands_below_its_parent(store: ControlStore) -> None:
    """With the root and the user of its line."""
    state = ControlState(store)
    parent, _ = launched(state, store, user="bob")
    child, _ = launched(state, store, parent=parent)
    record = state.now.snapshot.instances[child]
    assert (parent, "bob", (child, parent)) == (record.root, record.user, state.now.snapshot.lineage(child))


@pytest.mark.parametrize("word", ["parent", "restart_of"])
def test_nothing_is_launched_from_what_is_not_known(store: ControlStore, word: str) -> None:
    """It says where to look."""
    with pytest.raises(ConfigError, match="no instance 'ai-x': see headgate instance list"):
        launched(ControlState(store), store, **{word: "ai-x"})


@pytest.mark.parametrize("word", ["parent", "restart_of"])
def test_a_stopped_line_is_not_restarted(store: ControlStore, word: str) -> None:
    """Until somebody resumes it."""
    state = ControlState(store)
    first, _ = launched(state, store)
    made = stop(store, ("instance", first), mode="stop", author="ada", reason="it loops")
    with pytest.raises(ForbiddenError, match=f"instance {first} is held by {made.stop_id}"):
        launched(state, store, **{word: first})
    resume(store, ("instance", first), author="ada", reason="mended")
    assert launched(state, store, **{word: first})


@pytest.mark.parametrize(
    ("scope", "target"), [("platform", ""), ("team", "payments"), ("workflow", "fix-tests"), ("identity", "ada")]
)
def test_nothing_is_launched_into_what_is_stopped(store: ControlStore, scope: str, target: str) -> None:
    """Whichever scope it would be part of."""
    stop(store, (scope, target), mode="stop", author="ada", reason="fire")  # type: ignore[arg-type]
    with pytest.raises(ForbiddenError, match="fire"):
        launched(ControlState(store), store)


def test_a_revoked_instance_has_no_key_any_more(store: ControlStore) -> None:
    """Doing so again is no error and no event."""
    state = ControlState(store)
    name, key = launched(state, store)
    for _ in range(2):
        revoke(store, name, state.now.keys.values(), author="ada", reason="lost")
        state.refresh()
    kept = state.now.keys[key_id_of(key) or ""]
    assert ("revoked", False, 1) == (
        state.now.snapshot.instances[name].state,
        kept.is_good(key, 0),
        sum(event.action == "instance.revoke" and event.kind == "instance" for event in store.events()),
    )


def test_stops_count_up_one_epoch_and_end(store: ControlStore) -> None:
    """A later one of the same key stands in place of the earlier; what is not stopped cannot be resumed."""
    state = ControlState(store)
    made = [
        stop(store, ("team", "a"), mode=mode, author="ada", reason=reason)
        for mode, reason in (("pause", "one"), ("stop", "two"), ("stop", "three"))
    ]
    stops = state.refresh().snapshot.stops
    assert ([1, 2, 3], 3, {"one", "three"}) == ([one.epoch for one in made], stops.epoch, {one.reason for one in stops})
    ended, epoch = resume(store, ("team", "a"), author="ada", reason="over")
    stops = state.refresh().snapshot.stops
    assert (["three", "one"], 4, 4, []) == ([one.reason for one in ended], epoch, stops.epoch, list(stops))
    with pytest.raises(ConfigError, match="team a is neither stopped nor paused"):
        resume(store, ("team", "a"), author="ada", reason="over")


@pytest.mark.parametrize("reason", ["", "  ", "x" * 2_001])
def test_a_stop_has_a_reason(store: ControlStore, reason: str) -> None:
    """That whoever reads it later can read."""
    with pytest.raises(ConfigError, match="a stop has a reason"):
        stop(store, ("team", "a"), mode="stop", author="ada", reason=reason)


def test_stops_of_several_nodes_at_once_have_different_epochs(tmp_path: Path) -> None:
    """None is lost, and each node ends with the same set."""
    stores = [open_sqlite(tmp_path / "control.db", writer=f"control-{number}") for number in range(3)]
    states = [ControlState(one) for one in stores]

    def work(store: ControlStore, number: int) -> None:
        for turn in range(5):
            stop(store, ("team", f"{number}-{turn}"), mode="stop", author="ada", reason="drill")

    pairs = zip(stores, range(3), strict=True)
    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    sets = [sorted(one.epoch for one in state.refresh().snapshot.stops) for state in states]
    assert [list(range(1, 16))] * 3 == sets
    for one in stores:
        one.close()


def test_a_state_of_all_events_is_that_of_each_in_turn(store: ControlStore) -> None:
    """A node that starts late decides as one that was there."""
    early = ControlState(store)
    heard: list[Event] = []
    early.listen(lambda _, events: heard.extend(events))
    name, _ = launched(early, store)
    stop(store, ("instance", name), mode="stop", author="ada", reason="a")
    stop(store, ("team", "x"), mode="pause", author="ada", reason="b")
    resume(store, ("team", "x"), author="ada", reason="c")
    revoke(store, name, early.now.keys.values(), author="ada", reason="d")
    early.refresh()
    late = ControlState(store).now
    assert (seen(early.now), store.events()) == (seen(late), heard)


class Clock:
    """A monotonic clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        """Its time."""
        return self.now_ns


LOCK_ALL = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
# Where SQLite has the marks of those that read a WAL: offsets 123 to 127 of the shared memory.
fcntl.lockf(file, fcntl.LOCK_EX, 5, 123)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_a_state_ages_while_its_file_is_locked(tmp_path: Path) -> None:
    """By the clock, from before the store was last asked; as soon as it can be read, it is fresh again."""
    path, clock = tmp_path / "control.db", Clock()
    with closing(open_sqlite(path, writer="control-1")) as store:
        stop(store, ("team", "a"), mode="stop", author="ada", reason="one")
        state = ControlState(store, clock=clock)
        command = [sys.executable, "-c", LOCK_ALL, f"{path}-shm"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as locking:
            assert locking.stdout is not None
            locking.stdout.readline()
            clock.now_ns = 7
            with pytest.raises(TransientError, match="lock"):
                state.refresh()
            late = state.age_ns()
            locking.communicate(b"")
        state.refresh()
    assert (7, 0) == (late, state.age_ns())


def test_a_state_of_a_journal_that_was_put_back_is_followed_no_further(tmp_path: Path) -> None:
    """Positions that it knows are others there: what is stopped from now on would never be heard of."""
    path, copy = tmp_path / "control.db", tmp_path / "copy.db"
    with closing(open_sqlite(path, writer="control-1")) as store:
        stop(store, ("team", "a"), mode="stop", author="ada", reason="one")
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as to:
            source.backup(to)
        stop(store, ("team", "b"), mode="stop", author="ada", reason="two")
        clock = Clock()
        state = ControlState(store, clock=clock)
        with closing(sqlite3.connect(copy)) as source, closing(sqlite3.connect(path)) as to:
            source.backup(to)
        clock.now_ns = 9
        for _ in range(2):
            with pytest.raises(StoreError, match="control must start anew"):
                state.refresh()
            stop(store, ("team", "c"), mode="stop", author="ada", reason="three")
    assert 9 == state.age_ns()


def seen(state: State) -> tuple[object, ...]:
    """All of a state that can be compared."""
    snapshot = state.snapshot
    return (
        state.position,
        snapshot.instances,
        snapshot.grants,
        snapshot.stops.epoch,
        list(snapshot.stops),
        state.keys,
        dict[str, Budget](state.budgets),
    )
