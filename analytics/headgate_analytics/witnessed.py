"""Calls that a gateway saw in a trace of its own: they belong to the trace in which the agent tells of the same call.

So do those of an SDK that traces itself, where the framework around it has put it into no trace of its own.

An id of the response is proof, wherever both tell it about the same time. Without one the same instance, the same
model and a call of the agent around the gateway's are, when only one trace has such a call. Whichever comes first.
"""

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

ID_CHARS_MIN = 16
CLOCKS_NS = 120 * 1_000_000_000
SLACK_NS = 1_000_000_000
LONGEST_NS = 3_600 * 1_000_000_000
NEAR_MAX = 256

# Dialects of SDKs whose spans stand alone when the framework that calls them does not tell them where they are.
BARE_DIALECTS = frozenset({"anthropic_sdk"})
_AGENT, _SEEKING, _BARE = 0, 1, 2

# `gateway` says who tells: an agent, whoever seeks where an agent does, or an SDK by itself, which is found like one.
SCHEMA = """
CREATE TABLE told_calls (
  tenant TEXT, name TEXT, gateway INTEGER, start INTEGER, until INTEGER, anchor INTEGER,
  PRIMARY KEY (tenant, name, gateway, start, until, anchor)
) WITHOUT ROWID;
CREATE INDEX told_calls_of ON told_calls (anchor, gateway);
"""
TEMPORARY = "CREATE TEMP TABLE new_calls (tenant TEXT, name TEXT, start INTEGER, until INTEGER)"

_ID, _PLACE = "id\0", "at\0"
_TOUCHED = f"""
SELECT DISTINCT told_calls.anchor FROM new_calls CROSS JOIN told_calls ON
  told_calls.tenant = new_calls.tenant AND told_calls.name = new_calls.name AND gateway = 1
  AND told_calls.start BETWEEN new_calls.start - {CLOCKS_NS} AND new_calls.until + {CLOCKS_NS}
"""
# One seek in the index for each who tells: of the calls of one gateway there may be a million.
_NEAR = " UNION ALL ".join(
    f"""
SELECT * FROM (
  SELECT start, until, anchor, gateway FROM told_calls WHERE tenant = ?1 AND name = ?2 AND gateway = {level}
  AND start BETWEEN ?3 - {LONGEST_NS} AND ?4 ORDER BY start DESC, until DESC LIMIT {NEAR_MAX}
)"""
    for level in (_AGENT, _BARE)
)
_OF_ANCHOR = """
SELECT tenant, name, start, until FROM told_calls WHERE anchor = ? AND gateway = 1 ORDER BY name DESC, start
"""
_IS_BARE = "SELECT 1 FROM told_calls WHERE anchor = ? AND gateway = ? LIMIT 1"


class ToldCall(NamedTuple):
    """What a record says of one model call: the id of its response, else the instance and the model, or both."""

    response_id: str | None
    place: str | None
    is_gateway: bool
    is_bare: bool = False

    def names(self) -> list[tuple[str, int]]:
        """What the call is found by, or finds others by."""
        level = _SEEKING if self.is_gateway else _BARE if self.is_bare else _AGENT
        names = [(f"{_ID}{self.response_id}", level)] if self.response_id is not None else []
        if self.place is None:
            return names
        place = f"{_PLACE}{self.place}"
        if self.is_bare and self.response_id is None:
            names.append((place, _BARE))
        return [*names, (place, _SEEKING if self.is_bare else level)]


class Near(NamedTuple):
    """Who else tells of a call by the same name: whether not all of it is within theirs, and how far away it began."""

    level: int
    is_outside: bool
    away_ns: int
    anchor: int


class Run(NamedTuple):
    """When a call ran, and in which anchor, by its number."""

    tenant: str
    told: ToldCall
    start_unix_nano: int
    end_unix_nano: int
    anchor: int


def remember(database: sqlite3.Connection, runs: Iterable[Run]) -> set[int]:
    """Keep runs in the table `told_calls`; the anchors of gateways that may belong elsewhere now."""
    rows = {
        (run.tenant, name, level, run.start_unix_nano, run.end_unix_nano, run.anchor)
        for run in runs
        for name, level in run.told.names()
    }
    database.executemany("INSERT OR IGNORE INTO told_calls VALUES (?, ?, ?, ?, ?, ?)", sorted(rows))
    database.execute("DELETE FROM new_calls")
    clients = sorted((row[0], row[1], row[3], row[4]) for row in rows if row[2] != _SEEKING)
    database.executemany("INSERT INTO new_calls VALUES (?, ?, ?, ?)", clients)
    return {row[-1] for row in rows if row[2] == _SEEKING} | {anchor for (anchor,) in database.execute(_TOUCHED)}


def teller_of(database: sqlite3.Connection, anchor: int) -> int | None:
    """The anchor in which the agent tells of a call that this anchor has from a gateway or an SDK; None if it is this.

    What an SDK tells by itself is where the agent tells it, if the agent tells nothing.
    """
    found: list[tuple[bool, bool, int, str, int]] = []
    is_bare = bool(database.execute(_IS_BARE, (anchor, _BARE)).fetchall())
    for tenant, name, start, until in database.execute(_OF_ANCHOR, (anchor,)).fetchall():
        is_sure = name.startswith(_ID)
        slack_ns = CLOCKS_NS if is_sure else SLACK_NS
        told = [
            Near(level, not (begun <= start + SLACK_NS and ended >= until - SLACK_NS), abs(begun - start), other)
            for begun, ended, other, level in database.execute(_NEAR, (tenant, name, start, start + slack_ns))
            if ended >= until - slack_ns
        ]
        if any(one.anchor == anchor and one.level == _AGENT for one in told):
            return None
        told = [one for one in told if one.anchor != anchor and (one.level == _AGENT or not is_bare)]
        best = min((one.level for one in told), default=_AGENT)
        near = [one for one in told if one.level == best]
        others = {one.anchor for one in near}
        if is_sure or len(others) == 1:
            found += [
                (not is_sure, one.is_outside, one.away_ns, _name(database, one.anchor), one.anchor) for one in near
            ]
    return min(found)[-1] if found else None


def _name(database: sqlite3.Connection, anchor: int) -> str:
    """Numbers come in the order of arrival, names do not."""
    (name,) = database.execute("SELECT name FROM nodes WHERE id = ?", (anchor,)).fetchone()
    return str(name)
