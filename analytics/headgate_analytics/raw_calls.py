"""What raw rows say of single model calls, so that what a gateway saw finds what the agent tells of it.

It is read only where a gateway told of calls: without one, nobody needs to know every call.
"""

from collections.abc import Iterator

import duckdb

from headgate_analytics.node import CALL_KINDS
from headgate_analytics.raw import SCOPE, RawFiles, listed
from headgate_analytics.stitch import Fact
from headgate_analytics.witnessed import BARE_DIALECTS, ID_CHARS_MIN, ToldCall

_NAMES = "tenant, trace_id, service_name, session_key, witness, instance_id, identity_source, received_unix_nano"
_CALL = "gen_ai_response_id, gen_ai_request_model, operation_kind"
_IS_BARE = f"dialect IN ({listed(sorted(BARE_DIALECTS))}) AND parent_span_id IS NULL AND witness = 'client'"
_IS_KNOWN = "identity_source IN ('verified', 'claimed')"


def tells_of_gateways(connection: duckdb.DuckDBPyConnection, files: RawFiles) -> bool:
    """Whether a gateway told of a call in these files."""
    query = f"SELECT 1 FROM {files.relation('spans')} WHERE witness = 'gateway' LIMIT 1"
    return bool(connection.execute(query).fetchall())


def call_facts(connection: duckdb.DuckDBPyConnection, files: RawFiles) -> Iterator[Fact]:
    """One fact for each record of a model call by which it can be found again; the rest of the record is not in it.

    An id of less than `ID_CHARS_MIN` characters proves nothing.
    """
    query = f"""
WITH told AS (
  SELECT {_NAMES}, {_CALL}, start_time_unix_nano AS start_unix_nano,
    coalesce(end_time_unix_nano, start_time_unix_nano) AS until_unix_nano, {_IS_BARE} AS is_bare
  FROM {files.relation("spans")}
  UNION ALL
  SELECT {_NAMES}, {_CALL}, time_unix_nano - coalesce(event_duration_ns, 0), time_unix_nano, false
  FROM {files.relation("log_events")} WHERE trace_id IS NOT NULL OR session_key IS NOT NULL
), named AS (
  SELECT *, CASE WHEN length(gen_ai_response_id) >= {ID_CHARS_MIN} THEN gen_ai_response_id END AS response_id,
    CASE WHEN {_IS_KNOWN} AND (gen_ai_response_id IS NULL OR witness = 'gateway' OR is_bare)
      THEN instance_id || '/' || gen_ai_request_model END AS place
  FROM told WHERE operation_kind IN ({listed(sorted(CALL_KINDS))}) AND witness IN ('client', 'gateway')
)
SELECT DISTINCT tenant, nullif(trace_id, ''), nullif({SCOPE}, ''), nullif(session_key, ''),
  start_unix_nano, until_unix_nano, received_unix_nano, response_id, place, witness = 'gateway',
  is_bare
FROM named WHERE response_id IS NOT NULL OR place IS NOT NULL
"""
    for batch in connection.sql(query).to_arrow_reader(65_536):
        for row in zip(*(batch.column(index).to_pylist() for index in range(batch.num_columns)), strict=True):
            yield Fact(
                tenant=row[0],
                trace_id=row[1],
                service_name=row[2],
                key=row[3],
                instance=None,
                first_unix_nano=row[4],
                last_unix_nano=row[5],
                substantive=False,
                root_calls=0,
                root_others=0,
                received=(row[6], row[6]),
                is_platform=row[9],
                call=ToldCall(response_id=row[7], place=row[8], is_gateway=row[9], is_bare=row[10]),
            )
