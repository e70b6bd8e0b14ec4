"""What control tells the receiver: the instances that it has registered, and what its directory knows."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import orjson

from headgate_control.fields import written
from headgate_control.identity.directory import Directory
from headgate_control.identity.instance import LIVING, Instance
from headgate_processors.files import write_whole

INSTANCES_MAX = 20_000
ENTRIES_MAX = 20_000
_SECTIONS = {
    "user": ("team",),
    "workflow": ("team", "repo", "task_class"),
    "repo": ("team", "environment", "urls"),
    "resource": ("team", "environment"),
}
"""What the receiver fills columns from, by kind."""
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


def write_registry(path: Path, instances: Iterable[Instance], directory: Directory) -> None:
    """Write who is registered, `INSTANCES_MAX` of them, the living and the last first, in one step.

    Beside them `ENTRIES_MAX` of each kind that the directory knows.

    Raises:
        OSError: it cannot be written.
    """
    newest = sorted(instances, key=lambda one: (one.state in LIVING, one.instance_id))[-INSTANCES_MAX:]
    known = {one.instance_id for one in newest}
    records = {one.instance_id: _record(one, known) for one in newest}
    write_whole(path, orjson.dumps({"version": 1, "instances": records, **_entries(directory)}))


def _entries(directory: Directory) -> dict[str, dict[str, dict[str, object]]]:
    return {
        f"{kind}s": {
            name: {key: value for key, value in written(entry).items() if key in columns}
            for name, entry in islice(directory.entries.get(kind, {}).items(), ENTRIES_MAX)
        }
        for kind, columns in _SECTIONS.items()
    }


def _record(instance: Instance, known: set[str]) -> dict[str, str]:
    told = {name: value for name in _COLUMNS if (value := getattr(instance, name)) is not None}
    if told.get("parent") not in known:
        told.pop("parent", None)
    return told
