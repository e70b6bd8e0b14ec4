"""Providers in the settings: what is said of one changes that alone."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from headgate_console.control.parts import unpriced_of, upstreams_of
from headgate_console.settings import load_settings
from headgate_console.settings.definition import KNOWN_UPSTREAMS
from headgate_gateways.model.cost import Conservative
from headgate_processors.errors import ConfigError

UPSTREAMS = "HEADGATE_GATEWAYS__MODEL__UPSTREAMS"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts in an empty folder."""
    monkeypatch.chdir(tmp_path)


def found() -> dict[str, tuple[str, str]]:
    """Base URL and key of each provider."""
    upstreams = load_settings().settings.gateways.model.upstreams
    return {name: (one.base_url, one.api_key) for name, one in upstreams.items()}


def known(name: str) -> tuple[str, str]:
    """Those of a provider that is there without a word."""
    return KNOWN_UPSTREAMS[name]["base_url"], KNOWN_UPSTREAMS[name]["api_key"]


def test_the_known_providers_are_there() -> None:
    """With the keys that their own clients would read."""
    assert {"openai": known("openai"), "anthropic": known("anthropic")} == found()


def test_a_variable_changes_one_part_of_one_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its key stays, and so does the other provider."""
    monkeypatch.setenv(f"{UPSTREAMS}__OPENAI__BASE_URL", "http://127.0.0.1:1/v1")
    expected = {"openai": ("http://127.0.0.1:1/v1", known("openai")[1]), "anthropic": known("anthropic")}
    assert expected == found()


def test_a_mapping_in_json_adds_to_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """As does a file, below it."""
    Path("headgate.yaml").write_text(
        "gateways: {model: {upstreams: {openai: {api_key: 'file:openai.key'}, local: {base_url: 'http://a:1'}}}}"
    )
    monkeypatch.setenv(UPSTREAMS, json.dumps({"local": {"api_key": "env:LOCAL"}}))
    expected = {
        "openai": (known("openai")[0], "file:openai.key"),
        "anthropic": known("anthropic"),
        "local": ("http://a:1", "env:LOCAL"),
    }
    assert expected == found()


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("local", {"base_url": "http://a:1"}),
        ("local", {"base_url": "ftp://a", "api_key": "env:A"}),
        ("local", {"base_url": "http://user@a", "api_key": "env:A"}),
        ("local", {"base_url": "http://a?b", "api_key": "env:A"}),
        ("local", {"base_url": "http://a", "api_key": "sk-as-it-is"}),
        ("local", {"base_url": "http://a", "api_key": "env:A", "kind": "other"}),
        ("local", {"base_url": "http://a", "api_key": "env:A", "bse_url": "x"}),
        ("../up", {"base_url": "http://a", "api_key": "env:A"}),
    ],
)
def test_a_provider_that_is_wrong_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, given: dict[str, str]) -> None:
    """By the variable that it is in."""
    monkeypatch.setenv(UPSTREAMS, json.dumps({name: given}))
    with pytest.raises(ConfigError, match=UPSTREAMS):
        load_settings()


def test_a_key_that_stands_where_its_place_belongs_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what was expected, in words."""
    monkeypatch.setenv(f"{UPSTREAMS}__OPENAI__API_KEY", "sk-as-it-is")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert (
        f"gateways.model.upstreams.openai.api_key ({UPSTREAMS}__OPENAI__API_KEY): expected `env:NAME`, `file:PATH` or "
        "`command:LINE`, never the key itself; got something else."
    ) == str(caught.value)


def test_models_without_a_price_may_be_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or given a price of the site's own; by default they are dear."""
    found = [unpriced_of(load_settings().settings)]
    Path("headgate.yaml").write_text("gateways: {model: {unpriced: {allowed: false}}}")
    found.append(unpriced_of(load_settings().settings))
    monkeypatch.setenv("HEADGATE_GATEWAYS__MODEL__UNPRICED__INPUT_USD_PER_MTOK", "2.5")
    found.append(unpriced_of(load_settings().settings))
    own = Conservative(input_usd_per_mtok=Decimal("2.5"), is_allowed=False)
    assert [Conservative(), Conservative(is_allowed=False), own] == found


def test_a_provider_speaks_as_it_is_called_unless_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`anthropic` as Anthropic, every other as OpenAI; a slash at the end of a base URL is no part of it."""
    (tmp_path / "a.key").write_text("k")
    given = {"base_url": "http://a:1/v1/", "api_key": f"file:{tmp_path / 'a.key'}"}
    named = {"openai": given, "anthropic": given, "local": given, "claude": {**given, "kind": "anthropic"}}
    monkeypatch.setenv(UPSTREAMS, json.dumps(named))
    upstreams = upstreams_of(load_settings().settings)
    kinds = {"openai": "openai", "anthropic": "anthropic", "local": "openai", "claude": "anthropic"}
    assert kinds == {name: one.kind for name, one in upstreams.items()}
    assert {"http://a:1/v1"} == {one.base_url for one in upstreams.values()}
