"""Gathered rows on disk, cut into parts of whole sessions, so that each part is rebuilt in bounded memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from headgate_analytics.columns import single
from headgate_analytics.gather import SESSION, joined
from headgate_analytics.stitch import SessionKey, Stitched

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spill:
    """A folder with what one derivation gathered.

    `edges` are the numbers of the first session of each part, and how many sessions there are.
    """

    folder: Path
    edges: tuple[int, ...]

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return len(self.edges) - 1

    def raw(self, path: str) -> Path:
        """Where a raw file of the store stands in the spill; `path` is its own in the store."""
        return self.folder / "raw" / path.replace("/", "_")

    def write(self, name: str, table: pa.Table) -> None:
        """Keep gathered rows: one file with an Arrow stream for each part, and where each of them begins before all."""
        ordered = joined([table])
        cuts = np.searchsorted(single(ordered.column(SESSION)).to_numpy(), self.edges).tolist()
        places = np.zeros(self.parts + 1, np.int64)
        temporary = self.folder / f"{name}.tmp"
        with temporary.open("wb") as file:
            file.write(places.tobytes())
            for part, (start, stop) in enumerate(pairwise(cuts)):
                places[part] = file.tell()
                if stop > start:
                    rows = _own_words(ordered.slice(start, stop - start))
                    with pa.ipc.new_stream(file, rows.schema, options=_OPTIONS) as writer:
                        writer.write_table(rows)
            places[-1] = file.tell()
            file.seek(0)
            file.write(places.tobytes())
        temporary.replace(self.folder / f"{name}.arrow")

    def read(self, kind: str, part: int) -> pa.Table | None:
        """The rows of one part, those of a session together; None without any."""
        found = [table for path in sorted(self.folder.glob(f"{kind}-*.arrow")) for table in self._part(path, part)]
        return joined(found) if found else None

    def _part(self, path: Path, part: int) -> Iterator[pa.Table]:
        whole = pa.memory_map(str(path)).read_buffer()
        start, stop = np.frombuffer(whole, np.int64, count=self.parts + 1)[part : part + 2].tolist()
        if stop > start:
            with pa.ipc.open_stream(whole.slice(start, stop - start)) as reader:
                yield reader.read_all()

    def save_sessions(self, sessions: Sequence[Stitched]) -> None:
        """Write down what the rows of sessions need to know of them."""
        table = pa.table(
            {
                "tenant": [one.key.tenant for one in sessions],
                "scope": [one.key.scope for one in sessions],
                "key": [one.key.key for one in sessions],
                "source": [one.source for one in sessions],
            },
            schema=pa.schema([(name, pa.string()) for name in ("tenant", "scope", "key", "source")]),
        )
        with (
            pa.OSFile(str(self.folder / "sessions.arrow"), "wb") as file,
            pa.ipc.new_file(file, table.schema) as writer,
        ):
            for start, stop in pairwise(self.edges):
                writer.write_batch(table.slice(start, stop - start).combine_chunks().to_batches()[0])

    def sessions(self, part: int) -> list[Stitched]:
        """The sessions of one part; their anchors are gone into the rows."""
        with pa.ipc.open_file(self.folder / "sessions.arrow") as reader:
            rows = reader.get_batch(part).to_pylist()
        return [
            Stitched(key=SessionKey(row["tenant"], row["scope"], row["key"]), source=row["source"], anchors=frozenset())
            for row in rows
        ]


def _own_words(rows: pa.Table) -> pa.Table:
    """A slice with dictionaries of its own where those of the whole are larger than it."""
    for number, column in enumerate(rows.columns):
        if pa.types.is_dictionary(column.type) and len(column.chunk(0).dictionary) > rows.num_rows // 4:
            own = column.chunk(0).dictionary_decode().dictionary_encode()
            rows = rows.set_column(number, rows.field(number), pa.chunked_array([own]))
    return rows
