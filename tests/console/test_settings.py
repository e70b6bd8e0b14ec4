"""Settings: layers, origins, and what is said when one is wrong."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headgate_console.settings import Settings, described, json_schema, leaves, load_settings, split_address, value_of
from headgate_console.settings.values import parse_duration, parse_size, write_duration, write_size
from headgate_processors.errors import ConfigError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts in an empty folder."""
    monkeypatch.chdir(tmp_path)


def _file(text: str) -> None:
    Path("headgate.yaml").write_text(text, encoding="utf-8")


def test_without_anything_every_value_is_a_default() -> None:
    """The contract's defaults hold, and say that they are defaults."""
    loaded = load_settings()
    assert ("127.0.0.1:4317", timedelta(minutes=30), "127.0.0.1:7400") == (
        loaded.settings.receiver.grpc,
        loaded.settings.sessions.idle_gap,
        loaded.settings.console.listen,
    )
    assert {"default"} == {loaded.origin(name) for name, _ in leaves()}


def test_a_flag_wins_over_the_environment_and_that_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer gives what no layer above it gives, and the origin names the layer."""
    _file("receiver:\n  grpc: 127.0.0.1:1\n  http: 127.0.0.1:1\nconsole:\n  listen: 127.0.0.1:1\n")
    monkeypatch.setenv("HEADGATE_RECEIVER__GRPC", "127.0.0.1:2")
    monkeypatch.setenv("HEADGATE_RECEIVER__HTTP", "127.0.0.1:2")
    loaded = load_settings({"receiver.grpc": "127.0.0.1:3", "data": None})
    names = ("receiver.grpc", "receiver.http", "console.listen", "data")
    assert [
        ("127.0.0.1:3", "flag"),
        ("127.0.0.1:2", "HEADGATE_RECEIVER__HTTP"),
        ("127.0.0.1:1", "headgate.yaml:5"),
        (Path("headgate-data"), "default"),
    ] == [(value_of(loaded.settings, name), loaded.origin(name)) for name in names]


def test_another_file_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable names a file, an argument wins over it."""
    Path("a.yaml").write_text("data: a\n", encoding="utf-8")
    Path("b.yaml").write_text("data: b\n", encoding="utf-8")
    monkeypatch.setenv("HEADGATE_CONFIG", "a.yaml")
    assert [Path("a"), Path("b")] == [load_settings().settings.data, load_settings(file=Path("b.yaml")).settings.data]


def test_the_collectors_variables_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What begins with HEADGATE_COLLECTOR_ is no setting and no error."""
    monkeypatch.setenv("HEADGATE_COLLECTOR_DATA", "queue")
    assert Settings.model_construct() == load_settings().settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "receiver:\n  grcp: 127.0.0.1:1\n",
            "(headgate.yaml:2) is not a setting. Did you mean receiver.grpc?",
        ),
        (
            "sesions:\n  idle_gap: 1 min\n",
            "(headgate.yaml:2) is not a setting. Did you mean sessions.idle_gap?",
        ),
        ("data:\n  folder: x\n", "data.folder (headgate.yaml:2) is not a setting."),
        ("sessions:\n  idle_gap: soon\n", "sessions.idle_gap (headgate.yaml:2): expected a length of time"),
        ("receiver:\n  grpc: here\n", "receiver.grpc (headgate.yaml:2): expected HOST:PORT"),
        ("receiver: here\n", "receiver (headgate.yaml:1): input should be"),
        ("- data\n", "expected a mapping of settings"),
        ("data: [\n", "cannot be read as YAML"),
    ],
)
def test_a_wrong_file_says_where_and_what(text: str, message: str) -> None:
    """The message names the setting, the line, and the nearest known name or what was expected."""
    _file(text)
    with pytest.raises(ConfigError) as raised:
        load_settings()
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HEADGATE_RECEIVER__GRCP", "x", "(HEADGATE_RECEIVER__GRCP) is not a setting. Did you mean receiver.grpc?"),
        ("HEADGATE_DATA__X", "x", "data.x (HEADGATE_DATA__X) is not a setting."),
        ("HEADGATE_STORE__SEAL_INTERVAL", "-1", "(HEADGATE_STORE__SEAL_INTERVAL): expected a length of time"),
        ("HEADGATE_RECEIVER", "x", "HEADGATE_ variable cannot be read"),
        ("HEADGATE_CONFIG", "nowhere.yaml", "no configuration file 'nowhere.yaml'"),
    ],
)
def test_a_wrong_variable_says_which(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    """The message names the variable."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as raised:
        load_settings()
    assert message in str(raised.value)


def test_every_setting_is_described() -> None:
    """Each has a default, a value and a sentence, and can be written back into a file."""
    rows = described(load_settings())
    assert [] == [row["setting"] for row in rows if not str(row["doc"]).endswith(".")]
    assert {row["setting"] for row in rows} == {name for name, _ in leaves()}
    assert [row["default"] for row in rows] == [row["value"] for row in rows]


def test_what_is_shown_can_be_loaded_again() -> None:
    """A file made of every shown value gives the same settings."""
    settings = load_settings().settings
    _file(yaml.safe_dump(settings.model_dump(mode="json")))
    assert settings == load_settings().settings


def test_the_json_schema_accepts_what_the_settings_accept() -> None:
    """A file of defaults is valid, an unknown key is not."""
    tree: dict[str, Any] = load_settings().settings.model_dump(mode="json")
    jsonschema.validate(tree, json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tree | {"unheard_of": 1}, json_schema())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30 min", 1800), ("90s", 90), ("1h30m", 5400), (90, 90), ("1.5 h", 5400), ("250 ms", 0.25), ("7 d", 604800)],
)
def test_lengths_of_time_are_read_as_people_write_them(text: object, seconds: float) -> None:
    """Units may be short or long, with or without a blank; a bare number is seconds."""
    assert timedelta(seconds=seconds) == parse_duration(text)


@pytest.mark.parametrize("text", ["", "soon", "5 parsecs", "-1 s", True, None])
def test_what_is_no_length_of_time_is_refused(text: object) -> None:
    """Anything else, a negative one included, is an error that shows how to write one."""
    with pytest.raises(ValueError, match="expected a length of time such as"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["36501 d", "9999999d", "99999999999 d", 10**18])
def test_a_length_of_time_that_no_calendar_bears_is_refused(text: object) -> None:
    """It would lead to a date that cannot be written, such as the end of a token."""
    with pytest.raises(ValueError, match="of 100 years at most"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**7))
def test_lengths_of_time_survive_being_written(seconds: int) -> None:
    """What is written is read back the same."""
    assert timedelta(seconds=seconds) == parse_duration(write_duration(timedelta(seconds=seconds)))


@given(st.integers(min_value=0, max_value=2**50))
def test_sizes_survive_being_written(size: int) -> None:
    """What is written is read back the same."""
    assert size == parse_size(write_size(size))


@pytest.mark.parametrize(("text", "size"), [("64 MiB", 64 << 20), ("1GB", 10**9), (512, 512)])
def test_sizes_are_read_with_either_kind_of_unit(text: object, size: int) -> None:
    """MiB is binary, MB decimal, a bare number bytes."""
    assert size == parse_size(text)


@pytest.mark.parametrize(
    ("text", "address"), [("127.0.0.1:4317", ("127.0.0.1", 4317)), ("[::1]:0", ("::1", 0)), ("a.b:80", ("a.b", 80))]
)
def test_addresses_are_split(text: str, address: tuple[str, int]) -> None:
    """Host and port, an IPv6 host without its brackets."""
    assert address == split_address(text)


@pytest.mark.parametrize("text", ["4317", ":4317", "host", "host:", "host:99999", "::1:4317", "[]:1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """A missing host or port, a port out of range, an IPv6 host without brackets."""
    with pytest.raises(ValueError, match="HOST:PORT"):
        split_address(text)
