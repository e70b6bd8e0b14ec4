"""Stitching as facts come: what was told so far lies in an SQLite database, and only what new facts touch is loaded.

Anchors and keys are numbered `nodes`; `edges` lead from anchors to their keys and back, and from anchor to anchor.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice

import orjson

from headgate_analytics import served, witnessed
from headgate_analytics.stitch import (
    Anchor,
    AnchorId,
    Fact,
    Group,
    SessionKey,
    Stitched,
    anchor_id_of,
    groups_of,
    is_follower,
    session_key,
    trace_anchor_id,
)

SCHEMA = f"""
CREATE TABLE nodes (
  id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, flags INTEGER NOT NULL, first INTEGER, last INTEGER,
  first_received INTEGER, last_received INTEGER, instance TEXT, session BLOB, source TEXT
);
CREATE INDEX mates ON nodes (instance, last) WHERE instance IS NOT NULL AND flags & 30 = 6;
CREATE INDEX guesses ON nodes (session) WHERE source = 'guess';
CREATE TABLE edges (a INTEGER, b INTEGER, kind INTEGER, at INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID;
{served.SCHEMA}
{witnessed.SCHEMA}
"""
_TEMPORARY = (
    "CREATE TEMP TABLE touched (id INTEGER PRIMARY KEY)",
    "CREATE TEMP TABLE seeds (id INTEGER PRIMARY KEY)",
    "CREATE TEMP TABLE near (id INTEGER PRIMARY KEY, turn INTEGER)",
    served.TEMPORARY,
    witnessed.TEMPORARY,
)

# Flags of a node. A key, and a trace that only a link told of, has none.
_SUBSTANTIVE, _IS_ANCHOR, _ROOT_CALLS, _ROOT_OTHERS, _KEYED, _OF_AN_AGENT = 1, 2, 4, 8, 16, 32
_GUESSABLE = _IS_ANCHOR | _ROOT_CALLS
_OF_A_GUESS = _GUESSABLE | _ROOT_OTHERS | _KEYED

# Kinds of an edge, from `a` to `b`. `at` is when the key was said first, or how long the call took that served.
_KEY, _OF_KEY, _LINK, _CALLER, _SERVES, _TELLER, _TELLS = 1, 2, 4, 8, 16, 32, 64
_BOND = _KEY | _CALLER
_LOADED = _BOND | _LINK | _TELLER

FACTS_MAX = 50_000
SEEDS_MAX = 10_000
_NAMES_MAX = 500
_NEVER = 2**63 - 1
# A gateway's key names a session only where no agent's does.
_WEAK = 2**62

_SAVE_NODE = """
INSERT INTO nodes (id, name, flags, first, last, first_received, last_received, instance)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
  flags = flags | excluded.flags, first = min(first, excluded.first), last = max(last, excluded.last),
  first_received = min(first_received, excluded.first_received),
  last_received = max(last_received, excluded.last_received),
  instance = ifnull(min(instance, excluded.instance), ifnull(instance, excluded.instance))
"""
_SAVE_EDGE = """
INSERT INTO edges VALUES (?, ?, ?, ?) ON CONFLICT (a, b) DO UPDATE SET
  kind = kind | excluded.kind, at = min(at, excluded.at)
"""
_CUT_EDGE = f"UPDATE edges SET kind = kind & {~(_CALLER | _SERVES)}, at = {_NEVER} WHERE a = ? AND b = ?"
_CUT_TELLER = f"UPDATE edges SET kind = kind & {~(_TELLER | _TELLS)} WHERE a = ? AND b = ?"
_REACH = """
INSERT OR IGNORE INTO near WITH RECURSIVE reached (id) AS (
  SELECT id FROM seeds UNION SELECT b FROM reached JOIN edges ON a = reached.id
) SELECT id, ? FROM reached
"""
_LOAD_NODES = """
SELECT nodes.*, touched.id IS NOT NULL FROM near JOIN nodes USING (id) LEFT JOIN touched USING (id) WHERE turn = ?
"""
_LOAD_EDGES = f"SELECT a, b, kind, at FROM near JOIN edges ON a = near.id WHERE turn = ? AND kind & {_LOADED}"
_LOAD_RUN = "SELECT id FROM nodes WHERE session = ? AND source = 'guess'"
_LOAD_MATES = f"""
SELECT id FROM nodes WHERE instance = ? AND last >= ? AND first <= ? AND flags & {_OF_A_GUESS} = {_GUESSABLE}
"""

_DROP_LOOSE_ENDS = (
    "DELETE FROM edges WHERE a NOT IN (SELECT id FROM nodes) OR b NOT IN (SELECT id FROM nodes)",
    "DELETE FROM nodes WHERE NOT flags AND id NOT IN (SELECT a FROM edges)",
    "DELETE FROM tools WHERE anchor NOT IN (SELECT id FROM nodes)",
    "DELETE FROM told_calls WHERE anchor NOT IN (SELECT id FROM nodes)",
)

_Place = tuple[bytes | None, str | None]
_NOWHERE: _Place = (None, None)


@dataclass(slots=True)
class _Node:
    flags: int
    first: int
    last: int
    first_received: int
    last_received: int
    instance: str | None

    @property
    def values(self) -> tuple[int, int, int, int, int, str | None]:
        return self.flags, self.first, self.last, self.first_received, self.last_received, self.instance


@dataclass(slots=True)
class _Told:
    """What some facts say, brought together: nodes by name, edges between them, runs of tools."""

    nodes: dict[str, _Node] = field(default_factory=dict)
    edges: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    tools: list[tuple[AnchorId, Fact, served.ToolSpan]] = field(default_factory=list)
    calls: list[tuple[AnchorId, Fact, witnessed.ToldCall]] = field(default_factory=list)
    facts: int = 0

    @classmethod
    def of(cls, facts: Iterable[Fact]) -> "_Told":
        told = cls()
        for told.facts, fact in enumerate(facts, 1):
            told.add(fact)
        return told

    def add(self, fact: Fact) -> None:
        """Take in one fact; one that names no anchor says nothing."""
        anchor_id = anchor_id_of(fact)
        if anchor_id is None:
            return
        flags = _IS_ANCHOR | (fact.substantive and _SUBSTANTIVE) | (fact.key is not None and _KEYED)
        flags |= (fact.root_calls > 0 and _ROOT_CALLS) | (fact.root_others > 0 and _ROOT_OTHERS)
        flags |= not fact.is_platform and _OF_AN_AGENT
        instance = None if fact.instance is None else f"{fact.tenant}\0{fact.instance}"
        first_received, last_received = fact.received or (_NEVER, 0)
        node = self.nodes.get(anchor_id)
        if node is None or not node.flags:
            self.nodes[anchor_id] = _Node(
                flags, fact.first_unix_nano, fact.last_unix_nano, first_received, last_received, instance
            )
        else:
            node.flags |= flags
            node.first = min(node.first, fact.first_unix_nano)
            node.last = max(node.last, fact.last_unix_nano)
            node.first_received = min(node.first_received, first_received)
            node.last_received = max(node.last_received, last_received)
            if instance is not None:
                node.instance = instance if node.instance is None else min(node.instance, instance)
        if fact.key is not None:
            key = session_key(fact.tenant, fact.service_name, fact.key)
            name = orjson.dumps((key.tenant, key.scope, key.key)).decode()
            at_unix_nano = fact.first_unix_nano + (_WEAK if fact.is_platform else 0)
            self._connect(anchor_id, name, _KEY, _OF_KEY, at_unix_nano)
        if fact.linked_trace_id is not None and fact.trace_id is not None:
            self._connect(anchor_id, trace_anchor_id(fact.tenant, fact.linked_trace_id), _LINK, _LINK, _NEVER)
        if fact.tool is not None:
            self.tools.append((anchor_id, fact, fact.tool))
        if fact.call is not None:
            self.calls.append((anchor_id, fact, fact.call))

    def _connect(self, left: str, right: str, there: int, back: int, at_unix_nano: int) -> None:
        if right not in self.nodes:
            self.nodes[right] = _Node(0, _NEVER, 0, _NEVER, 0, None)
        for pair, kind in (((left, right), there), ((right, left), back)):
            before = self.edges.get(pair, (0, at_unix_nano))
            self.edges[pair] = (before[0] | kind, min(before[1], at_unix_nano))


@dataclass(slots=True)
class _Closed:
    """Anchors with everything that is connected to them; `before` tells in which session they were, by which rule."""

    anchors: dict[int, Anchor] = field(default_factory=dict)
    keys: dict[int, SessionKey] = field(default_factory=dict)
    bonds: list[tuple[int, int]] = field(default_factory=list)
    links: list[tuple[int, int]] = field(default_factory=list)
    tellers: dict[int, int] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)
    before: dict[int, _Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Sessions as they stand now, and ids of sessions that no longer exist."""

    sessions: Sequence[Stitched]
    removed: frozenset[str]


@contextmanager
def open_nothing() -> Iterator[sqlite3.Connection]:
    """A database in which nothing was told yet, in a file of its own that is gone afterwards."""
    with closing(sqlite3.connect("", isolation_level=None)) as database:
        database.executescript(SCHEMA)
        database.execute("BEGIN")
        yield database


class Stitcher:
    """Joins anchors into sessions, incrementally, in a database with `SCHEMA` that nobody else changes meanwhile.

    It never commits. What it holds in memory at once are `FACTS_MAX` facts, or `SEEDS_MAX` touched anchors with
    everything that belongs to their sessions.
    """

    def __init__(self, database: sqlite3.Connection, *, idle_gap_ns: int) -> None:
        self._database, self._idle_gap_ns = database, idle_gap_ns
        self._candidates: dict[int, int] = {}
        self._attested: set[int] = set()
        for statement in _TEMPORARY:
            database.execute(statement)

    def absorb(self, facts: Iterable[Fact]) -> None:
        """Take in facts, of any number; taking them in twice changes nothing."""
        remaining = iter(facts)
        while (told := _Told.of(islice(remaining, FACTS_MAX))).facts:
            self._save(told)

    def changes(self) -> Iterator[Change]:
        """What the facts since the last time changed, some sessions at a time.

        A session is told again when a fact touched it or its anchors are others than before. Anchors in which
        nothing happened that a session is made of (start-up noise) are no session.
        """
        self._serve()
        self._attest()
        while True:
            self._database.execute("DELETE FROM near")
            self._database.execute("DELETE FROM seeds")
            taken = "INSERT INTO seeds SELECT id FROM touched ORDER BY id LIMIT ?"
            if not self._database.execute(taken, (SEEDS_MAX,)).rowcount:
                return
            change = self._settled(self._closed())
            self._database.execute("DELETE FROM touched WHERE id IN (SELECT id FROM near)")
            yield change

    def _save(self, told: _Told) -> None:
        numbers = self._numbered(told.nodes)
        rows = sorted((numbers[name], name, *node.values) for name, node in told.nodes.items())
        self._database.executemany(_SAVE_NODE, rows)
        edges = sorted((numbers[a], numbers[b], *edge) for (a, b), edge in told.edges.items())
        self._database.executemany(_SAVE_EDGE, edges)
        self._touch(numbers[name] for name, node in told.nodes.items() if node.flags)
        if told.tools:
            runs = (
                served.Run(fact.tenant, tool, fact.first_unix_nano, fact.last_unix_nano, numbers[anchor_id])
                for anchor_id, fact, tool in told.tools
            )
            for anchor, took_ns in served.remember(self._database, runs).items():
                self._candidates[anchor] = min(took_ns, self._candidates.get(anchor, took_ns))
        if told.calls:
            self._attested |= witnessed.remember(
                self._database,
                (
                    witnessed.Run(fact.tenant, call, fact.first_unix_nano, fact.last_unix_nano, numbers[anchor_id])
                    for anchor_id, fact, call in told.calls
                ),
            )

    def _numbered(self, names: Collection[str]) -> dict[str, int]:
        """The numbers of nodes; new ones get the next, in the order of their names."""
        listed = sorted(names)
        found: dict[str, int] = {}
        for start in range(0, len(listed), _NAMES_MAX):
            some = listed[start : start + _NAMES_MAX]
            query = f"SELECT name, id FROM nodes WHERE name IN ({', '.join('?' * len(some))})"
            found.update(self._database.execute(query, some))
        (highest,) = self._database.execute("SELECT ifnull(max(id), 0) FROM nodes").fetchone()
        new = (name for name in listed if name not in found)
        return found | {name: number for number, name in enumerate(new, highest + 1)}

    def _touch(self, numbers: Iterable[int]) -> None:
        self._database.executemany("INSERT OR IGNORE INTO touched VALUES (?)", ((number,) for number in numbers))

    def _serve(self) -> None:
        """Put traces of MCP servers that know no caller into the sessions of the calls that they served.

        A candidate keeps its caller when the calls that came, which took so many nanoseconds, enclose it less closely.
        """
        query = f"SELECT b, at FROM edges WHERE a = ? AND kind & {_CALLER}"
        cut: list[tuple[int, int]] = []
        joined: list[tuple[int, int, int, int]] = []
        for anchor, took_ns in self._candidates.items():
            before = self._database.execute(query, (anchor,)).fetchone()
            if before is not None and before[1] < took_ns:
                continue
            now = served.caller_of(self._database, anchor)
            if now is None or now == before:
                continue
            caller, at = now
            joined += [(anchor, caller, _CALLER, at), (caller, anchor, _SERVES, at)]
            if before is not None:
                cut += [(anchor, before[0]), (before[0], anchor)]
        self._database.executemany(_CUT_EDGE, cut)
        self._database.executemany(_SAVE_EDGE, joined)
        self._touch({a for a, *_ in (*cut, *joined)})
        self._candidates.clear()

    def _attest(self) -> None:
        """Put what only a gateway saw beside what agents tell of the same calls."""
        query = f"SELECT b FROM edges WHERE a = ? AND kind & {_TELLER}"
        for anchor in sorted(self._attested):
            before = self._database.execute(query, (anchor,)).fetchone()
            now = witnessed.teller_of(self._database, anchor)
            if now == (None if before is None else before[0]):
                continue
            if before is not None:
                self._database.executemany(_CUT_TELLER, [(anchor, before[0]), (before[0], anchor)])
                self._touch(before)
            if now is not None:
                self._database.executemany(_SAVE_EDGE, [(anchor, now, _TELLER, _NEVER), (now, anchor, _TELLS, _NEVER)])
                self._touch([now])
            self._touch([anchor])
        self._attested.clear()

    def _closed(self) -> _Closed:
        """The seeds with everything that is connected to them, directly or through each other."""
        closed = _Closed()
        turn = 0
        while True:
            self._database.execute(_REACH, (turn,))
            mates = self._mates(closed, self._load(closed, turn)) - closed.anchors.keys()
            if not mates:
                return closed
            self._database.execute("DELETE FROM seeds")
            self._database.executemany("INSERT INTO seeds VALUES (?)", ((mate,) for mate in mates))
            turn += 1

    def _load(self, closed: _Closed, turn: int) -> list[int]:
        """Load what was reached in this turn; the anchors that a guess may join to others."""
        lone: list[int] = []
        for row in self._database.execute(_LOAD_NODES, (turn,)):
            number, name, flags, first, last, come, gone, instance, session, source, touched = row
            if not flags:
                if name[0] == "[":
                    closed.keys[number] = SessionKey(*orjson.loads(name))
                continue
            guessable = flags & _OF_A_GUESS == _GUESSABLE
            substantive = bool(flags & _SUBSTANTIVE)
            of_platform = not flags & _OF_AN_AGENT
            closed.anchors[number] = Anchor(
                name, first, last, substantive, guessable, instance, (come, gone), of_platform
            )
            if session is not None:
                closed.before[number] = (session, source)
            if touched:
                closed.touched.add(number)
            if guessable or source == "guess":
                lone.append(number)
        self._load_edges(closed, turn)
        return lone

    def _load_edges(self, closed: _Closed, turn: int) -> None:
        for a, b, kind, at_unix_nano in self._database.execute(_LOAD_EDGES, (turn,)):
            if kind & _KEY:
                closed.anchors[a].keys.append((at_unix_nano, closed.keys[b]))
            if kind & _TELLER:
                closed.tellers[a] = b
            if kind & _BOND:
                closed.bonds.append((a, b))
            elif kind & _LINK:
                closed.links.append((a, b))

    def _mates(self, closed: _Closed, lone: Iterable[int]) -> set[int]:
        """The anchors that are, were or may come to be in one guess with some of these."""
        runs: set[bytes] = set()
        windows: dict[str, list[tuple[int, int]]] = {}
        for number in lone:
            anchor = closed.anchors[number]
            session, source = closed.before.get(number, _NOWHERE)
            if session is not None and source == "guess":
                runs.add(session)
            if (
                anchor.guessable
                and anchor.instance is not None
                and (source != "guess" or number in closed.touched or is_follower(anchor))
            ):
                window = (anchor.first_unix_nano - self._idle_gap_ns, anchor.last_unix_nano + self._idle_gap_ns)
                windows.setdefault(anchor.instance, []).append(window)
        queries: list[tuple[str, tuple[object, ...]]] = [(_LOAD_RUN, (session,)) for session in runs]
        queries += [
            (_LOAD_MATES, (instance, *window)) for instance, listed in windows.items() for window in _merged(listed)
        ]
        return {mate for query, values in queries for (mate,) in self._database.execute(query, values)}

    def _settled(self, closed: _Closed) -> Change:
        """Find the sessions of closed anchors, and remember in which they are now."""
        standing: dict[bytes, tuple[Group, bool]] = {}
        left: set[bytes] = set()
        moves: list[tuple[bytes | None, str | None, int]] = []
        found = groups_of(
            closed.anchors, closed.bonds, closed.links, idle_gap_ns=self._idle_gap_ns, tellers=closed.tellers
        )
        for group in found:
            place = _place_of(group, closed.anchors)
            moved = [member for member in group.members if closed.before.get(member, _NOWHERE) != place]
            moves += [(*place, member) for member in moved]
            left |= {session for member in moved if (session := closed.before.get(member, _NOWHERE)[0]) is not None}
            if place[0] is not None:
                standing[place[0]] = group, bool(moved) or not closed.touched.isdisjoint(group.members)
        self._database.executemany("UPDATE nodes SET session = ?, source = ? WHERE id = ?", moves)
        told = sorted(session for session, (_, changed) in standing.items() if changed or session in left)
        return Change(
            sessions=[_stitched(standing[session][0], closed.anchors) for session in told],
            removed=frozenset(session.hex() for session in left - standing.keys()),
        )

    def prune(self, oldest_received: int) -> None:
        """Drop anchors of which every record was received before this moment, and what only they knew."""
        self._database.execute("DELETE FROM nodes WHERE flags AND last_received < ?", (oldest_received,))
        for statement in _DROP_LOOSE_ENDS:
            self._database.execute(statement)


def _place_of(group: Group, anchors: Mapping[int, Anchor]) -> _Place:
    for member in group.members:
        if anchors[member].substantive:
            return bytes.fromhex(group.key.session_id), group.source
    return _NOWHERE


def _stitched(group: Group, anchors: Mapping[int, Anchor]) -> Stitched:
    members = [anchors[member] for member in group.members]
    if len(members) == 1:
        (one,) = members
        return Stitched(key=group.key, source=group.source, anchors=frozenset((one.anchor_id,)), received=one.received)
    return Stitched(
        key=group.key,
        source=group.source,
        anchors=frozenset(one.anchor_id for one in members),
        received=(min(one.received[0] for one in members), max(one.received[1] for one in members)),
    )


def _merged(windows: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same times in windows that do not meet."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(windows):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found
