"""The commands, over a store that was filled by `headgate replay` with what real agents sent."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyarrow import parquet

from headgate_console.cli import main
from headgate_console.testing.commands import Result, Run, runner

RECORDINGS = resources.files("headgate_console.demo") / "recordings"
AGENTS = ("claude-code-subagent", "openai-agents-mcp-loop", "autogen-nocontent", "claude-code-killed")

pytestmark = pytest.mark.recordings
_SLOW = pytest.mark.slow


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of four agents' sessions."""
    data = tmp_path_factory.mktemp("filled") / "store"
    files = [str(RECORDINGS / f"{name}.jsonl.gz") for name in AGENTS]
    with pytest.raises(SystemExit) as ended:
        main(["replay", *files, "--data", str(data)])
    assert 0 == ended.value.code
    return data


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, filled: Path) -> Run:
    """Run a command in an empty folder; without `--data` on the filled store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADGATE_DATA", str(filled))
    monkeypatch.delenv("COLUMNS", raising=False)

    return runner(capsys)


def _json(result: Result) -> Any:
    assert 0 == result.code, result.err
    return json.loads(result.out)


def test_sessions_are_listed_in_a_line_each(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is as wide as it is where it goes to a pipe, and cut nowhere; what is no result goes to stderr."""
    result = run("sessions")
    monkeypatch.setenv("COLUMNS", "80")
    cut = run("sessions").out.splitlines()
    lines = result.out.splitlines()
    assert 0 == result.code
    assert lines[0].split()[:3] == ["SESSION", "STATE", "AGENT"]
    assert 4 == len(lines[1:])
    assert max(map(len, cut)) <= 80 < max(map(len, lines))
    assert "reviewed by a subagent" in result.out
    assert "4 sessions" in result.err
    assert "\x1b" not in result.out


@pytest.mark.parametrize("width", [40, *(pytest.param(width, marks=_SLOW) for width in (60, 100, 160))])
def test_every_table_fits_the_columns_given(run: Run, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """COLUMNS decides the width of each command's output; no line is ever longer."""
    monkeypatch.setenv("COLUMNS", str(width))
    commands = (["sessions"], ["ledger"], ["cost"], ["cost", "--by", "model"], ["sql", "FROM sessions"])
    session = _json(run("sessions", "--json"))[0]["session_id"]
    for command in (*commands, ["session", session], ["doctor"], ["config", "show"]):
        assert [] == [line for line in run(*command).out.splitlines() if len(line) > width], command


def test_a_session_is_shown_with_its_agents_and_cost(run: Run) -> None:
    """The head says who ran it for whom and what it cost, the timeline what happened, sub-agents indented."""
    session = next(s for s in _json(run("sessions", "--json")) if len(s["agent_names"]) == 2)
    shown = run("session", session["session_id"][:8]).out
    assert session["session_id"] in shown
    for expected in ("alice · payments · review · acme/calc", "Have calc.py reviewed", "6 model calls", "$0.0198"):
        assert expected in shown
    assert re.search(r"│ ╭ general-purpose", shown)
    assert "read `calc.py`" in shown


def test_a_session_as_json_holds_its_timeline(run: Run) -> None:
    """One object with the session and everything that happened, in order."""
    session = _json(run("sessions", "--json"))[0]
    (found,) = _json(run("session", session["source_key"], "--json"))
    assert session["session_id"] == found["session"]["session_id"]
    assert list(range(1, len(found["timeline"]) + 1)) == [entry["seq"] for entry in found["timeline"]]


def test_an_unknown_session_is_a_failure_with_the_next_step(run: Run) -> None:
    """Exit code 1, nothing on stdout, and a command that lists what there is."""
    assert Result(1, "", run("session", "nope").err) == run("session", "nope")
    assert "headgate sessions" in run("session", "nope").err


def test_the_ledger_tells_what_was_done_in_words(run: Run) -> None:
    """Each call is a line in words, with its result."""
    result = run("ledger", "--action", "command", "--result", "error")
    assert 0 == result.code
    assert 6 == len(result.out.splitlines()) - 1
    assert "ran `run_tests test_calc.py`" in result.out


def test_the_ledger_of_one_session(run: Run) -> None:
    """A session is named by its first digits, as everywhere."""
    session = _json(run("sessions", "--json"))[0]["session_id"]
    calls = _json(run("ledger", "--session", session[:10], "--json"))
    assert {session} == {call["session_id"] for call in calls}


def test_cost_by_team_adds_up_and_says_what_is_unknown(run: Run) -> None:
    """Teams are summed, the total is theirs, and an agent without usage is named, not counted as zero."""
    rows = _json(run("cost", "--by", "team", "--json"))
    assert {"payments", "platform", "search"} == {row["group_value"] for row in rows}
    assert None is next(row["cost_usd"] for row in rows if row["group_value"] == "search")
    shown = run("cost", "--by", "team", "--by", "model").out
    assert "its agent reports no model calls" in shown
    assert 2 == shown.count("total")


def test_sql_as_json_is_one_array_and_nothing_else(run: Run) -> None:
    """Integers are numbers, money is text, times are RFC 3339 in UTC, NULL is null."""
    query = (
        "SELECT count(*) AS n, sum(input_tokens) AS tokens, max(cost_usd) AS cost, min(start_time) AS first, NULL AS x"
    )
    result = run("sql", f"{query} FROM model_calls", "--format", "json")
    (row,) = _json(result)
    assert "" == result.err
    assert int is type(row["n"]) is type(row["tokens"])
    assert re.fullmatch(r"\d+\.\d{9}", row["cost"])
    assert re.fullmatch(r"2026-11-22T[\d:.]+Z", row["first"])
    assert None is row["x"]
    assert "[]\n" == run("sql", "SELECT 1 WHERE false", "--format", "json").out


def test_sql_as_csv(run: Run) -> None:
    """A heading and a line a row."""
    out = run("sql", "SELECT session_id, task FROM sessions ORDER BY 1", "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(out)))
    assert 4 == len(rows)
    assert {"session_id", "task"} == set(rows[0])


def test_sql_as_parquet(filled: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Bytes on stdout that any reader of Parquet reads."""
    with pytest.raises(SystemExit) as ended:
        main(["sql", "FROM model_calls", "--format", "parquet", "--data", str(filled)])
    assert 0 == ended.value.code
    table = parquet.read_table(io.BytesIO(capfdbinary.readouterr().out))
    assert "decimal128(18, 9)" == str(table.schema.field("cost_usd").type)


@pytest.mark.parametrize(
    "query",
    ["DROP VIEW sessions", "COPY sessions TO 'x.csv'", "ATTACH 'x.db'", "SELEC 1", "SELECT nope FROM sessions", ""],
)
def test_sql_that_does_not_read_fails(run: Run, query: str) -> None:
    """Exit code 1, the reason on stderr, nothing on stdout, no traceback."""
    result = run("sql", query, "--format", "json")
    assert (1, "") == (result.code, result.out)
    assert result.err.startswith("headgate: ")
    assert "Traceback" not in result.err


def test_sql_cannot_read_other_files(run: Run, tmp_path: Path) -> None:
    """A connection sees the store and nothing else of the machine."""
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n", encoding="utf-8")
    result = run("sql", f"SELECT * FROM read_csv('{secret}')")
    assert (1, "") == (result.code, result.out)


@pytest.mark.parametrize(
    "arguments",
    [
        ["sesions"],
        ["sessions", "--unheard-of"],
        ["session"],
        ["sql"],
        ["cost", "--by", "weather"],
        ["sessions", "--since", "soon"],
    ],
)
def test_bad_usage_is_exit_code_two(run: Run, arguments: list[str]) -> None:
    """What cannot be a command is told apart from one that failed."""
    result = run(*arguments)
    assert (2, "") == (result.code, result.out)


def test_a_folder_without_a_store_says_how_to_make_one(run: Run, tmp_path: Path) -> None:
    """Exit code 1 and the two commands that fill one."""
    result = run("sessions", "--data", str(tmp_path / "nothing"))
    assert 1 == result.code
    assert "headgate replay" in result.err
    assert "headgate up" in result.err


def test_an_unknown_setting_is_exit_code_two(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped variable stops every command that reads settings."""
    monkeypatch.setenv("HEADGATE_SESSIONS__IDLE_GPA", "1 min")
    result = run("sessions")
    assert 2 == result.code
    assert "Did you mean sessions.idle_gap?" in result.err


def test_the_doctor_names_what_has_no_usage(run: Run) -> None:
    """Findings have a next step; a store with warnings fails only when asked to."""
    result = run("doctor")
    assert 0 == result.code
    assert "reported no tokens: unknown (NULL)" in re.sub(r"\s+", " ", result.out)
    found = {finding["topic"]: finding["level"] for finding in _json(run("doctor", "--json"))}
    assert "note" == found["usage"]
    warned = "warning" in found.values()
    assert (1 if warned else 0) == run("doctor", "--strict").code


def test_idle_sessions_are_judged_as_of_the_time_given(run: Run) -> None:
    """A killed session runs until it has been idle for the gap."""
    assert 1 == len(_json(run("sessions", "--state", "running", "--json")))
    assert [] == _json(run("sessions", "--state", "running", "--now", "2026-12-24T00:00Z", "--json"))


def test_views_can_be_read_by_any_duckdb(run: Run) -> None:
    """The printed statements give a DuckDB that knows nothing of Headgate the same rows, again and again."""
    query = "SELECT state, count(*) AS n FROM sessions GROUP BY ALL ORDER BY ALL"
    statements, expected = run("views").out, _json(run("sql", query, "--json"))
    with duckdb.connect() as other:
        for _ in range(2):
            other.execute(statements)
            assert [(row["state"], row["n"]) for row in expected] == other.execute(query).fetchall()


@pytest.mark.parametrize("command", [("sessions",), ("derive",), ("compact",), ("doctor",), ("store", "check")])
def test_a_folder_that_holds_no_store_is_left_as_it_is(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    """The answer says what would fill it, and a mistyped name leaves no folder behind."""
    result = run(*command, "--data", str(tmp_path / "nowhere"))
    assert (1, True) == (result.code, "holds no store" in result.err)
    assert not (tmp_path / "nowhere").exists()


def test_a_replay_says_what_it_read_kept_and_refused(run: Run, tmp_path: Path) -> None:
    """What cannot be read is counted, named with its line, and exit code 1; the rest is kept."""
    file = tmp_path / "mixed.jsonl"
    file.write_text('{"resourceSpans": []}\nno json\n', encoding="utf-8")
    result = run("replay", str(file), "--data", str(tmp_path / "new"))
    assert 1 == result.code
    assert "2 requests" in result.out
    assert f"{file}:2" in result.err


@pytest.mark.slow
def test_the_same_file_is_another_session_with_a_suffix(run: Run, tmp_path: Path) -> None:
    """Replayed twice it is one session, with a suffix it is one more."""
    file, data = str(RECORDINGS / "claude-code-killed.jsonl.gz"), str(tmp_path / "new")
    counts = []
    for extra in ([], [], ["--session-suffix", "again"]):
        assert 0 == run("replay", file, "--data", data, *extra).code
        counts.append(_json(run("sql", "SELECT count(*) AS n FROM sessions", "--json", "--data", data))[0]["n"])
    assert [1, 1, 2] == counts


def test_replay_refuses_both_destinations(run: Run, tmp_path: Path) -> None:
    """A store or an endpoint, not both."""
    result = run("replay", str(tmp_path), "--data", "x", "--endpoint", "http://127.0.0.1:1")
    assert 2 == result.code


def test_an_empty_recording_makes_an_empty_store(run: Run, tmp_path: Path) -> None:
    """Nothing sent is nothing stored, and no error."""
    file, data = tmp_path / "empty.jsonl", str(tmp_path / "new")
    file.write_text("", encoding="utf-8")
    assert 0 == run("replay", str(file), "--data", data).code
    assert [] == _json(run("sessions", "--json", "--data", data))
    assert "No sessions yet" in run("sessions", "--data", data).err


@pytest.mark.slow
def test_compaction_keeps_what_queries_see(run: Run, tmp_path: Path) -> None:
    """Fewer files, the same answers."""
    data = str(tmp_path / "new")
    run("replay", str(RECORDINGS / "claude-code-subagent.jsonl.gz"), "--data", data)
    query = ("sql", "SELECT * EXCLUDE (revision) FROM timeline ORDER BY seq", "--json", "--data", data)
    before = _json(run(*query))
    assert 0 == run("compact", "--data", data).code
    assert 0 == run("derive", "--full", "--data", data).code
    assert before == _json(run(*query))


def test_config_shows_where_each_value_comes_from(run: Run, filled: Path) -> None:
    """The variable that set the folder is named."""
    rows = {row["setting"]: row for row in _json(run("config", "show", "--json"))}
    assert (str(filled), "HEADGATE_DATA") == (rows["data"]["value"], rows["data"]["origin"])
    assert 0 == run("config", "validate").code
    assert "object" == _json(run("config", "schema"))["type"]


def test_config_validate_checks_the_file_given(run: Run, tmp_path: Path) -> None:
    """A wrong file is exit code 2, wherever it lies."""
    (tmp_path / "other.yaml").write_text("nope: 1\n", encoding="utf-8")
    assert 2 == run("config", "validate", str(tmp_path / "other.yaml")).code


@pytest.mark.parametrize(
    "command",
    [["session", "dd"], *(pytest.param([name], marks=_SLOW) for name in ("sessions", "cost", "doctor", "ledger"))],
)
def test_a_terminal_without_unicode_gets_ascii(filled: Path, command: list[str]) -> None:
    """Marks, dashes and bars have plain forms; nothing ends in an encoding error."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    shown = subprocess.run(
        [sys.executable, "-m", "headgate_console", *command, "--data", str(filled)],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert (0, True) == (shown.returncode, shown.stdout.isascii()), shown.stderr
    assert b"?" not in shown.stdout


def test_json_is_utf8_whatever_the_locale(filled: Path) -> None:
    """What programs read does not depend on the terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "headgate_console", "sql", "SELECT 'é–' AS x", "--json", "--data", str(filled)],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )
    assert [{"x": "é–"}] == json.loads(done.stdout.decode("utf-8"))


def test_the_version_is_told(run: Run) -> None:
    """One line with the version of the package."""
    assert re.fullmatch(r"headgate \d+\.\d+\.\d+\n", run("--version").out)
