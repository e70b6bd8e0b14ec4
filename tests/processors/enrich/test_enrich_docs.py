"""The reference pages of enrichment: every key is described, and every example is valid."""

import re
from pathlib import Path

import pytest

from headgate_processors.documents import Document, parse_document
from headgate_processors.enrich._action_rules import ActionTable, CommandRule, ToolRule
from headgate_processors.enrich._price_overrides import Override, OverrideFile
from headgate_processors.enrich._registry_file import Instance, Match, RegistryFile, Repo, Workflow
from headgate_processors.enrich._secrets import VALIDATORS
from headgate_processors.enrich.identity import FileRegistry
from headgate_processors.enrich.redact import RedactionRules, Redactor, Rule

ROOT = Path(__file__).resolve().parents[3]
PAGES = ROOT / "docs" / "reference"
DEMO = ROOT / "console" / "headgate_console" / "demo" / "registry.yaml"


def _page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def _example(name: str) -> str:
    return re.findall(r"```yaml\n(.*?)```", _page(name), re.DOTALL)[0]


@pytest.mark.parametrize(
    ("page", "models"),
    [
        ("redaction", [Rule, RedactionRules]),
        ("actions", [ActionTable, ToolRule, CommandRule]),
        ("prices", [Override, OverrideFile]),
        ("registry", [RegistryFile, Instance, Match, Workflow, Repo]),
    ],
)
def test_every_key_is_described(page: str, models: list[type[Document]]) -> None:
    """A key that a file may hold stands on its page."""
    text = _page(page)
    keys = {field.alias or name for model in models for name, field in model.model_fields.items()}
    assert set() == {key for key in keys if not re.search(rf"\b{re.escape(key)}\b", text)}


def test_every_class_and_validator_of_redaction_is_described() -> None:
    """What can stand in a marker, and what a rule may ask for, is on the page."""
    text = _page("redaction")
    names = {rule.class_ for rule in RedactionRules.load().rules} | set(VALIDATORS)
    assert set() == {name for name in names if f"`{name}`" not in text}


@pytest.mark.parametrize(
    ("page", "model"), [("registry", RegistryFile), ("prices", OverrideFile), ("actions", ActionTable)]
)
def test_every_example_is_valid(page: str, model: type[Document]) -> None:
    """The example of a page can be copied and used."""
    assert isinstance(parse_document(_example(page), model, source=page), model)


def test_the_example_of_redaction_works(tmp_path: Path) -> None:
    """The site's rules of the page find what they say."""
    site = tmp_path / "site.yaml"
    site.write_text(_example("redaction"))
    redactor = Redactor(RedactionRules.load(site))
    expected = "[REDACTED:badge] [REDACTED:ipv4] support@acme.example"
    assert expected == redactor.redact("ACME-123456 10.1.2.3 support@acme.example").text


def test_the_registry_of_the_demo_is_valid() -> None:
    """What the demo starts with can be read."""
    assert isinstance(FileRegistry.load(DEMO), FileRegistry)
