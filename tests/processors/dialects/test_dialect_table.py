"""Dialect tables: what a file may say, inheritance, a site's own tables, and the packaged ones."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from headgate_processors.dialects import load_dialects
from headgate_processors.dialects.table import KINDS
from headgate_processors.errors import ConfigError
from headgate_processors.testing.dialects import book_with, dialect_with, log_record, span_record, write_table

PACKAGED = {
    entry.name.removesuffix(".yaml"): yaml.safe_load(entry.read_text(encoding="utf-8"))
    for entry in files("headgate_processors.dialects").joinpath("tables").iterdir()
    if entry.name.endswith(".yaml")
}
SPEAKING = sorted(set(PACKAGED) - {"_conventions"})


def test_a_table_says_what_a_record_is(tmp_path: Path) -> None:
    """The first rule that applies gives the kind, by predicate or by value; no rule makes it `other`."""
    dialect = dialect_with(
        tmp_path,
        kinds=[
            {"when": {"name": "ask *", "has": "tokens"}, "kind": "llm"},
            {"source": "step", "map": {"tool": ["use", "run"], "agent": "main"}},
            {"when": {"name": "ask *"}, "kind": "step"},
        ],
    )
    kinds = [
        dialect.kind(span_record(attributes, name=name))
        for name, attributes in [
            ("ask a", {"tokens": 1, "step": "use"}),
            ("ask a", {"step": "run"}),
            ("ask a", {"step": "main"}),
            ("ask a", {"step": "else"}),
            ("rest", {}),
        ]
    ]
    assert ["llm", "tool", "agent", "step", "other"] == kinds


def test_a_field_takes_its_first_source_with_a_value(tmp_path: Path) -> None:
    """Sources are read in order; a field with an empty list has none."""
    dialect = dialect_with(tmp_path, fields={"gen_ai_request_model": ["new.model", "old.model"], "task": []})
    assert "b" == dialect.fields["gen_ai_request_model"](span_record({"old.model": "b"}))
    assert "a" == dialect.fields["gen_ai_request_model"](span_record({"old.model": "b", "new.model": "a"}))
    assert "task" not in dialect.fields


def test_a_table_inherits_what_it_does_not_say(tmp_path: Path) -> None:
    """A field of the child replaces the parent's; fields that it does not name stay."""
    write_table(
        tmp_path,
        "parent",
        detect=[],
        usage="exclusive",
        fields={"turn_id": ["parent.turn"], "session_key": ["parent.session"], "task": ["parent.task"]},
        about_span=["parent.event"],
        content={"task": ["parent.task"]},
        flattened={"input_messages": "parent.in."},
    )
    child = dialect_with(
        tmp_path,
        "child",
        extends="parent",
        fields={"turn_id": ["child.turn"], "task": []},
        about_span=["child.event"],
        content={"task": ["child.task"], "response": ["child.answer"]},
        flattened={"output_messages": "child.out."},
    )
    record = span_record({"parent.turn": "p", "child.turn": "c", "parent.session": "s", "parent.task": "t"})
    assert {"turn_id": "c", "session_key": "s"} == {name: read(record) for name, read in child.fields.items()}
    assert "exclusive" == child.usage
    assert {"child.event", "parent.event"} == child.about_span
    assert {"task": ["child.task", "parent.task"], "response": ["child.answer"]} == child.content
    assert {"input_messages": "parent.in.", "output_messages": "child.out."} == child.flattened


@pytest.mark.parametrize(
    ("sources", "expected"), [(["child", "..."], "c"), (["...", "child"], "p"), (["..."], "p"), (["child"], "c")]
)
def test_three_dots_stand_for_the_parents_sources(tmp_path: Path, sources: list[str], expected: str) -> None:
    """They can stand before, after or alone."""
    write_table(tmp_path, "parent", detect=[], fields={"turn_id": ["parent"]})
    child = dialect_with(tmp_path, "child", extends="parent", fields={"turn_id": sources})
    assert expected == child.fields["turn_id"](span_record({"parent": "p", "child": "c"}))


def test_a_childs_kinds_come_before_the_parents(tmp_path: Path) -> None:
    """The child sees each record first, and its grandparent last."""
    write_table(tmp_path, "old", detect=[], kinds=[{"when": {"name": "*"}, "kind": "step"}])
    write_table(tmp_path, "parent", detect=[], extends="old", kinds=[{"when": {"name": "a*"}, "kind": "tool"}])
    child = dialect_with(tmp_path, "child", extends="parent", kinds=[{"when": {"name": "ab*"}, "kind": "llm"}])
    assert ["llm", "tool", "step"] == [child.kind(span_record(name=name)) for name in ("abc", "acb", "bca")]


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ({"colour": "red"}, ["colour"]),
        ({"version": None}, ["version"]),
        ({"usage": "net"}, ["usage", "inclusive"]),
        ({"precedence": "first"}, ["precedence"]),
        ({"kinds": [{"when": {"name": "a"}, "kind": "llms"}]}, ["'llms'", "llm", "tool_attempt"]),
        ({"kinds": [{"source": "a", "map": {"think": ["x"]}}]}, ["'think'", "workflow"]),
        ({"kinds": [{"when": {"name": "a"}}]}, ["`when` and `kind`"]),
        ({"kinds": [{"source": "a", "map": ["x"]}]}, ["`source` and `map`"]),
        ({"kinds": [{"when": {"nam": "a"}, "kind": "llm"}]}, ["nam", "known are"]),
        ({"fields": {"gen_ai_request_mdoel": ["a"]}}, ["gen_ai_request_mdoel", "did you mean 'gen_ai_request_model'"]),
        ({"fields": {"colour": ["a"]}}, ["unknown field 'colour'"]),
        ({"fields": {"task": [{"attribute": "a", "unit": "h"}]}}, ["known are s, ms, us, ns"]),
        ({"flattened": {"messages": "a."}}, ["unknown field 'messages'"]),
        ({"content": {"messages": ["a"]}}, ["unknown content 'messages'", "input_messages"]),
        ({"usage_exclusive_when": {"has": "a"}}, ["has_path"]),
        ({"detect": [{"scop": "a"}]}, ["scop", "known are"]),
        ({"extends": "nobody"}, ["'nobody'", "no table defines"]),
        ({"extends": "invented"}, ["back to itself"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_mistake_is_an_error_that_names_the_table(tmp_path: Path, table: dict[str, Any], names: list[str]) -> None:
    """An unknown key, kind, field or word is refused, and the message says whose table and what would be right."""
    with pytest.raises(ConfigError) as error:
        book_with(tmp_path, **table)
    assert [] == [name for name in ("invented", *names) if name not in str(error.value)]


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    """The message says which file."""
    (tmp_path / "mine.yaml").write_text("dialect: [unclosed\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        load_dialects(tmp_path)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """A misspelt folder is not the same as no folder."""
    with pytest.raises(ConfigError, match="nowhere"):
        load_dialects(tmp_path / "nowhere")


def test_an_empty_folder_changes_nothing(tmp_path: Path) -> None:
    """A site may have a folder and no table yet."""
    assert [one.name for one in load_dialects().dialects] == [one.name for one in load_dialects(tmp_path).dialects]


def test_a_sites_table_replaces_the_packaged_one_of_its_name(tmp_path: Path) -> None:
    """Whatever the file is called, the dialect's name decides."""
    folder = tmp_path / "own"
    write_table(folder, "own", dialect="codex", version="mine", detect=[{"scope": "invented"}])
    found = [one for one in load_dialects(folder).dialects if one.name == "codex"]
    assert ["mine"] == [one.version for one in found]


def test_a_sites_table_may_extend_a_packaged_one(tmp_path: Path) -> None:
    """A fork of a known agent is a few lines."""
    dialect = dialect_with(tmp_path, extends="pydantic_ai", fields={"turn_id": ["fork.turn"]})
    assert dialect.fields.keys() > {"turn_id", "gen_ai_usage_input_tokens"}


def test_content_keys_of_every_table_count_for_every_record(tmp_path: Path) -> None:
    """A prompt must not stay in the attributes because another table was chosen."""
    book = book_with(tmp_path, content={"task": ["invented.prompt"]})
    assert "invented.prompt" in book.content["task"]
    assert "gen_ai.input.messages" in book.content["input_messages"]


@pytest.mark.parametrize("name", SPEAKING)
def test_every_packaged_table_recognises_and_extends(name: str) -> None:
    """A table without a detection rule would never speak; one without the conventions would miss what all share."""
    table = PACKAGED[name]
    assert name == table["dialect"]
    assert table["detect"]
    line = [name]
    while (parent := PACKAGED[line[-1]].get("extends")) is not None:
        line.append(parent)
    assert "_conventions" == line[-1]


def test_every_packaged_table_has_a_place_of_its_own() -> None:
    """No two tables have the same precedence, so the order is no accident of names."""
    places = [PACKAGED[name]["precedence"] for name in SPEAKING]
    assert sorted(set(places)) == sorted(places)
    assert sorted(places) == [one.precedence for one in load_dialects().dialects]


def test_every_kind_of_the_conventions_is_known() -> None:
    """The kinds that tables give are those that the schema documents."""
    given = {
        kind
        for table in PACKAGED.values()
        for rule in table.get("kinds", [])
        for kind in ([rule["kind"]] if "kind" in rule else rule["map"])
    }
    assert set() == given - KINDS


def test_of_two_tables_that_match_the_lower_precedence_speaks(tmp_path: Path) -> None:
    """And a table that says more stands before one that says less."""
    write_table(tmp_path, "late", precedence=7, detect=[{"scope": "invented"}])
    book = book_with(tmp_path, "early", precedence=6, detect=[{"scope": "invented", "has": "early"}])
    found = [book.detect(span_record(attributes)) for attributes in ({"early": 1}, {})]
    assert ["early", "late"] == [dialect.name for dialect in found if dialect]


def test_what_was_remembered_for_a_scope_does_not_decide_by_attributes(tmp_path: Path) -> None:
    """Candidates are kept per scope and service; attributes are looked at for each record."""
    book = book_with(tmp_path, precedence=1, detect=[{"has": "mark"}, {"event": "invented.*"}])
    records = [
        span_record({"mark": 1}, scope="s"),
        span_record(scope="s"),
        span_record({"mark": 1}, scope="s"),
        log_record(scope="s", event="invented.asked"),
        log_record(scope="s", event="asked"),
    ]
    assert ["invented", None, "invented", "invented", None] == [
        dialect.name if (dialect := book.detect(record)) else None for record in records
    ]
