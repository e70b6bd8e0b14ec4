"""Which rows lost: versions of a record that another version replaces, found without touching the rest.

Only a file or segment that is not settled can hold another version of a record. So the records in those, which
are few, are looked up in all others, and what loses is listed by file and row. The views leave those rows out;
files without a lost row are scanned plainly.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

RECORDS = ("spans", "log_events", "metric_points")
CHILD_KEYS: Mapping[str, str] = MappingProxyType(
    {"span_events": "ordinal", "span_links": "ordinal", "content": "field, attribute, hash, bytes"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Queries over the files of one dataset that give all its columns, `filename` and `file_row_number`."""

    settled: str
    unsettled: str


def contested_sql(sources: Mapping[str, Source]) -> str:
    """The versions of every record that has more than one: dataset, record_id, received, file, row, rank from 1.

    Of two versions the one with an end is better, then the one received earlier.
    """
    return "\nUNION ALL\n".join(_contested(dataset, source) for dataset, source in sources.items())


def _contested(dataset: str, source: Source) -> str:
    unended = "end_time_unix_nano IS NULL" if dataset == "spans" else "false"
    columns = f"record_id, received_unix_nano, {unended} AS unended, filename, file_row_number"
    return f"""
(WITH fresh AS (SELECT DISTINCT record_id FROM ({source.unsettled})),
versions AS (
  SELECT {columns} FROM ({source.settled}) SEMI JOIN fresh USING (record_id)
  UNION ALL
  SELECT {columns} FROM ({source.unsettled})
),
several AS (SELECT record_id FROM versions GROUP BY record_id HAVING count(*) > 1)
SELECT '{dataset}' AS dataset, record_id, received_unix_nano, filename, file_row_number,
  row_number() OVER (PARTITION BY record_id ORDER BY unended, received_unix_nano, filename, file_row_number) AS rank
FROM versions SEMI JOIN several USING (record_id))"""


def lost_children_sql(dataset: str, query: str, contested: str) -> str:
    """Rows of a child dataset whose record's version lost, or that stand there twice: file and row.

    `query` gives all columns, `filename` and `file_row_number`; `contested` names the table of `contested_sql`.
    """
    return f"""
WITH winners AS (SELECT record_id, received_unix_nano AS won_unix_nano FROM {contested} WHERE rank = 1),
children AS (
  SELECT record_id, received_unix_nano, won_unix_nano, filename, file_row_number,
    row_number() OVER (PARTITION BY record_id, received_unix_nano, {CHILD_KEYS[dataset]} ORDER BY filename, file_row_number) AS copy
  FROM ({query}) JOIN winners USING (record_id)
)
SELECT filename, file_row_number FROM children WHERE received_unix_nano <> won_unix_nano OR copy > 1"""
