"""Only the policies whose scope can match: the cost of a decision does not grow with the number of policies.

A policy names its action, principal and resource, or leaves them open. Those of one request are found by the
entities that it is about and their ancestors. A slice decides exactly as the whole set would.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from cedarpy import PolicySet

SLICES_MAX = 1_024

Uid = tuple[str, str]
"""Type and id of an entity."""
_Key = tuple[Uid | None, Uid | None, Uid | None]


class Slicer:
    """The policies of one bundle, by what they are about; slices that come again are kept. For any thread."""

    def __init__(self, policies: Mapping[str, Mapping[str, Any]], *, slices_max: int = SLICES_MAX) -> None:
        self._policies = policies
        self._slices_max, self._guard = slices_max, threading.Lock()
        self._by_scope: dict[_Key, list[str]] = {}
        self._slices: OrderedDict[tuple[str, ...], PolicySet] = OrderedDict()
        self._chosen: OrderedDict[tuple[Uid, tuple[Uid, ...], tuple[Uid, ...]], tuple[str, ...]] = OrderedDict()
        self._context_readers = frozenset(name for name, policy in policies.items() if reads_context(policy))
        for name, policy in policies.items():
            for key in scopes_of(policy):
                self._by_scope.setdefault(key, []).append(name)

    def slice(self, chosen: tuple[str, ...]) -> PolicySet:
        """The policies of these names."""
        found = self._slices.get(chosen)
        if found is None:
            found = self._built(chosen)
            keep(self._slices, chosen, found, most=self._slices_max, guard=self._guard)
        return found

    def chosen(self, action: Uid, principals: Sequence[Uid], resources: Sequence[Uid]) -> tuple[str, ...]:
        """The names of what may speak of an action by a principal to a resource, each with all of its ancestors."""
        key = (action, tuple(principals), tuple(resources))
        found = self._chosen.get(key)
        if found is None:
            found = tuple(sorted(set(self._matching(action, principals, resources))))
            keep(self._chosen, key, found, most=self._slices_max, guard=self._guard)
        return found

    def reads_context(self, chosen: Iterable[str]) -> bool:
        """Whether any of these policies looks at anything but principal, action and resource."""
        return not self._context_readers.isdisjoint(chosen)

    def _matching(self, action: Uid, principals: Sequence[Uid], resources: Sequence[Uid]) -> Iterator[str]:
        for key in product((None, action), (None, *principals), (None, *resources)):
            yield from self._by_scope.get(key, ())

    def _built(self, names: Iterable[str]) -> PolicySet:
        body = {"staticPolicies": {name: self._policies[name] for name in names}, "templates": {}, "templateLinks": []}
        return PolicySet.from_json_str(json.dumps(body))


def scopes_of(policy: Mapping[str, Any]) -> Iterator[_Key]:
    """What a policy is about: action, principal and resource of its scope, each None where that is open."""
    return product(_entities(policy["action"]), _entities(policy["principal"]), _entities(policy["resource"]))


def reads_context(written: object) -> bool:
    """Whether a policy as Cedar's JSON, or a part of one, speaks of `context`."""
    if isinstance(written, Mapping):
        return written.get("Var") == "context" or any(reads_context(one) for one in written.values())
    return isinstance(written, list) and any(reads_context(one) for one in written)


def _entities(scope: Mapping[str, Any]) -> list[Uid | None]:
    """The entities of one part of a policy's scope; None where it is open, or says only a type."""
    operator = scope["op"]
    if operator == "All" or (operator == "is" and "in" not in scope):
        return [None]
    inner = scope["in"] if operator == "is" else scope
    listed = inner["entities"] if "entities" in inner else [inner["entity"]]
    return [(one["type"], one["id"]) for one in listed]


def keep(cache: "OrderedDict[Any, Any]", key: object, value: object, *, most: int, guard: threading.Lock) -> None:
    """Keep a value for whoever asks again; the oldest one goes where there would be more than `most`."""
    with guard:
        if len(cache) >= most:
            cache.popitem(last=False)
        cache[key] = value
