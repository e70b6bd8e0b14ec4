"""The files that deploy Headgate are what their schemas say, and agree with each other and with the settings."""

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent


def _yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture
def compose() -> Any:
    """The Compose file."""
    return _yaml("docker-compose.yml")


@pytest.fixture
def collector() -> Any:
    """The Collector's configuration."""
    return _yaml("collector-config/local.yaml")


def test_the_compose_file_follows_the_compose_specification(compose: Any) -> None:
    """It is valid against the schema of the specification, as the package check-jsonschema ships it."""
    schema = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(compose, json.loads(schema.read_text(encoding="utf-8")))


def test_every_file_that_compose_mounts_exists(compose: Any) -> None:
    """A folder made by Docker in the place of a missing file would be a confusing start."""
    mounts = [volume for service in compose["services"].values() for volume in service.get("volumes", ())]
    files = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    assert ["./collector-config/local.yaml"] == files
    assert all((ROOT / file).is_file() for file in files)


def test_images_have_a_version(compose: Any) -> None:
    """An image without a version, or `latest`, is another one tomorrow."""
    images = [service["image"] for service in compose["services"].values() if "image" in service]
    assert [] == [image for image in images if not re.search(r":v?\d+(\.\d+)+$", image)]


def test_ports_are_published_on_loopback_only(compose: Any) -> None:
    """Nothing is offered to the network without somebody deciding so."""
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert [] == [port for port in ports if not port.startswith("127.0.0.1:")]


def test_the_collector_sends_where_headgate_listens(compose: Any, collector: Any) -> None:
    """The exporter's endpoint is where `--behind-collector` listens, and under Compose both share a network."""
    assert ["up", "--behind-collector"] == compose["services"]["headgate"]["command"]
    assert "service:headgate" == compose["services"]["collector"]["network_mode"]
    assert "HEADGATE_COLLECTOR_RECEIVER" not in compose["services"]["collector"]["environment"]
    assert "${env:HEADGATE_COLLECTOR_RECEIVER:-127.0.0.1:14317}" == collector["exporters"]["otlp_grpc"]["endpoint"]


def test_the_collector_keeps_what_it_acknowledged(collector: Any) -> None:
    """No batch processor, a queue on disk with fsync, retry without end, all three signals."""
    exporter = collector["exporters"]["otlp_grpc"]
    assert "batch" not in collector["processors"]
    assert "file_storage" == exporter["sending_queue"]["storage"]
    assert True is collector["extensions"]["file_storage"]["fsync"]
    assert 0 == exporter["retry_on_failure"]["max_elapsed_time"]
    assert exporter["sending_queue"]["batch"]["max_size"] < 64 << 20
    pipelines = collector["service"]["pipelines"]
    assert {"traces", "logs", "metrics"} == set(pipelines)
    assert all("memory_limiter" == pipeline["processors"][0] for pipeline in pipelines.values())


def test_variables_of_the_collector_are_reserved_ones(collector: Any) -> None:
    """The Collector's variables begin with the prefix that Headgate's own settings leave alone."""
    names = set(re.findall(r"\$\{env:(\w+)", yaml.safe_dump(collector)))
    assert [] == [name for name in names if not name.startswith("HEADGATE_COLLECTOR_")]


def test_the_image_holds_what_the_wheel_is_built_from() -> None:
    """Every room is copied into the image, and not ignored by Docker."""
    rooms = sorted(path.parent.name for path in ROOT.glob("[a-z]*/headgate_*"))
    copied = re.findall(r"^COPY (\w+) \1$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    kept = re.findall(r"^!(\w+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert rooms == sorted(copied)
    assert set(rooms) <= set(kept)
