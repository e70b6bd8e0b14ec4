"""Which traces and logs are one session: keys and links joined, guesses only where nothing names a session.

An *anchor* is a trace, or the logs without a trace that share one key. Facts about anchors only ever
grow (earliest, latest, any), so any order of arrival gives the same sessions.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from sys import intern

from headgate_analytics.served import Servings, ToolSpan

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


def trace_key(tenant: str, trace_id: str) -> SessionKey:
    """The key of a trace that has none of its own."""
    return SessionKey(tenant, "", trace_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What some records of one anchor say: `trace_id` or `key` names the anchor.

    `root_calls` and `root_others` count true roots that are a model or tool call, and that are not.
    `tool` says that the fact is about one run of an MCP tool, from its start to its end. `received` is when the
    first and the last of these records were received, in nanoseconds.
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


@dataclass(slots=True)
class Anchor:
    """Everything known of one trace, or of the logs of one key."""

    tenant: str
    trace_id: str | None
    keys: dict[SessionKey, int] = field(default_factory=dict)
    instances: tuple[str, ...] = ()
    first_unix_nano: int = 2**63 - 1
    last_unix_nano: int = 0
    substantive: bool = False
    root_calls: bool = False
    root_others: bool = False
    first_received: int = 2**63 - 1
    last_received: int = 0

    def absorb(self, fact: Fact) -> None:
        """Add what `fact` says; absorbing it twice changes nothing."""
        self.first_unix_nano = min(self.first_unix_nano, fact.first_unix_nano)
        self.last_unix_nano = max(self.last_unix_nano, fact.last_unix_nano)
        self.substantive |= fact.substantive
        self.root_calls |= fact.root_calls > 0
        self.root_others |= fact.root_others > 0
        if fact.received is not None:
            self.first_received = min(self.first_received, fact.received[0])
            self.last_received = max(self.last_received, fact.received[1])
        if fact.instance is not None and fact.instance not in self.instances:
            self.instances = tuple(sorted((*self.instances, fact.instance)))
        if fact.key is not None:
            key = session_key(fact.tenant, fact.service_name, fact.key)
            self.keys[key] = min(self.keys.get(key, fact.first_unix_nano), fact.first_unix_nano)

    @property
    def instance(self) -> str | None:
        """The process that it counts to: of several the first by name, so that order of arrival does not matter."""
        return self.instances[0] if self.instances else None

    @property
    def guessable(self) -> bool:
        """A keyless trace whose root is itself a call, of a process that says which one it is."""
        return not self.keys and self.root_calls and not self.root_others and self.instance is not None


AnchorId = str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stitched:
    """One session: its key, where the key came from, and its anchors."""

    key: SessionKey
    source: str
    anchors: frozenset[AnchorId]


class Stitcher:
    """Joins anchors into sessions, incrementally.

    Memory grows with the number of anchors, a few hundred bytes each.
    """

    def __init__(self, *, idle_gap_ns: int) -> None:
        self._idle_gap_ns = idle_gap_ns
        self._anchors: dict[AnchorId, Anchor] = {}
        self._parents: dict[str, str] = {}
        self._members: dict[str, set[AnchorId]] = {}
        self._instances: dict[tuple[str, str], set[AnchorId]] = {}
        self._links: dict[AnchorId, set[AnchorId]] = {}
        self._servings = Servings()
        self._callers: dict[AnchorId, AnchorId] = {}
        self._assigned: dict[AnchorId, tuple[str, str]] = {}

    def absorb(self, facts: Iterable[Fact]) -> set[AnchorId]:
        """Take in facts; the anchors that they touch."""
        touched: set[AnchorId] = set()
        for fact in facts:
            anchor_id = self._absorb_one(fact)
            if anchor_id is not None:
                touched.add(anchor_id)
                if fact.tool is not None:
                    touched |= self._serve(fact, fact.tool, anchor_id)
        return touched

    def _serve(self, fact: Fact, tool: ToolSpan, anchor_id: AnchorId) -> set[AnchorId]:
        """Put the trace of an MCP server that knows no caller into the session of the call that it served."""
        joined: set[AnchorId] = set()
        pairs = self._servings.pairs(fact.tenant, tool, fact.first_unix_nano, fact.last_unix_nano, anchor_id)
        for served, caller in pairs:
            if served in self._callers:
                continue
            self._callers[served] = caller
            self._union(served, caller)
            self._links.setdefault(served, set()).add(caller)
            self._links.setdefault(caller, set()).add(served)
            joined |= {served, caller}
        return joined

    def _absorb_one(self, fact: Fact) -> AnchorId | None:
        anchor_id = anchor_id_of(fact)
        if anchor_id is None:
            return None
        anchor = self._anchors.get(anchor_id)
        if anchor is None:
            anchor = self._anchors[anchor_id] = Anchor(tenant=intern(fact.tenant), trace_id=fact.trace_id)
        anchor.absorb(fact)
        for key in anchor.keys:
            self._union(anchor_id, f"key\0{key.tenant}\0{key.scope}\0{key.key}")
        if anchor.guessable and anchor.instance is not None:
            self._instances.setdefault((fact.tenant, anchor.instance), set()).add(anchor_id)
        if fact.linked_trace_id is not None and fact.trace_id is not None:
            other = f"trace\0{fact.tenant}\0{fact.linked_trace_id}"
            self._links.setdefault(anchor_id, set()).add(other)
            self._links.setdefault(other, set()).add(anchor_id)
        return anchor_id

    def _find(self, item: str) -> str:
        root = item
        while (up := self._parents.get(root, root)) != root:
            root = up
        while (up := self._parents.get(item, item)) != root:
            self._parents[item] = root
            item = up
        return root

    def _union(self, left: str, right: str) -> None:
        a, b = self._find(left), self._find(right)
        if a == b:
            return
        mine, theirs = self._group(a), self._group(b)
        if len(mine) < len(theirs):
            a, b, mine, theirs = b, a, theirs, mine
        self._parents[b] = a
        self._members.pop(b, None)
        if theirs:
            kept = self._members.get(a)
            if kept is None:
                kept = self._members[a] = set(mine)
            kept.update(theirs)

    def _group(self, root: str) -> Collection[AnchorId]:
        """The anchors under a root; most are alone, and nothing is kept for those."""
        return self._members.get(root) or ((root,) if root in self._anchors else ())

    def component(self, anchor_id: AnchorId) -> frozenset[AnchorId]:
        """The anchors that share a key, directly or through each other."""
        return frozenset(self._group(self._find(anchor_id)) or (anchor_id,))

    def received(self, sessions: Iterable[Stitched]) -> tuple[int, int]:
        """When the first and the last record of these sessions was received, in nanoseconds."""
        anchors = [self._anchors[member] for one in sessions for member in one.anchors]
        return (
            min((anchor.first_received for anchor in anchors), default=0),
            max((anchor.last_received for anchor in anchors), default=0),
        )

    def sessions_of(self, touched: Iterable[AnchorId]) -> tuple[list[Stitched], set[str]]:
        """The sessions of the touched anchors as they stand, and ids of sessions that no longer exist.

        A component in which nothing happened that a session is made of (start-up noise) is no session.
        """
        done: set[AnchorId] = set()
        found: dict[str, Stitched] = {}
        before: set[str] = set()
        for anchor_id in sorted(self._affected(touched)):
            if anchor_id in done:
                continue
            for group in self._groups(anchor_id):
                done |= group.anchors
                before |= {self._assigned[member][0] for member in group.anchors if member in self._assigned}
                self._assign(group, found)
        return [found[session_id] for session_id in sorted(found)], before - set(found)

    def _affected(self, touched: Iterable[AnchorId]) -> set[AnchorId]:
        """The touched anchors and those whose guess or link may change with them."""
        affected: set[AnchorId] = set()
        for anchor_id in touched:
            affected |= {anchor_id, *self._links.get(anchor_id, ())} & self._anchors.keys()
        mates: set[AnchorId] = set()
        for anchor_id in affected:
            anchor = self._anchors[anchor_id]
            if anchor.guessable or self._assigned.get(anchor_id, ("", ""))[1] == "guess":
                mates.update(*(self._instances.get((anchor.tenant, name), ()) for name in anchor.instances))
        return affected | mates

    def _assign(self, group: Stitched, found: dict[str, Stitched]) -> None:
        substantive = any(self._anchors[member].substantive for member in group.anchors)
        for member in group.anchors:
            if substantive:
                self._assigned[member] = (group.key.session_id, group.source)
            else:
                self._assigned.pop(member, None)
        if substantive:
            found[group.key.session_id] = group

    def _groups(self, anchor_id: AnchorId) -> list[Stitched]:
        members = self.component(anchor_id)
        if any(self._anchors[member].keys for member in members):
            return [self._keyed_group(members)]
        linked = self._linked(anchor_id)
        anchor = self._anchors[anchor_id]
        if len(linked) == 1 and anchor.guessable:
            return self._guessed(anchor)
        return [self._trace_group(linked)]

    def _linked(self, anchor_id: AnchorId) -> frozenset[AnchorId]:
        """The keyless traces that span links connect: a link is a weak edge, it never joins named sessions."""
        reached: set[AnchorId] = set()
        queue = [anchor_id]
        while queue:
            current = queue.pop()
            anchor = self._anchors.get(current)
            if current in reached or anchor is None or anchor.keys:
                continue
            reached.add(current)
            queue.extend(self._links.get(current, ()))
        return frozenset(reached)

    def _keyed_group(self, anchors: frozenset[AnchorId]) -> Stitched:
        ranked = ((at_unix_nano, key) for member in anchors for key, at_unix_nano in self._anchors[member].keys.items())
        return Stitched(key=min(ranked)[1], source="attribute", anchors=anchors)

    def _trace_group(self, anchors: frozenset[AnchorId], source: str = "trace") -> Stitched:
        first = min(
            (self._anchors[member] for member in anchors),
            key=lambda anchor: (anchor.first_unix_nano, anchor.trace_id or ""),
        )
        return Stitched(key=trace_key(first.tenant, first.trace_id or ""), source=source, anchors=anchors)

    def _guessed(self, anchor: Anchor) -> list[Stitched]:
        """Keyless call traces of one process, cut wherever it was idle for longer than the gap."""
        members = [
            (other.first_unix_nano, other.last_unix_nano, member)
            for member in self._instances[(anchor.tenant, anchor.instance or "")]
            if (other := self._anchors[member]).guessable
            and other.instance == anchor.instance
            and len(self._linked(member)) == 1
        ]
        runs: list[set[AnchorId]] = []
        latest = 0
        for first, last, member in sorted(members):
            if not runs or first - latest > self._idle_gap_ns:
                runs.append(set())
            runs[-1].add(member)
            latest = max(latest, last)
        return [self._trace_group(frozenset(run), "guess") for run in runs]


def anchor_id_of(fact: Fact) -> AnchorId | None:
    """The anchor of a fact; a log without trace and key has none."""
    if fact.trace_id is not None:
        return f"trace\0{fact.tenant}\0{fact.trace_id}"
    return None if fact.key is None else log_anchor_id(fact.tenant, fact.service_name, fact.key)


def log_anchor_id(tenant: str, service_name: str | None, key: str) -> AnchorId:
    """The anchor of the logs without a trace that share a key."""
    named = session_key(tenant, service_name, key)
    return f"log\0{named.tenant}\0{named.scope}\0{named.key}"
