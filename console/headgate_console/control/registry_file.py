"""What control tells the receiver of the instances that it has registered."""

from collections.abc import Iterable
from pathlib import Path

import orjson

from headgate_control.identity.instance import LIVING, Instance
from headgate_processors.files import write_whole

INSTANCES_MAX = 20_000
_COLUMNS = (
    "parent",
    "launched_by",
    "user",
    "team",
    "workflow",
    "repo",
    "resource",
    "environment",
    "task_class",
    "risk_tier",
    "policy_profile",
    "manifest_digest",
    "runtime",
)


def write_registry(path: Path, instances: Iterable[Instance]) -> None:
    """Write who is registered, `INSTANCES_MAX` of them, the living and the last first, in one step.

    Raises:
        OSError: it cannot be written.
    """
    newest = sorted(instances, key=lambda one: (one.state in LIVING, one.instance_id))[-INSTANCES_MAX:]
    known = {one.instance_id for one in newest}
    records = {one.instance_id: _record(one, known) for one in newest}
    write_whole(path, orjson.dumps({"version": 1, "instances": records}))


def _record(instance: Instance, known: set[str]) -> dict[str, str]:
    told = {name: value for name in _COLUMNS if (value := getattr(instance, name)) is not None}
    if told.get("parent") not in known:
        told.pop("parent", None)
    return told
