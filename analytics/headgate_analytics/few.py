"""Few sessions at once: gathered in memory and rebuilt here."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from headgate_analytics.contents import content_by_session, keyless_content, shown_content
from headgate_analytics.gather import Wanted, joined, pieces, wanted_rows, without_trace
from headgate_analytics.rebuild import rebuilt
from headgate_analytics.reconstruct import Reconstruction, Rules
from headgate_analytics.stitch import Stitched
from headgate_processors.schema import CONTENT, LOG_EVENTS, SPANS
from headgate_processors.store.manifest import LiveFile

PIECE_ROWS = 131_072


def rebuild_few(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    files: Sequence[LiveFile],
    sessions: Sequence[Stitched],
    rules: Rules,
    *,
    revision: int,
) -> Iterator[Reconstruction]:
    """Rebuild sessions from the raw files of a store.

    Raises:
        StoreError: a file is damaged.
    """
    wanted = Wanted.of(sessions)
    found = [
        table
        for file in files
        if file.dataset in {SPANS.name, LOG_EVENTS.name}
        for piece in pieces(file.dataset, folder / file.path, rows=file.rows, rows_max=PIECE_ROWS)
        if (table := wanted_rows(piece, wanted)) is not None
    ]
    if not found:
        return
    rows = joined(found)
    paths = [folder / file.path for file in files if file.dataset == CONTENT.name]
    content = list(shown_content(connection, paths, wanted))
    keyless = without_trace(rows)
    if keyless.num_rows:
        content += keyless_content(connection, paths, keyless)
    told = content_by_session(pa.concat_tables(content) if content else None)
    yield from rebuilt(rows, told, sessions.__getitem__, rules, revision=revision)
