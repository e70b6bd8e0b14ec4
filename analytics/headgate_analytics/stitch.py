"""Which traces and logs are one session: keys and links joined, guesses only where nothing names a session.

An *anchor* is a trace, or the logs without a trace that share one key. Facts about anchors only ever
grow (earliest, latest, any), so any order of arrival gives the same sessions.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import chain, pairwise
from types import MappingProxyType
from typing import NamedTuple

from headgate_analytics.served import ToolSpan
from headgate_analytics.witnessed import ToldCall

_UUID = re.compile(
    r"(?<![0-9a-z])[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}(?![0-9a-z])", re.IGNORECASE
)
_ULID = re.compile(r"(?<![0-9a-z])[0-7][0-9a-hjkmnp-tv-z]{25}(?![0-9a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, order=True)
class SessionKey:
    """The source's own key with the scope that makes it unique."""

    tenant: str
    scope: str
    key: str

    @property
    def session_id(self) -> str:
        """The first 32 hexadecimal digits of SHA-256 over tenant, scope and key, joined by NUL."""
        return sha256(f"{self.tenant}\0{self.scope}\0{self.key}".encode()).hexdigest()[:32]


def session_key(tenant: str, service_name: str | None, key: str) -> SessionKey:
    """The key with its scope: empty when the key is unique in the world, else the service."""
    unique = _UUID.search(key) is not None or _ULID.search(key) is not None
    return SessionKey(tenant, "" if unique else service_name or "", key)


def scope_of(instance_id: str) -> str:
    """The scope of what Headgate's own parts tell of an instance: all of it comes from a few services."""
    return f"headgate:{instance_id}"


def trace_key(tenant: str, trace_id: str) -> SessionKey:
    """The key of a trace that has none of its own."""
    return SessionKey(tenant, "", trace_id)


class Fact(NamedTuple):
    """What some records of one anchor say: `trace_id` or `key` names the anchor.

    `root_calls` and `root_others` count true roots that are a model or tool call, and that are not.
    `tool` says that the fact is about one run of an MCP tool, from its start to its end, `call` that it is about one
    model call. `received` is when the first and the last of these records were received, in nanoseconds.
    `is_platform`: Headgate's own parts say so, no agent; `service_name` is the agent's instance then, if known.
    """

    tenant: str
    trace_id: str | None
    service_name: str | None
    key: str | None
    instance: str | None
    first_unix_nano: int
    last_unix_nano: int
    substantive: bool
    root_calls: int
    root_others: int
    linked_trace_id: str | None = None
    tool: ToolSpan | None = None
    received: tuple[int, int] | None = None
    is_platform: bool = False
    call: ToldCall | None = None


AnchorId = str


@dataclass(slots=True)
class Anchor:
    """Everything known of one trace, or of the logs of one key.

    `instance` is the process that it counts to, with its tenant: of several the first by name, so that order of
    arrival does not matter. `is_platform`: no agent tells of anything in it.
    """

    anchor_id: AnchorId
    first_unix_nano: int
    last_unix_nano: int
    substantive: bool
    guessable: bool
    instance: str | None
    received: tuple[int, int]
    is_platform: bool = False
    keys: list[tuple[int, SessionKey]] = field(default_factory=list)

    @property
    def key(self) -> SessionKey:
        """The key of a trace by itself."""
        before, _, trace_id = self.anchor_id.rpartition("\0")
        return trace_key(before.partition("\0")[2], trace_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stitched:
    """One session: its key, where the key came from, and its anchors; when the first and the last record came."""

    key: SessionKey
    source: str
    anchors: frozenset[AnchorId]
    received: tuple[int, int] = field(default=(0, 0), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Anchors, by their numbers, that are one session when anything happened in them."""

    key: SessionKey
    source: str
    members: Sequence[int]


Pairs = Iterable[tuple[int, int]]


def is_follower(anchor: Anchor) -> bool:
    """Whether an anchor goes where an agent tells of its call, and decides nothing itself."""
    return anchor.is_platform and not anchor.keys


def groups_of(
    anchors: Mapping[int, Anchor],
    bonds: Pairs,
    links: Pairs,
    *,
    idle_gap_ns: int,
    tellers: Mapping[int, int] = MappingProxyType({}),
) -> Iterator[Group]:
    """The groups of numbered anchors to which nothing else belongs.

    Bonds join whatever they connect: anchors with their keys, which have numbers too, and calls with the traces
    that serve them. Links join only what has no name: a link never makes two named sessions one. `tellers` says of
    anchors of a gateway in which the agent tells of their calls; others of the same instance go where those go that
    are nearest in time.
    """
    sure = {one: to for one, to in tellers.items() if is_follower(anchors[one]) and to in anchors}
    attested = [pair for pair in tellers.items() if pair[0] not in sure]
    following: dict[int, list[int]] = {}
    for one, to in chain(sure.items(), _near(anchors, sure, idle_gap_ns)):
        following.setdefault(to, []).append(one)
    leading = anchors
    if following:
        followers = {one for several in following.values() for one in several}
        leading = {number: anchor for number, anchor in anchors.items() if number not in followers}
    for group in _groups(leading, [*bonds, *attested], links, idle_gap_ns=idle_gap_ns):
        behind = [number for member in group.members for number in following.get(member, ())]
        yield replace(group, members=[*group.members, *behind]) if behind else group


def _near(anchors: Mapping[int, Anchor], sure: Mapping[int, int], idle_gap_ns: int) -> Iterator[tuple[int, int]]:
    """Of a gateway's anchors without a teller, that of the nearest of the same instance that has one."""
    mates: dict[str, list[int]] = {}
    for number, anchor in anchors.items():
        if anchor.guessable and anchor.instance is not None and is_follower(anchor):
            mates.setdefault(anchor.instance, []).append(number)
    for several in mates.values() if sure else ():
        for run in _runs(anchors, several, idle_gap_ns):
            known = [one for one in run if one in sure]
            for one in run if known else ():
                if one not in sure:
                    begun = anchors[one].first_unix_nano
                    nearest = min(
                        known,
                        key=lambda mate: (abs(anchors[mate].first_unix_nano - begun), anchors[mate].anchor_id),
                    )
                    yield one, sure[nearest]


def _groups(anchors: Mapping[int, Anchor], bonds: Pairs, links: Pairs, *, idle_gap_ns: int) -> Iterator[Group]:
    nameless: dict[int, Anchor] = {}
    joined = _joined(anchors, bonds)
    for members in joined:
        keys = [key for member in members for key in anchors[member].keys]
        if keys:
            yield Group(key=min(keys)[1], source="attribute", members=members)
        else:
            nameless.update((member, anchors[member]) for member in members)
    together = [pair for members in joined if members[0] in nameless for pair in pairwise(members)]
    alone: dict[str, list[int]] = {}
    weak = [(left, right) for left, right in links if left in nameless and right in nameless]
    for members in _joined(nameless, [*weak, *together]):
        anchor = nameless[members[0]]
        if len(members) == 1 and anchor.guessable and anchor.instance is not None:
            alone.setdefault(anchor.instance, []).extend(members)
        else:
            yield _trace_group(nameless, members, "trace")
    for mates in alone.values():
        for run in _runs(nameless, mates, idle_gap_ns):
            yield _trace_group(nameless, run, "guess")


def _joined(numbers: Iterable[int], pairs: Pairs) -> list[list[int]]:
    """The numbers in groups that pairs connect; pairs may go by way of other numbers."""
    parents: dict[int, int] = {}

    def root_of(number: int) -> int:
        root = number
        while (up := parents.get(root, root)) != root:
            root = up
        while (up := parents.get(number, root)) != root:
            parents[number] = root
            number = up
        return root

    for left, right in pairs:
        a, b = root_of(left), root_of(right)
        if a != b:
            parents[b] = a
    found: dict[int, list[int]] = {}
    for number in numbers:
        found.setdefault(root_of(number) if number in parents else number, []).append(number)
    return list(found.values())


def _trace_group(anchors: Mapping[int, Anchor], members: Sequence[int], source: str) -> Group:
    first = min(members, key=lambda member: (anchors[member].first_unix_nano, anchors[member].anchor_id))
    return Group(key=anchors[first].key, source=source, members=members)


def _runs(anchors: Mapping[int, Anchor], mates: Iterable[int], idle_gap_ns: int) -> list[list[int]]:
    """Call traces of one process, cut wherever it was idle for longer than the gap."""
    times = [(anchors[mate].first_unix_nano, anchors[mate].last_unix_nano, mate) for mate in mates]
    runs: list[list[int]] = []
    latest = 0
    for first, last, mate in sorted(times):
        if not runs or first - latest > idle_gap_ns:
            runs.append([])
        runs[-1].append(mate)
        latest = max(latest, last)
    return runs


def anchor_id_of(fact: Fact) -> AnchorId | None:
    """The anchor of a fact; a log without trace and key has none."""
    if fact.trace_id is not None:
        return trace_anchor_id(fact.tenant, fact.trace_id)
    return None if fact.key is None else log_anchor_id(fact.tenant, fact.service_name, fact.key)


def trace_anchor_id(tenant: str, trace_id: str) -> AnchorId:
    """The anchor of a trace."""
    return f"trace\0{tenant}\0{trace_id}"


def log_anchor_id(tenant: str, service_name: str | None, key: str) -> AnchorId:
    """The anchor of the logs without a trace that share a key."""
    named = session_key(tenant, service_name, key)
    return f"log\0{named.tenant}\0{named.scope}\0{named.key}"
