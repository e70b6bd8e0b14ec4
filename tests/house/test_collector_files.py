"""The Collector's configurations agree with each other, with what is said of them, and keep what they acknowledge."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from headgate_console.collector.catalogue import CONFIGURATIONS, Selection, every_selection
from headgate_console.collector.files import folder, paths, text, variables
from headgate_console.collector.variables import DESCRIPTIONS

SELECTIONS = list(every_selection())
MEBIBYTES_64 = 64 << 20
WITHOUT_END = {"enabled": True, "max_elapsed_time": 0}


def _labels(selection: Selection) -> str:
    return selection.label


def _exporters(selection: Selection) -> Iterator[tuple[str, Any]]:
    """The exporters that its pipelines use."""
    configuration = yaml.safe_load(text(selection))
    used = {name for pipeline in configuration["service"]["pipelines"].values() for name in pipeline["exporters"]}
    yield from ((name, configuration["exporters"][name]) for name in sorted(used))


def _files() -> Mapping[str, Any]:
    return {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in folder().glob("*.yaml")}


def test_every_file_is_in_the_catalogue() -> None:
    """A file that nobody can choose would be a secret."""
    chosen = {path.name for selection in SELECTIONS for path in paths(selection)}
    assert chosen == {path.name for path in folder().glob("*.yaml")} - {"builder.yaml"}


@pytest.mark.parametrize("selection", SELECTIONS, ids=_labels)
def test_what_is_acknowledged_is_safe(selection: Selection) -> None:
    """Retry without end, and either a queue on disk with fsync or an answer that waits for the next hop's."""
    storage = yaml.safe_load(text(selection)).get("extensions", {}).get("file_storage", {})
    for name, exporter in _exporters(selection):
        queue = exporter["sending_queue"]
        assert exporter["retry_on_failure"].items() >= WITHOUT_END.items(), name
        on_disk = queue.get("storage") == "file_storage" and storage.get("fsync") is True
        assert on_disk != bool(queue.get("wait_for_result")), name
        assert queue["sizer"] == queue["batch"]["sizer"] == "bytes", name
        assert queue["batch"]["max_size"] < MEBIBYTES_64, name


@pytest.mark.parametrize("selection", SELECTIONS, ids=_labels)
def test_pipelines_begin_with_the_memory_limiter_and_have_no_batch_processor(selection: Selection) -> None:
    """All three signals, from clients and, where they have a listener, from Headgate's own parts."""
    configuration = yaml.safe_load(text(selection))
    pipelines = configuration["service"]["pipelines"]
    assert "batch" not in configuration["processors"]
    assert {"traces", "logs", "metrics"} <= set(pipelines)
    assert {"memory_limiter"} == {pipeline["processors"][0] for pipeline in pipelines.values()}
    for name, pipeline in pipelines.items():
        stripped = "transform/unspoof" in pipeline["processors"]
        assert stripped == (not name.endswith("/platform") and pipeline["receivers"] == ["otlp"]), name
        known = "transform/principal" in pipeline["processors"]
        authenticated = any("auth" in str(configuration["receivers"][one]) for one in pipeline["receivers"])
        assert known == authenticated, name
        assert not (stripped and known) or pipeline["processors"][-1] == "transform/principal"


def test_the_same_thing_is_said_in_the_same_words() -> None:
    """Each file stands for itself, so some parts are in several: they are equal."""
    for part in ("memory_limiter", "filter/noise", "transform/unspoof", "transform/principal"):
        said = [file["processors"][part] for file in _files().values() if part in file.get("processors", {})]
        assert len(said) > 1, part
        assert [said[0]] * len(said) == said, part


def test_exactly_the_claims_of_the_documentation_are_kept() -> None:
    """The expression in the files, and the page that tells people what they may claim."""
    local = (folder() / "local.yaml").read_text(encoding="utf-8")
    expression = re.search(r'"\^headgate\\\\\.\((.+)\)\$"', local)
    assert expression is not None
    kept = {f"headgate.{name}" for name in expression[1].replace("\\\\", "").split("|")}
    claims = "instance.id team user.id workflow repo task_class"
    assert {f"headgate.{name}" for name in claims.split()} == kept
    page = (Path(__file__).parents[2] / "docs" / "guides" / "collector.md").read_text(encoding="utf-8")
    assert [] == [claim for claim in kept if f"`{claim}`" not in page]


def test_every_variable_is_described_and_every_description_is_of_one() -> None:
    """All begin with the prefix that Headgate's own settings leave alone."""
    used = {variable.name for selection in SELECTIONS for variable in variables(selection)}
    assert set(DESCRIPTIONS) == used
    written = {name for path in folder().glob("*.yaml") for name in re.findall(r"\$\{env:(\w+)", path.read_text())}
    assert written == used
    assert {name for name in used if not name.startswith("HEADGATE_COLLECTOR_")} == set()


def test_a_variable_has_one_default() -> None:
    """Whichever file reads it."""
    defaults: dict[str, set[str | None]] = {}
    for selection in SELECTIONS:
        for variable in variables(selection):
            defaults.setdefault(variable.name, set()).add(variable.default)
    assert {} == {name: found for name, found in defaults.items() if len(found) > 1}


def test_nothing_is_offered_to_the_network_unasked() -> None:
    """Every listener is on loopback until a variable says otherwise."""
    endpoints = [
        line.strip()
        for path in folder().glob("*.yaml")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"\s*(endpoint|host):", line) and "RECEIVER" not in line and "GATEWAY" not in line
    ]
    assert len(endpoints) > 10
    assert [] == [line for line in endpoints if "LISTEN:-127.0.0.1}" not in line]


def test_what_is_built_is_of_one_release() -> None:
    """Every module of the manifest that follows the release numbers has the number of the distribution, or is older."""
    manifest = _files()["builder.yaml"]
    modules = [module["gomod"].split(" v") for kind in ("receivers", "processors", "exporters", "extensions")
               for module in manifest[kind]]  # fmt: skip
    newer = [name for name, version in modules if version > manifest["dist"]["version"]]
    assert [] == newer
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")
    assert f"cmd/builder@v{manifest['dist']['version']}" in makefile


def test_the_manifest_has_what_the_configurations_use() -> None:
    """Each type of component that some file names is built in."""
    manifest = " ".join(module["gomod"] for kind in _files()["builder.yaml"].values() if isinstance(kind, list)
                        for module in kind)  # fmt: skip
    modules = {
        "otlp": "otlpreceiver", "kafka": "kafka", "memory_limiter": "memorylimiter", "filter": "filterprocessor",
        "transform": "transformprocessor", "otlp_grpc": "otlpexporter", "load_balancing": "loadbalancingexporter",
        "health_check": "healthcheck", "oidc": "oidcauth", "bearertokenauth": "bearertokenauth",
        "file_storage": "filestorage",
    }  # fmt: skip
    kinds = ("receivers", "processors", "exporters", "extensions")
    used = {name.partition("/")[0] for file in _files().values() for kind in kinds for name in file.get(kind, {})
            if isinstance(file.get(kind), dict)}  # fmt: skip
    assert set(modules) == used
    assert [] == [name for name in used if modules[name] not in manifest]


def test_there_is_a_configuration_for_each_place() -> None:
    """The names that the command line takes."""
    assert ["local", "agent", "gateway", "kafka_consumer"] == list(CONFIGURATIONS)
