"""The journal knows which policies were decided by; the texts behind a digest are kept and cannot be edited unseen."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from headgate_control.audit.verify import verify
from headgate_control.policy import kept
from headgate_control.policy.bundle import Bundle, bundle_of
from headgate_control.policy.kept import PolicyJournal, in_use, kept_texts, text_path
from headgate_control.store.opening import open_sqlite
from headgate_control.store.port import ControlStore

PERMIT = '@id("all") permit(principal, action, resource);'
FORBID = '@id("no") forbid(principal, action, resource);'
MINUTE_NS = 60_000_000_000


def bundle(*texts: str) -> Bundle:
    """A bundle of these files."""
    return bundle_of({f"{number}.cedar": text for number, text in enumerate(texts)})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ControlStore]:
    """A fresh store."""
    with closing(open_sqlite(tmp_path / "control.sqlite", writer="control")) as made:
        yield made


@pytest.fixture
def now() -> list[int]:
    """The time that it is."""
    return [MINUTE_NS]


@pytest.fixture
def journal(store: ControlStore, tmp_path: Path, now: list[int]) -> PolicyJournal:
    """Tells that store."""
    return PolicyJournal(store, tmp_path / "policies", node="control", clock=lambda: now[0])


def used(journal: PolicyJournal, *texts: str) -> Bundle:
    """A bundle that is decided by, as the journal says."""
    made = bundle(*texts)
    journal.use(made)
    journal.tell()
    return made


def said(store: ControlStore) -> list[tuple[str, str]]:
    """The events: what was done, and with which kind of record."""
    return [(event.action, event.kind) for event in store.events()]


def test_each_change_is_an_event_and_its_texts_are_kept(
    journal: PolicyJournal, store: ControlStore, tmp_path: Path
) -> None:
    """From the file of a digest the same bundle is made again."""
    made = [used(journal, PERMIT), used(journal, PERMIT, FORBID), used(journal, PERMIT)]
    found = orjson.loads(kept_texts(store, tmp_path / "policies")[made[1].digest].read_bytes())
    assert [("policy.use", "policy"), ("policy.use", "policy_in_use")] * 2 + [("policy.use", "policy_in_use")] == said(
        store
    )
    assert (made[1].digest, made[0].digest) == (bundle_of(found["texts"]).digest, in_use(store)[0]["digest"])


def test_a_start_with_the_same_policies_says_nothing_new(journal: PolicyJournal, store: ControlStore) -> None:
    """Several changes between two tells are told each."""
    for texts in ((PERMIT,), (FORBID,), (PERMIT,)):
        journal.use(bundle(*texts))
    journal.tell()
    told = len(said(store))
    used(journal, PERMIT)
    assert (5, 5) == (told, len(said(store)))


def test_policies_that_are_refused_are_in_the_journal_until_they_are_mended(
    journal: PolicyJournal, store: ControlStore
) -> None:
    """With what is wrong; what is decided by stays."""
    made = used(journal, PERMIT)
    journal.refused("a.cedar: unexpected token")
    journal.tell()
    body = in_use(store)[0]
    assert (made.digest, {"problem": "a.cedar: unexpected token", "since_unix_nano": MINUTE_NS}) == (
        body["digest"],
        body["refused"],
    )
    journal.refused(None)
    journal.tell()
    assert (None, ["policy.refuse", "policy.use"]) == (
        in_use(store)[0]["refused"],
        [action for action, _ in said(store)][-2:],
    )


def test_policies_that_are_refused_again_and_again_are_told_once_a_minute(
    journal: PolicyJournal, store: ControlStore, now: list[int]
) -> None:
    """An editor that saves every second fills no journal."""
    used(journal, PERMIT)
    for second in range(120):
        now[0] = (second + 60) * MINUTE_NS // 60
        journal.refused(f"line {second}")
        journal.tell()
    assert 2 == [action for action, _ in said(store)].count("policy.refuse")


def test_the_oldest_texts_go_and_the_journal_says_so(
    journal: PolicyJournal, store: ControlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is decided by stays."""
    monkeypatch.setattr(kept, "KEPT_MAX", 2)
    for number in range(4):
        used(journal, PERMIT.replace("all", f"p{number}"))
    left = kept_texts(store, tmp_path / "policies")
    assert (2, 2, True) == (
        len(left),
        [action for action, _ in said(store)].count("policy.forget"),
        in_use(store)[0]["digest"] in left,
    )


@pytest.mark.parametrize("is_missing", [True, False])
def test_texts_that_were_edited_are_found(
    journal: PolicyJournal, store: ControlStore, tmp_path: Path, *, is_missing: bool
) -> None:
    """Whoever removes or rewrites what was decided by is named by the file."""
    made = used(journal, PERMIT)
    path = text_path(tmp_path / "policies", made.digest)
    whole = verify(store, tmp_path / "log").all_findings
    path.unlink() if is_missing else path.write_bytes(path.read_bytes().replace(b"permit", b"forbid"))
    found = [(one.place, one.problem) for one in verify(store, tmp_path / "log").all_findings]
    problem = "it is missing" if is_missing else "it was changed: its SHA-256 is another"
    assert ([], [(f"policies/{path.name}", problem)]) == (whole, found)
