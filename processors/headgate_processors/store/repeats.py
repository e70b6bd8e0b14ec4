"""Which rows lost: versions of a record that another version replaces, found without touching the rest.

Only a file or segment that is not settled can hold another version of a record. So the records in those, which
are few, are looked up in all others, and what loses is listed by file and row. The views leave those rows out;
files without a lost row are scanned plainly.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

RECORDS = ("spans", "log_events", "metric_points")
CHILD_KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"span_events": ("ordinal",), "span_links": ("ordinal",), "content": ("field", "attribute", "hash")}
)
SOURCE_COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "spans": ("record_id", "received_unix_nano", "end_time_unix_nano"),
        "log_events": ("record_id", "received_unix_nano"),
        "metric_points": ("record_id", "received_unix_nano"),
        **{child: ("record_id", "received_unix_nano", *key) for child, key in CHILD_KEYS.items()},
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Two queries over one dataset: its `SOURCE_COLUMNS`, then `filename` and `file_row_number`, of every row."""

    settled: str
    unsettled: str

    @property
    def every(self) -> str:
        """Both."""
        return f"{self.settled}\nUNION ALL\n{self.unsettled}"


def contested_sql(sources: Mapping[str, Source], *, part: int = 0, parts: int = 1) -> str:
    """The versions of every record that has more than one.

    Columns: dataset, record_id, received_unix_nano, filename, file_row_number, and rank, 1 for the version that wins:
    one with an end, then the one received first. `parts` splits the records, so that each part fits into memory.
    """
    return "\nUNION ALL\n".join(_contested(dataset, source, part, parts) for dataset, source in sources.items())


def _contested(dataset: str, source: Source, part: int, parts: int) -> str:
    unended = "end_time_unix_nano IS NULL" if dataset == "spans" else "false"
    columns = f"record_id, received_unix_nano, {unended} AS unended, filename, file_row_number"
    mine = f"WHERE hash(record_id) % {parts} = {part}" if parts > 1 else ""
    # Hashes find the candidates, for they are short; whole ids decide.
    return f"""
(WITH fresh AS MATERIALIZED (
  SELECT hash(record_id) AS short_id, count(*) AS versions FROM ({source.unsettled}) {mine} GROUP BY short_id
),
doubtful AS MATERIALIZED (
  SELECT short_id FROM fresh WHERE versions > 1
  UNION
  SELECT short_id FROM (SELECT hash(record_id) AS short_id FROM ({source.settled})) SEMI JOIN fresh USING (short_id)
),
versions AS (
  SELECT {columns} FROM ({source.settled}) WHERE hash(record_id) IN (SELECT short_id FROM doubtful)
  UNION ALL
  SELECT {columns} FROM ({source.unsettled}) WHERE hash(record_id) IN (SELECT short_id FROM doubtful)
)
SELECT '{dataset}' AS dataset, record_id, received_unix_nano, filename, file_row_number,
  row_number() OVER (
    PARTITION BY record_id ORDER BY unended, received_unix_nano, filename, file_row_number
  ) AS rank
FROM versions
QUALIFY count(*) OVER (PARTITION BY record_id) > 1)"""


def lost_children_sql(dataset: str, query: str, contested: str) -> str:
    """Rows of a child dataset whose record's version lost, or that stand there twice: file and row.

    `query` gives the dataset's `SOURCE_COLUMNS`, `filename` and `file_row_number`; `contested` names the table of
    `contested_sql`.
    """
    return f"""
WITH winners AS (
  SELECT record_id, received_unix_nano AS won_unix_nano FROM {contested} WHERE rank = 1
),
children AS (
  SELECT received_unix_nano, won_unix_nano, filename, file_row_number,
    row_number() OVER (
      PARTITION BY record_id, received_unix_nano, {", ".join(CHILD_KEYS[dataset])} ORDER BY filename, file_row_number
    ) AS copy
  FROM ({query}) JOIN winners USING (record_id)
)
SELECT filename, file_row_number FROM children WHERE received_unix_nano <> won_unix_nano OR copy > 1"""
