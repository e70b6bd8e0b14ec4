"""The directory as policies see it: entries, what they name in turn, and the names of resources."""

from contextlib import closing
from pathlib import Path

import pytest

from headgate_control.decide.core import Snapshot, entries_of
from headgate_control.feed.messages import KINDS, event_of, record_of, records_of
from headgate_control.identity.directory import Directory, DirectoryFile, Known, import_directory
from headgate_control.request import ActionName, Request, Resource, Subject
from headgate_control.state import ControlState, State, applied
from headgate_control.store.opening import open_sqlite
from headgate_control.testing.identities import instance
from headgate_processors.documents import parse_document

FILE = """
users: {ada: {team: payments}, ci: {team: search}}
services: {nightly: {owner: ada}}
teams: {payments: {name: Payments}, search: {}}
workflows: {fix-tests: {repo: acme/calc, task_class: repair}}
repos: {acme/calc: {team: payments, environment: production, urls: ["git@x:acme/calc.git"]}}
resources: {bank: {environment: staging, sensitivity: restricted}}
"""


def directory_file(text: str = FILE) -> DirectoryFile:
    """A file, read."""
    return parse_document(text, DirectoryFile, source="registry.yaml")


def test_around_an_instance_is_what_its_record_names_and_what_that_names_in_turn() -> None:
    """Each once; a person of the launcher's name is no service, and what nobody wrote down has a name alone."""
    found = directory_file().directory()
    told = {"workflow": "fix-tests", "user": "eve", "launched_by": "nightly", "team": "payments"}
    assert (
        Known("repo", "acme/calc", (("team", "payments"), ("environment", "production"))),
        Known("service", "nightly", (("owner", "ada"),)),
        Known("team", "payments"),
        Known("user", "ada", (("team", "payments"),)),
        Known("user", "eve"),
        Known("workflow", "fix-tests", (("repo", "acme/calc"), ("task_class", "repair"))),
    ) == found.around(told)
    assert () == found.around({"launched_by": "ci"})


@pytest.mark.parametrize(
    ("action", "named", "properties", "expected"),
    [
        ("tools/call", "transfer", {"server": "bank"}, ("bank/transfer", "bank")),
        ("tools/call", "psql", {}, ("psql",)),
        ("net.connect", "db.example.com:5432", {}, ("db.example.com:5432", "db.example.com")),
        ("resources/read", "file:///x", {"server": "bank"}, ("file:///x", "bank")),
        ("credential.use", "github", {}, ("github",)),
        ("file.write", "acme/calc", {}, ()),
        ("proc.exec", "bank", {}, ()),
        ("model.call", "openai/gpt-5", {}, ()),
    ],
)
def test_a_resource_is_looked_up_by_its_names(
    action: ActionName, named: str, properties: dict[str, str], expected: tuple[str, ...]
) -> None:
    """The nearest first; a path or a command that is called like an entry is none."""
    resource = Resource(type="any", id=named, properties=properties)
    assert expected == entries_of(Request(subject=Subject(type="x", id="y"), action=action, resource=resource))


def test_the_environment_is_that_of_the_launch_else_of_the_resource_else_of_the_repository() -> None:
    """Unknown is nothing."""
    snapshot = Snapshot(directory=directory_file().directory())
    told: list[dict[str, str]] = [{"repo": "acme/calc"}, {"resource": "bank", "repo": "acme/calc"}, {"repo": "other"}]
    told.append({"environment": "test", "repo": "acme/calc"})
    found = [snapshot.subject(instance(f"ai-{place}", **one)) for place, one in enumerate(told)]
    assert ["production", "staging", None, "test"] == [one.properties["environment"] for one in found]


def test_an_import_is_known_at_once_after_a_start_and_at_a_gateway_elsewhere(tmp_path: Path) -> None:
    """And so is a change of it; the feed tells both, as changes and as a whole."""
    with closing(open_sqlite(tmp_path / "control.db", writer="control-1")) as store:
        state = ControlState(store)
        import_directory(store, directory_file(), author="ada")
        before = state.refresh().snapshot.directory
        import_directory(store, directory_file("resources: {bank: {environment: production}}"), author="ada")
        now, again = state.refresh().snapshot.directory, ControlState(store).now
        events = [event for event in store.events() if event.kind in KINDS]
    elsewhere = applied(State(), [event_of(record_of(one), position=one.position) for one in events])
    whole = applied(State(), [event_of(one, position=1) for one in records_of(again)])
    assert ("staging", "production") == (before.facts("bank")["environment"], now.facts("bank")["environment"])
    assert [now] * 3 == [one.snapshot.directory for one in (again, elsewhere, whole)]


def test_an_entry_that_is_gone_is_not_known() -> None:
    """Whatever else is there stays."""
    found = directory_file().directory().after([("resource", "bank", None), ("resource", "ledger", {"newer": 1})])
    assert ({}, {}, {"environment": "production"}) == tuple(
        found.facts(name) for name in ("bank", "ledger", "acme/calc")
    )
    assert Directory().after([]) == Directory()
