"""What is valid in a bundle and yet probably not meant."""

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from headgate_control.identity.directory import Directory
from headgate_control.manifests.spec import TIERS
from headgate_control.policy.bundle import Bundle
from headgate_control.policy.schema import NAMESPACE, entity_type
from headgate_control.policy.slicer import Uid, scopes_of


def warnings(bundle: Bundle) -> Iterator[str]:
    """A sentence for each: permits that can never speak, forbids that nobody can lift, a bundle that denies all."""
    if not any(policy.permits for policy in bundle.policies.values()):
        yield "no policy permits anything, so everything is denied; `headgate policy init` writes one to begin with"
    read = json.dumps([content["conditions"] for content in bundle.written.values()])
    for name in bundle.arguments:
        if json.dumps(name) not in read:
            yield f"arguments.yaml declares {name!r}, which no policy reads"
    forbidding = [content for content in bundle.written.values() if _forbids_always(content)]
    for name, policy in bundle.policies.items():
        content = bundle.written[name]
        if _is_never(content):
            yield f"{name}: its condition is never true, so it never speaks"
        if policy.permits and any(_covers(forbid, content) for forbid in forbidding):
            yield f"{name}: a forbid without a condition denies all that it permits, so it never speaks"
        if not policy.permits and policy.reason is None:
            yield f"{name}: a forbid without @reason: whoever is denied reads only its id"
        if policy.approval is not None:
            yield from _approval(name, policy.approval, content)


def unknown_names(bundle: Bundle, directory: Directory) -> Iterator[str]:
    """A sentence for each name of a team, a user, a repository … that the directory does not have.

    A kind of which it has none is not looked at.
    """
    kinds = {f"{NAMESPACE}::{entity_type(kind)}": entries for kind, entries in directory.entries.items() if entries}
    for policy_id, content in bundle.written.items():
        for kind, name in dict.fromkeys(_entities(content)):
            if name not in kinds.get(kind, {name: None}):
                near = difflib.get_close_matches(name, list(kinds[kind]), n=1, cutoff=0.5)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                yield f'{policy_id}: {kind}::"{name}" is not in the directory{hint}'


def _entities(written: object) -> Iterator[Uid]:
    """Every entity that a policy names, in Cedar's own JSON."""
    if isinstance(written, Mapping):
        kind, name = written.get("type"), written.get("id")
        if isinstance(kind, str) and isinstance(name, str):
            yield kind, name
        for value in written.values():
            yield from _entities(value)
    elif isinstance(written, list):
        for value in written:
            yield from _entities(value)


def _approval(name: str, tier: str, content: Mapping[str, Any]) -> Iterator[str]:
    if tier not in TIERS[1:]:
        yield f"{name}: @approval({tier!r}) is none of {', '.join(TIERS[1:])}, so no higher tier stands for it"
    if '"approved_tiers"' not in json.dumps(content["conditions"]):
        yield (
            f'{name}: nothing lifts it once it is approved; add: unless {{ context.approved_tiers.contains("{tier}") }}'
        )


def _forbids_always(content: Mapping[str, Any]) -> bool:
    return content["effect"] == "forbid" and not content["conditions"]


def _is_never(content: Mapping[str, Any]) -> bool:
    never = {"when": False, "unless": True}
    return any(condition["body"] == {"Value": never[condition["kind"]]} for condition in content["conditions"])


def _covers(forbid: Mapping[str, Any], permit: Mapping[str, Any]) -> bool:
    """Whether a forbid is about all that a permit is about, by their scopes alone; of groups it says nothing."""
    if _restricted(forbid):
        return False
    upper = list(scopes_of(forbid))
    return all(
        any(all(above in {None, below} for above, below in zip(wide, narrow, strict=True)) for wide in upper)
        for narrow in scopes_of(permit)
    )


def _restricted(content: Mapping[str, Any]) -> bool:
    """Whether a scope says a type, which its entities alone do not tell."""
    return any(content[part]["op"] == "is" for part in ("principal", "action", "resource"))
