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


def test_the_collector_and_headgate_share_a_network(compose: Any) -> None:
    """So the Collector's defaults lead to where `--behind-collector` listens, and nothing of it leaves loopback."""
    assert ["up", "--behind-collector"] == compose["services"]["headgate"]["command"]
    assert "service:headgate" == compose["services"]["collector"]["network_mode"]
    assert {"HEADGATE_COLLECTOR_LISTEN", "HEADGATE_COLLECTOR_DATA"} == set(
        compose["services"]["collector"]["environment"]
    )


def test_the_image_is_of_the_version_that_we_build(compose: Any) -> None:
    """The files are tested with one version of the Collector: that of the builder's manifest."""
    version = _yaml("collector-config/builder.yaml")["dist"]["version"]
    assert compose["services"]["collector"]["image"].endswith(f":{version}")


def test_no_container_runs_as_root(compose: Any) -> None:
    """The Collector has the user of the Headgate image, to whom the folder of its queue belongs."""
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    user = compose["services"]["collector"]["user"]
    assert f"--uid {user} headgate" in image
    assert "USER headgate" in image
    for service in compose["services"].values():
        assert "queue:/queue" in service["volumes"]
    assert re.search(r"install -d -o headgate .*/queue", image)


def test_the_image_holds_what_the_wheel_is_built_from() -> None:
    """Every room is copied into the image, and not ignored by Docker."""
    rooms = sorted([*(path.parent.name for path in ROOT.glob("[a-z]*/headgate_*")), "collector-config"])
    copied = re.findall(r"^COPY ([\w-]+) \1$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    kept = re.findall(r"^!([\w-]+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert rooms == sorted(copied)
    assert set(rooms) <= set(kept)
