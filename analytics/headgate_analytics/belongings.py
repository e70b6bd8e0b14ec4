"""What belongs to a session: the traces and the keyed logs that stitching joined to it, calls or not."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from headgate_analytics.raw import RawFiles, facts
from headgate_analytics.raw_calls import call_facts, tells_of_gateways
from headgate_analytics.stitch import SessionKey, Stitched
from headgate_analytics.stitcher import Stitcher, open_nothing
from headgate_analytics.views import IDLE_GAP_NS
from headgate_processors.store.check import sound_manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """Of one session: its traces, and the ids that the keys of its logs would give by themselves."""

    trace_ids: frozenset[str]
    key_session_ids: frozenset[str]


def anchors_of_sessions(folder: Path, *, idle_gap_ns: int = IDLE_GAP_NS) -> Mapping[str, Anchors]:
    """Every session of the sealed rows of a store by its id; reads a few columns of all of them.

    Raises:
        StoreError: the store is damaged.
    """
    paths: dict[str, list[Path]] = {}
    for file in sound_manifest(folder).files:
        if not file.derived:
            paths.setdefault(file.dataset, []).append(folder / file.path)
    with open_nothing() as database:
        stitcher = Stitcher(database, idle_gap_ns=idle_gap_ns)
        with duckdb.connect(config={"preserve_insertion_order": False}) as connection:
            stitcher.absorb(facts(connection, RawFiles(paths)))
            if tells_of_gateways(connection, RawFiles(paths)):
                stitcher.absorb(call_facts(connection, RawFiles(paths)))
        return {one.key.session_id: _anchors(one) for change in stitcher.changes() for one in change.sessions}


def _anchors(stitched: Stitched) -> Anchors:
    """An anchor's id is `trace`, tenant and trace, or `log`, tenant, scope and key, joined by NUL."""
    traces, keys = set(), {stitched.key.session_id}
    for anchor in stitched.anchors:
        kind, tenant, *rest = anchor.split("\0", 3)
        if kind == "trace":
            traces.add(rest[0])
        else:
            keys.add(SessionKey(tenant, *rest).session_id)
    return Anchors(trace_ids=frozenset(traces), key_session_ids=frozenset(keys))
