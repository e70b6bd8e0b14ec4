"""Who and what there is comes from one file, and every change of it is in the journal."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headgate_console.control.place import Place
from headgate_console.testing.commands import Result, Run, runner
from headgate_control.identity.directory import Directory
from headgate_control.store.opening import read_sqlite

FILE = """
version: 1
teams: {payments: {name: Payments}}
users: {ada@example.com: {name: Ada, team: payments}}
services: {ci: {team: payments, owner: ada@example.com}}
workflows: {fix-tests: {team: payments, repo: acme/calc, task_class: repair}}
repos: {acme/calc: {team: payments, urls: ["git@example.com:acme/calc.git"]}}
resources: {ledger-db: {team: payments, environment: production, sensitivity: restricted}}
instances: {fixer: {team: payments, subjects: ["spiffe://headgate/agent/fixer"]}}
match: [{service: "fixer-*", team: payments}]
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `headgate directory` in a folder with a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADGATE_DATA", str(tmp_path / "data"))
    (tmp_path / "registry.yaml").write_text(FILE)
    return runner(capsys, "directory")


def _json(result: Result) -> Any:
    assert 0 == result.code, result.err
    return json.loads(result.out)


def test_a_file_becomes_records(run: Run, tmp_path: Path) -> None:
    """All of them in one change; what is about spans is let be, and doing so again changes nothing."""
    done = _json(run("import", "registry.yaml", "--json"))[0]
    kinds = ["repo acme/calc", "resource ledger-db", "service ci", "team payments", "user ada@example.com"]
    assert [*kinds, "workflow fix-tests"] == done["added"]
    again = _json(run("import", "registry.yaml", "--json"))[0]
    assert ([], [], 6) == (again["added"], again["changed"], again["unchanged"])
    with closing(read_sqlite(Place(data=tmp_path / "data").database)) as store:
        assert {"directory.import"} == {event.action for event in store.events()}
        directory = Directory.of(store)
    assert {"environment": "production", "sensitivity": "restricted"} == directory.facts("ledger-db")
    assert ({}, {}) == (directory.facts("acme/calc"), directory.facts("nothing"))


def test_what_changed_is_told_and_what_is_left_out_stays(run: Run, tmp_path: Path) -> None:
    """Nobody loses a team because a file was cut short."""
    run("import", "registry.yaml")
    (tmp_path / "less.yaml").write_text("resources: {ledger-db: {environment: staging}}\n")
    result = run("import", "less.yaml")
    assert "changed resource ledger-db" in result.out
    assert "team payments" in result.err
    listed = _json(run("list", "--json"))
    assert 6 == len(listed)
    assert [("resource", "ledger-db", "staging", None)] == [
        (row["kind"], row["id"], row["environment"], row["sensitivity"]) for row in listed if row["kind"] == "resource"
    ]


def test_entries_are_listed_by_kind(run: Run) -> None:
    """A table without columns that are empty."""
    run("import", "registry.yaml")
    lines = run("list", "--kind", "user").out.splitlines()
    assert ["KIND", "ID", "NAME", "TEAM"] == lines[0].split()
    assert ["user", "ada@example.com", "Ada", "payments"] == lines[1].split()
    assert 2 == run("list", "--kind", "robot").code


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("users: {ada: {team: paymnets}}\nteams: {payments: {}}", "did you mean 'payments'?"),
        ("resources: {db: {sensitivity: secret}}", "sensitivity"),
        ("usrs: {}", "did you mean 'users'?"),
        ("version: 2", "version"),
    ],
)
def test_a_file_that_is_wrong_changes_nothing(run: Run, tmp_path: Path, text: str, why: str) -> None:
    """The error says where and what was meant."""
    (tmp_path / "wrong.yaml").write_text(text)
    result = run("import", "wrong.yaml")
    assert 2 == result.code
    assert why in result.err
    assert not (tmp_path / "data").exists()
