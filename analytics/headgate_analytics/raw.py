"""Reading raw rows for the stitching: what they say of traces and keys, aggregated where they lie.

Files are read as the manifest lists them; repeats among them are harmless, because every step is idempotent.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from headgate_analytics.node import CALL_KINDS
from headgate_analytics.served import ToolSpan
from headgate_analytics.stitch import Fact
from headgate_processors.schema import LOG_EVENTS, SPAN_LINKS, SPANS
from headgate_processors.store.relation import SqlTable, parquet

SUBSTANTIVE_KINDS = (
    "llm",
    "embedding",
    "retrieval",
    "tool",
    "agent",
    "workflow",
    "task",
    "handoff",
    "memory",
    "approval",
    "attempt",
)
_ROOT_CALL_KINDS = (*sorted(CALL_KINDS), "tool")
_MCP_TOOL = "operation_kind = 'tool' AND gen_ai_tool_type = 'mcp' AND gen_ai_tool_name IS NOT NULL"
# What a gateway saw counts to the instance whose credential it saw.
_OF_INSTANCE = "CASE WHEN witness <> 'client' AND identity_source = 'verified' THEN 'headgate:' || instance_id END"
SCOPE = f"coalesce({_OF_INSTANCE}, service_name)"
# SDKs that name no instance (JavaScript's) still describe their process; the first process of a container is no name.
_INSTANCE = f"""coalesce(min({_OF_INSTANCE}), min(service_instance_id), min(md5(resource_attributes)) FILTER (
      parent_span_id IS NULL AND regexp_matches(resource_attributes, '"process\\.pid":"?(?:[2-9]|1\\d)')
    ))"""
_DATASETS = {dataset.name: dataset for dataset in (SPANS, LOG_EVENTS, SPAN_LINKS)}
FACT_DATASETS = frozenset(_DATASETS)


@dataclass(frozen=True, slots=True)
class RawFiles:
    """Parquet files by dataset, absolute paths."""

    paths: Mapping[str, Sequence[Path]]

    def scoped(self, name: str) -> str:
        """As `relation`; what Headgate's own parts tell stands under the instance that it is about."""
        return f"(SELECT * REPLACE ({SCOPE} AS service_name) FROM {self.relation(name)})"

    def relation(self, name: str) -> str:
        """A FROM clause over the files of a dataset; an empty typed relation when there are none."""
        listed = self.paths.get(name, ())
        if not listed:
            return f"({SqlTable.of(_DATASETS[name]).nothing})"
        return parquet([str(path) for path in listed], mixed=True)


def listed(values: Iterable[str]) -> str:
    """Words as a list of SQL literals."""
    return ", ".join(f"'{value}'" for value in values)


def facts(connection: duckdb.DuckDBPyConnection, files: RawFiles) -> Iterator[Fact]:
    """What the records in `files` say of traces and keys, aggregated; the facts of one trace come together."""
    query = f"""
WITH span_facts AS (
  SELECT tenant, trace_id, service_name, session_key, {_INSTANCE} AS instance,
    coalesce(min(start_time_unix_nano) FILTER (NOT time_suspect), min(start_time_unix_nano)) AS first_unix_nano,
    max(coalesce(end_time_unix_nano, start_time_unix_nano)) AS last_unix_nano,
    coalesce(bool_or(operation_kind IN ({listed(SUBSTANTIVE_KINDS[:-2])})), false) AS substantive,
    count(*) FILTER (
      parent_span_id IS NULL AND operation_kind IN ({listed(_ROOT_CALL_KINDS)})
    ) AS root_calls,
    count(*) FILTER (
      parent_span_id IS NULL AND (operation_kind IS NULL OR operation_kind NOT IN ({listed(_ROOT_CALL_KINDS)}))
    ) AS root_others,
    NULL AS linked_trace_id, NULL AS tool, false AS served,
    min(received_unix_nano) AS first_received, max(received_unix_nano) AS last_received,
    bool_and(witness <> 'client') AS platform
  FROM {files.scoped("spans")} GROUP BY tenant, trace_id, service_name, session_key
), log_facts AS (
  SELECT tenant, trace_id, service_name, session_key, NULL AS instance,
    coalesce(min(time_unix_nano) FILTER (NOT time_suspect), min(time_unix_nano)) AS first_unix_nano,
    max(time_unix_nano) AS last_unix_nano,
    coalesce(bool_or(operation_kind IN ({listed(SUBSTANTIVE_KINDS)})), false) AS substantive,
    0 AS root_calls, 0 AS root_others, NULL AS linked_trace_id, NULL AS tool, false AS served,
    min(received_unix_nano) AS first_received, max(received_unix_nano) AS last_received,
    bool_and(witness <> 'client') AS platform
  FROM {files.scoped("log_events")}
  WHERE operation_kind IS NOT NULL AND (trace_id IS NOT NULL OR session_key IS NOT NULL)
  GROUP BY tenant, trace_id, service_name, session_key
), link_facts AS (
  SELECT DISTINCT tenant, trace_id, service_name, NULL AS session_key, NULL AS instance,
    {2**63 - 1} AS first_unix_nano, 0 AS last_unix_nano, false AS substantive, 0 AS root_calls, 0 AS root_others,
    linked_trace_id, NULL AS tool, false AS served, NULL AS first_received, NULL AS last_received,
    witness <> 'client' AS platform
  FROM {files.relation("span_links")} WHERE linked_trace_id <> trace_id AND linked_trace_id <> ''
), tool_facts AS (
  SELECT tenant, trace_id, service_name, session_key, NULL AS instance, start_time_unix_nano AS first_unix_nano,
    coalesce(end_time_unix_nano, start_time_unix_nano) AS last_unix_nano, false AS substantive,
    0 AS root_calls, 0 AS root_others, NULL AS linked_trace_id, gen_ai_tool_name AS tool,
    kind = 'SERVER' AND parent_span_id IS NULL AND dialect = 'mcp' AS served,
    received_unix_nano AS first_received, received_unix_nano AS last_received, witness <> 'client' AS platform
  FROM {files.relation("spans")} WHERE {_MCP_TOOL}
), tool_log_facts AS (
  SELECT tenant, trace_id, service_name, session_key, NULL AS instance,
    time_unix_nano - coalesce(event_duration_ns, 0) AS first_unix_nano, time_unix_nano AS last_unix_nano,
    false AS substantive, 0 AS root_calls, 0 AS root_others, NULL AS linked_trace_id, gen_ai_tool_name AS tool,
    false AS served, received_unix_nano AS first_received, received_unix_nano AS last_received,
    witness <> 'client' AS platform
  FROM {files.relation("log_events")}
  WHERE {_MCP_TOOL} AND event_duration_ns IS NOT NULL AND (trace_id IS NOT NULL OR session_key IS NOT NULL)
)
SELECT tenant, nullif(trace_id, ''), nullif(service_name, ''), nullif(session_key, ''), nullif(instance, ''),
  coalesce(first_unix_nano, 0), coalesce(last_unix_nano, 0), substantive, root_calls, root_others,
  linked_trace_id, nullif(tool, ''), served, first_received, last_received, platform
FROM (
  FROM span_facts UNION ALL FROM log_facts UNION ALL FROM link_facts UNION ALL FROM tool_facts
  UNION ALL FROM tool_log_facts
) ORDER BY trace_id
"""
    reader = connection.sql(query).to_arrow_reader(65_536)
    for batch in reader:
        for row in zip(*(batch.column(index).to_pylist() for index in range(batch.num_columns)), strict=True):
            tool = None if row[11] is None else ToolSpan(tool=row[11], served=row[12])
            yield Fact._make((*row[:11], tool, None if row[13] is None else row[13:15], row[15], None))
