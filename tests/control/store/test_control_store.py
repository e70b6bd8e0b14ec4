"""The suite that every implementation of the control store passes."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from headgate_control.audit.chain import faults
from headgate_control.audit.verify import verify
from headgate_control.store.port import ControlStore
from headgate_control.store.record import Change, ConflictError, Record

Opener = Callable[..., ControlStore]
ADA = {"author": "ada", "action": "team.create", "reason": "because"}


@pytest.fixture
def store(opener: Opener) -> ControlStore:
    """A fresh store."""
    return opener()


def change(name: str, *, revision: int | None = None, **fields: object) -> Change:
    """A team as it is to be."""
    return Change(kind="team", id=name, body=fields, revision=revision)


def test_a_record_is_what_it_was_last_changed_to(store: ControlStore) -> None:
    """And counts its changes."""
    store.change([change("a", budget=1), change("b")], **ADA)
    store.change([change("a", budget=2)], **ADA)
    assert [
        Record(kind="team", id="a", revision=2, body={"budget": 2}),
        Record(kind="team", id="b", revision=1, body={}),
    ] == store.all("team")
    assert (store.all("team")[0], None) == (store.get("team", "a"), store.get("user", "a"))


def test_every_change_is_an_event(store: ControlStore) -> None:
    """Who, what, why, before and after, in one order."""
    store.change([change("a", budget=1)], **ADA)
    store.change([change("a", budget=2), Change(kind="team", id="a", body=None)], author="bob", action="team.end")
    assert [
        ("ada", "team.create", "because", None, {"budget": 1}),
        ("bob", "team.end", "", {"budget": 1}, {"budget": 2}),
        ("bob", "team.end", "", {"budget": 2}, None),
    ] == [(one.author, one.action, one.reason, one.before, one.after) for one in store.events()]
    positions = [one.position for one in store.events()]
    assert (sorted(positions), positions[1:]) == (positions, [one.position for one in store.events(after=positions[0])])
    assert None is store.get("team", "a")


@pytest.mark.parametrize(("seen", "expected"), [(0, 2), (1, 2), (3, 2)])
def test_a_change_of_what_somebody_else_changed_is_refused(store: ControlStore, seen: int, expected: int) -> None:
    """Nothing of it is done, the part that would go included."""
    store.change([change("a")], **ADA)
    store.change([change("a")], **ADA)
    with pytest.raises(ConflictError, match=f"team 'a' is at revision {expected} by now, not {seen}"):
        store.change([change("b"), change("a", revision=seen)], **ADA)
    assert (["a"], 2) == ([one.id for one in store.all("team")], len(store.events()))
    store.change([change("a", revision=2), change("b", revision=0)], **ADA)


def test_the_journal_of_each_writer_is_a_chain(opener: Opener) -> None:
    """The heads are known, and the chain goes on over starts."""
    for writer in ("control-1", "control-2", "control-1"):
        store = opener(writer)
        for turn in range(3):
            store.change([change(f"{writer}-{turn}", turn=turn)], **ADA)
    anchors = {anchor.writer: anchor for anchor in store.anchors()}
    assert {"control-1": 6, "control-2": 3} == {name: anchor.number for name, anchor in anchors.items()}
    assert [] == [fault for name in anchors for fault in faults(store.chain(name), anchors=[anchors[name]])]


def test_several_nodes_at_once_lose_nothing(opener: Opener) -> None:
    """Each in its own chain, and whoever reads events by position misses none."""
    stores = [opener(f"control-{number}") for number in range(3)]

    def work(store: ControlStore, number: int) -> None:
        for turn in range(10):
            store.change([change(f"{number}-{turn}")], **ADA)

    pairs = zip(stores, range(3), strict=True)
    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in pairs]
    for thread in threads:
        thread.start()
    seen: list[int] = []
    while any(thread.is_alive() for thread in threads):
        seen += [one.position for one in stores[0].events(after=seen[-1] if seen else 0)]
    seen += [one.position for one in stores[0].events(after=seen[-1] if seen else 0)]
    every = [one.position for one in stores[0].events()]
    assert (30, every) == (len(stores[0].all("team")), seen)


def test_one_of_two_who_saw_the_same_is_refused(opener: Opener) -> None:
    """So that a budget is not changed behind somebody's back."""
    stores = [opener(f"control-{number}") for number in range(2)]
    stores[0].change([change("a")], **ADA)
    outcomes: list[str] = []

    def work(store: ControlStore) -> None:
        try:
            store.change([change("a", revision=1)], **ADA)
            outcomes.append("done")
        except ConflictError:
            outcomes.append("refused")

    threads = [threading.Thread(target=work, args=(store,), daemon=True) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ["done", "refused"] == sorted(outcomes)


def test_a_long_journal_is_read_page_by_page(store: ControlStore) -> None:
    """The end of a page is no end."""
    store.change([change(f"{number}") for number in range(1_001)], **ADA)
    (anchor,) = store.anchors()
    assert (1_001, 1_000, []) == (
        len(list(store.chain("control-1"))),
        len(store.events()),
        list(faults(store.chain("control-1"), anchors=[anchor])),
    )


def test_positions_follow_the_numbers_of_each_writer(opener: Opener) -> None:
    """Whatever others wrote between, nothing is out of its place."""
    one = opener()
    for name in "abc":
        one.change([change(name)], **ADA)
    assert [] == one.misplaced()
    assert [] == verify(one, Path("/nowhere")).all_findings
