"""The registry that control serves: who is known changes while the receiver runs."""

import json
import pickle
from pathlib import Path

import pytest

from headgate_processors.documents import parse_document
from headgate_processors.enrich._registry_file import RegistryFile
from headgate_processors.enrich.served import LOOK_NS, ServedRegistry
from headgate_processors.errors import ConfigError


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        """The moment, in nanoseconds."""
        return self.now_ns


def serve(path: Path, **instances: dict[str, str]) -> None:
    """Write what control would."""
    path.write_text(json.dumps({"version": 1, "instances": instances}), encoding="utf-8")
    path.chmod(0o600)


def test_an_instance_that_control_registers_is_known_at_the_next_look(tmp_path: Path) -> None:
    """A claim is believed as soon as the file names it, and fills the columns of its record."""
    clock, path = Clock(), tmp_path / "registry.json"
    registry = ServedRegistry(path, RegistryFile(), clock=clock)
    claim = {"headgate.instance.id": "ai-1"}
    before = registry.resolve(claim, agent_name=None)
    serve(path, **{"ai-1": {"team": "payments"}})
    clock.now_ns += LOOK_NS
    after = registry.resolve(claim, agent_name=None)
    assert (before.identity_source, before.team) == ("unknown", None)
    assert (after.instance_id, after.identity_source, after.team) == ("ai-1", "claimed", "payments")


def test_a_file_that_cannot_be_read_leaves_who_was_known(tmp_path: Path) -> None:
    """A half-written file does not make everybody unknown."""
    clock, path = Clock(), tmp_path / "registry.json"
    serve(path, **{"ai-1": {"team": "payments"}})
    registry = ServedRegistry(path, RegistryFile(), clock=clock)
    assert registry.resolve({"headgate.instance.id": "ai-1"}, agent_name=None).team == "payments"
    path.write_text("{", encoding="utf-8")
    clock.now_ns += LOOK_NS
    assert registry.resolve({"headgate.instance.id": "ai-1"}, agent_name="other").team == "payments"


def test_the_site_file_wins_over_what_control_serves(tmp_path: Path) -> None:
    """What people wrote down by hand stands."""
    path = tmp_path / "registry.json"
    served = {"instances": {"ai-1": {"team": "payments"}}, "repos": {"a": {"environment": "production"}, "b": {}}}
    path.write_text(json.dumps(served), encoding="utf-8")
    path.chmod(0o600)
    base = RegistryFile.model_validate(
        {"instances": {"ai-1": {"team": "search"}}, "repos": {"b": {"environment": "test"}}}
    )
    registry = ServedRegistry(path, base)
    assert registry.resolve({"headgate.instance.id": "ai-1"}, agent_name=None).team == "search"
    assert ["production", "test"] == [
        registry.resolve({"headgate.repo": name}, agent_name=None).environment for name in ("a", "b")
    ]


def test_one_file_is_control_s_and_the_receiver_s(tmp_path: Path) -> None:
    """Sections and fields that policies alone use are let be here; a name that nothing defines is still a mistake."""
    text = "users: {ada: {}}\nservices: {ci: {owner: adda}}\nrepos: {acme/calc: {sensitivity: restricted}}"
    with pytest.raises(ConfigError, match=r"services\.ci\.owner: no such entry in `users`: 'adda'; did you mean 'ada'"):
        parse_document(text, RegistryFile, source="registry.yaml")


def test_it_goes_to_another_process(tmp_path: Path) -> None:
    """Rebuilding runs in processes of its own, each with the same registry."""
    path = tmp_path / "registry.json"
    serve(path, **{"ai-1": {"team": "payments"}})
    again = pickle.loads(pickle.dumps(ServedRegistry(path, RegistryFile())))
    assert again.resolve({}, agent_name=None, subject="ai-1").team == "payments"
