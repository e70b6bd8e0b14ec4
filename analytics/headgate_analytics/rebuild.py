"""Sessions from gathered rows: ranges of rows become nodes, nodes a session, and its rows the derived tables."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

from headgate_analytics.columns import NodeColumns, single
from headgate_analytics.gather import SESSION
from headgate_analytics.node import Node
from headgate_analytics.reconstruct import Reconstruction, Rules, SessionContent, reconstruct
from headgate_analytics.stitch import Stitched

RANGE_ROWS = 4_096

_LOG = logging.getLogger(__name__)


def rebuilt(
    rows: pa.Table,
    content: Mapping[int, SessionContent],
    stitched: Callable[[int], Stitched],
    rules: Rules,
    *,
    revision: int,
) -> Iterator[Reconstruction]:
    """The sessions of gathered rows, which stand together by session; `stitched` tells a session by its number.

    One session that our own code cannot rebuild is logged and left out: it must not keep the others from being current.
    """
    columns = NodeColumns(rows)
    for sessions, edges in _ranges(single(rows.column(SESSION)).to_numpy()):
        nodes = columns.nodes(edges[0], edges[-1])
        for number, (start, stop) in zip(sessions, pairwise(edges), strict=True):
            mine = nodes[start - edges[0] : stop - edges[0]]
            one = _rebuilt(stitched(number), mine, content.get(number) or SessionContent(), rules, revision)
            _let_go(mine)
            if one is not None:
                yield one


def _ranges(numbers: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Iterator[tuple[list[int], list[int]]]:
    """Whole sessions of together about `RANGE_ROWS` rows: their numbers, and where each begins, and the end."""
    starts = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()
    sessions: list[int] = []
    edges: list[int] = []
    for start, stop in pairwise([*starts, len(numbers)]):
        if sessions and stop - edges[0] > RANGE_ROWS:
            yield sessions, [*edges, start]
            sessions, edges = [], []
        sessions.append(int(numbers[start]))
        edges.append(start)
    if sessions:
        yield sessions, [*edges, len(numbers)]


def _rebuilt(
    stitched: Stitched, nodes: Sequence[Node], content: SessionContent, rules: Rules, revision: int
) -> Reconstruction | None:
    try:
        return reconstruct(stitched, nodes, content, rules, revision=revision)
    except Exception:  # noqa: BLE001 — the edge of the job: one session fails alone
        _LOG.exception("session %s could not be rebuilt", stitched.key.session_id)
        return None


def _let_go(nodes: Sequence[Node]) -> None:
    """Cut the cycles of parents and children, so that nodes are freed at once and not by the collector of garbage."""
    for node in nodes:
        node.parent = None
        node.children = []
