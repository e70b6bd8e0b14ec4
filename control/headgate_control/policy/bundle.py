"""The policies of a folder, checked as one: a bundle that is wrong anywhere is refused whole."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import cedarpy
import yaml

from headgate_control.policy.schema import ArgumentType, schema_text
from headgate_processors.errors import ConfigError

POLICIES_MAX = 20_000
FILE_BYTES_MAX = 8 << 20
ARGUMENTS_FILE = "arguments.yaml"
_TYPES = ("String", "Long", "Bool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a policy says of itself: `@id`, `@reason`, and `@approval("tier")` on a forbid that an approval lifts."""

    policy_id: str
    reason: str | None
    approval: str | None
    permits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Policies that fit their schema; `policies` and `written` are by Cedar's own name of each, `texts` by file."""

    digest: str
    schema: str
    arguments: Mapping[str, ArgumentType]
    policies: Mapping[str, Policy]
    written: Mapping[str, Mapping[str, Any]]
    texts: Mapping[str, str]


def load_bundle(folder: Path) -> Bundle:
    """Every `*.cedar` of a folder, and the arguments that `arguments.yaml` declares. An empty folder denies all.

    Raises:
        ConfigError: the folder is missing, or a policy is wrong; says which, and what.
    """
    if not folder.is_dir():
        message = f"policy.dir {str(folder)!r} is no folder; make it, or leave the setting out"
        raise ConfigError(message)
    texts = {path.name: _text(path) for path in sorted(folder.glob("*.cedar"))}
    return bundle_of(texts, _arguments(folder / ARGUMENTS_FILE))


def bundle_of(texts: Mapping[str, str], arguments: Mapping[str, ArgumentType] | None = None) -> Bundle:
    """A bundle from texts by their names.

    Raises:
        ConfigError: as `load_bundle`.
    """
    declared = arguments or {}
    schema = schema_text(declared)
    written: dict[str, Mapping[str, Any]] = {}
    policies: dict[str, Policy] = {}
    for name, text in texts.items():
        for policy, content in _parsed(name, text, schema):
            if policy.policy_id in policies:
                message = f"{name}: @id({policy.policy_id!r}) stands twice in the bundle: give one another"
                raise ConfigError(message)
            policies[policy.policy_id], written[policy.policy_id] = policy, content
    if len(policies) > POLICIES_MAX:
        message = f"{len(policies)} policies; {POLICIES_MAX} are allowed"
        raise ConfigError(message)
    whole = json.dumps([dict(sorted(written.items())), dict(sorted(declared.items()))], sort_keys=True)
    digest = "sha256:" + sha256(whole.encode()).hexdigest()
    return Bundle(
        digest=digest, schema=schema, arguments=declared, policies=policies, written=written, texts=dict(texts)
    )


def _parsed(name: str, text: str, schema: str) -> Iterator[tuple[Policy, Mapping[str, Any]]]:
    try:
        parsed = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        message = f"{name}: {error}"
        raise ConfigError(message) from error
    if parsed.get("templates"):
        message = f"{name}: templates (`?principal`, `?resource`) are not linked to anything here: write policies"
        raise ConfigError(message)
    checked = cedarpy.validate_policies(text, schema)
    if not checked.validation_passed:
        ids = {key: content.get("annotations", {}).get("id") for key, content in parsed["staticPolicies"].items()}
        told = ((ids.get(error.policy_id) or error.policy_id, error.error) for error in checked.errors)
        message = "\n".join(f"{name}: {policy_id}: {mistake}" for policy_id, mistake in told)
        raise ConfigError(message)
    for content in parsed["staticPolicies"].values():
        yield _described(name, content), content


def _described(name: str, content: Mapping[str, Any]) -> Policy:
    annotations = content.get("annotations", {})
    if not annotations.get("id"):
        message = f"{name}: a policy without @id: a decision names the policies that made it, so each needs one"
        raise ConfigError(message)
    if "approval" in annotations and content["effect"] != "forbid":
        message = f"{name}: @approval stands on a forbid, which it lifts; {annotations['id']!r} is a permit"
        raise ConfigError(message)
    return Policy(
        policy_id=annotations["id"],
        reason=annotations.get("reason"),
        approval=annotations.get("approval"),
        permits=content["effect"] == "permit",
    )


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            message = f"{path} is larger than {FILE_BYTES_MAX >> 20} MiB: split it"
            raise ConfigError(message)
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot read {path}: {error}"
        raise ConfigError(message) from error


def _arguments(path: Path) -> Mapping[str, ArgumentType]:
    if not path.exists():
        return {}
    try:
        found = yaml.safe_load(_text(path)) or {}
    except yaml.YAMLError as error:
        message = f"{path}: not valid YAML: {error}"
        raise ConfigError(message) from error
    wrong = not isinstance(found, dict) or any(kind not in _TYPES for kind in found.values())
    if wrong:
        message = f"{path}: expected the name of each argument and its type, one of {', '.join(_TYPES)}"
        raise ConfigError(message)
    return {str(name): kind for name, kind in found.items()}
