"""What a gateway knows of control, wherever its connections are cut: nothing is missed, nothing is taken in twice."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate_control.feed import messages
from headgate_control.feed.feed import Feed, FeedConfig
from headgate_control.feed.messages import records_of
from headgate_control.kinds import EPOCH, INSTANCE, STOP, write_stop
from headgate_control.state import State, applied
from headgate_control.stops.points import EnforcementPoints
from headgate_control.stops.stop import Stop
from headgate_control.store.record import Event
from headgate_gateways.link.frames import Frame, FrameReader
from headgate_gateways.link.replica import GapError, Replica, UnreadableError
from headgate_processors.errors import HeadgateError, PermanentError, TooLargeError


class Source:
    """Control state that changes when it is told to."""

    def __init__(self) -> None:
        self.now = State()
        self.events: list[Event] = []

    def change(self, what: str, number: int) -> list[Event]:
        """One change, in as many events as the journal has of it."""
        if what == "instance":
            found = [(INSTANCE, f"ai-{number}", None, _instance(number, len(self.events)))]
        elif what == "secret":
            found = [("token", f"t{number}", None, {"secret": number})]
        else:
            epoch = self.now.snapshot.stops.epoch + 1
            held = {one.key[1]: one for one in self.now.snapshot.stops}
            body = write_stop(_stop(f"t{number}", epoch)) if what == "stop" else None
            before = write_stop(held[f"t{number}"]) if f"t{number}" in held else None
            found = [(EPOCH, "stops", None, {"epoch": epoch}), (STOP, f"stop:team:t{number}", before, body)]
        made = [self._event(place, *one) for place, one in enumerate(found, 1)]
        self.events += made
        self.now = applied(self.now, made)
        return made

    def _event(self, place: int, kind: str, name: str, before: Any, after: Any) -> Event:
        return Event(
            position=self.now.position + place,
            time_unix_nano=0,
            author="a",
            action="b",
            reason="",
            kind=kind,
            id=name,
            before=before,
            after=after,
        )


def _instance(number: int, version: int) -> dict[str, Any]:
    return {
        "instance_id": f"ai-{number}",
        "manifest_digest": f"m{version}",
        "root": f"ai-{number}",
        "state": "created",
        "created_unix_nano": version,
    }


def _stop(team: str, epoch: int) -> Stop:
    return Stop(
        stop_id=f"s{epoch}",
        key=("team", team),
        mode="stop",
        reason="r",
        author="a",
        accepted_unix_nano=1,
        epoch=epoch,
    )


def known(state: State) -> Any:
    """All that a state says, in an order of its own."""
    return sorted(map(repr, records_of(state)))


class Reader:
    """Reads a feed through connections that end at any byte."""

    def __init__(self, feed: Feed) -> None:
        self.feed, self.replica = feed, Replica()
        self.seen: list[tuple[int, Any]] = []
        self.subscriber: Any = None
        self.heard = False

    def connect(self) -> None:
        """A new connection, from where the last one came to."""
        if self.subscriber is not None:
            self.feed.gone(self.subscriber)
        self.subscriber = self.feed.join("gw", "p", "o")
        self.frames = FrameReader()
        since = self.replica.state.position if self.replica.run is not None else None
        self.read(b"".join(self.feed.opening(since, self.replica.run)))

    def read(self, content: bytes) -> None:
        """Take in what came; a gap ends the connection, as it would in earnest."""
        for frame in self.frames.feed(content):
            beat = self.replica.take(frame)
            self.heard = self.heard or beat is not None
            self.seen.append((self.replica.state.position, known(self.replica.state)))

    def waiting(self) -> bytes:
        """What the feed has for it."""
        pieces = []
        while not self.subscriber._waiting.empty():
            pieces.append(self.subscriber._waiting.get_nowait())
        return b"".join(piece for piece in pieces if piece is not None)


STEP = st.one_of(
    st.tuples(st.sampled_from(["instance", "stop", "resume", "secret"]), st.integers(0, 2)),
    st.tuples(st.just("cut"), st.integers(0, 400)),
    st.tuples(st.just("restart"), st.just(0)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=30), st.sampled_from([2, 100]))
def test_events_are_never_lost_or_doubled_wherever_connections_are_cut(
    steps: list[tuple[str, int]], changes_max: int
) -> None:
    """At every position that a gateway knows it knows exactly what control knew there; at the end it knows all."""
    source = Source()
    history = {0: known(source.now)}
    feed = _feed(source, changes_max)
    reader = Reader(feed)
    reader.connect()
    for what, number in steps:
        if what == "cut":
            reader.read(reader.waiting()[:number])
            reader.connect()
        elif what == "restart":
            feed = reader.feed = _feed(source, changes_max)
            reader.subscriber = None
            reader.connect()
        else:
            for event in source.change(what, number):
                history[event.position] = known(_at(source, event.position))
            feed._publish(source.now, source.events[-2 if what in {"stop", "resume"} else -1 :])
    reader.read(reader.waiting())
    assert known(source.now) == known(reader.replica.state)
    assert reader.heard
    for position, found in reader.seen:
        assert history[position] == found


def _feed(source: Source, changes_max: int) -> Feed:
    return Feed(None, source, EnforcementPoints(), FeedConfig(changes_max=changes_max))  # type: ignore[arg-type]


def _at(source: Source, position: int) -> State:
    return applied(State(), [event for event in source.events if event.position <= position])


@given(st.lists(st.binary(max_size=40), max_size=8), st.data())
def test_frames_are_the_same_however_the_bytes_are_cut(texts: list[bytes], data: Any) -> None:
    """One byte at a time, or all at once."""
    content = b"retry: 5\n\n" + b"".join(
        messages.frame("x", {"text": text.hex()}, position=place) for place, text in enumerate(texts)
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=6)))
    reader, found = FrameReader(), []
    for first, last in zip([0, *cuts], [*cuts, len(content)], strict=True):
        found += reader.feed(content[first:last])
    assert [Frame(name="x", body={"text": text.hex()}, position=place) for place, text in enumerate(texts)] == found


@pytest.mark.parametrize("content", [b"data: {\n\n", b"data: []\n\n", b"id: x\ndata: {}\n\n"])
def test_what_is_no_event_is_an_error(content: bytes) -> None:
    """And never half an event."""
    with pytest.raises(PermanentError):
        list(FrameReader().feed(content))


def test_an_event_that_does_not_end_is_an_error() -> None:
    """What is kept of it is bounded."""
    with pytest.raises(TooLargeError):
        list(FrameReader(bytes_max=100).feed(b"data: " + b"x" * 200))


@pytest.mark.parametrize(
    "frame",
    [
        Frame(name="change", body={"after": 7, "kind": "epoch", "id": "stops", "body": {"epoch": 1}}, position=8),
        Frame(name="beat", body={"position": 1, "epoch": 0}),
        Frame(name="beat", body={"position": 0, "epoch": 1}),
        Frame(name="snapshot", body={"page": 1, "position": 3, "more": False, "records": []}, position=3),
    ],
)
def test_a_gap_is_noticed(frame: Frame) -> None:
    """A change, an epoch or a page that was not heard: the feed is read anew."""
    replica = Replica()
    replica.take(Frame(name="hello", body={"version": 1, "version_oldest": 1, "run": "r"}))
    replica.take(Frame(name="snapshot", body={"page": 0, "position": 0, "more": False, "records": []}, position=0))
    with pytest.raises(GapError):
        replica.take(frame)


def test_what_control_knows_of_a_repository_is_taken_in_and_not_guessed() -> None:
    """A fact of a newer version is left alone; an entry that is none makes a gateway useless, for a forbid may ask."""
    replica = Replica()
    replica.take(Frame(name="hello", body={"version": 1, "version_oldest": 1, "run": "r"}))
    known = {"kind": "repo", "id": "acme/calc", "body": {"environment": "production", "newer": 1}}
    page = {"page": 0, "position": 3, "more": False, "records": [known]}
    replica.take(Frame(name="snapshot", body=page, position=3))
    assert {"environment": "production"} == replica.state.snapshot.directory.facts("acme/calc")
    with pytest.raises(UnreadableError, match="a repo of control cannot be read"):
        replica.take(Frame(name="change", body={"after": 3, "kind": "repo", "id": "x", "body": 5}, position=4))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["hello", "snapshot", "change", "policy", "beat", "other"]),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["page", "position", "more", "records", "kind", "id", "body", "after", "epoch", "run"]),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    ),
)
def test_whatever_control_says_is_taken_in_or_refused(name: str, body: Any) -> None:
    """No event ends the gateway."""
    replica = Replica()
    replica.take(Frame(name="hello", body={"version": 1, "version_oldest": 1, "run": "r"}))
    with suppress(HeadgateError):
        replica.take(Frame(name=name, body=body if isinstance(body, dict) else {}, position=1))
