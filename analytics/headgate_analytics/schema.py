"""Every derived column, defined once: sessions, their model calls, tool calls and timeline.

Stored times are nanoseconds (`*_unix_nano`); the views add `TIMESTAMPTZ` columns named without that ending.
"""

from collections.abc import Mapping

import pyarrow as pa

from headgate_processors.schema import BOOL, INT, LOW, MONEY, TEXT, TEXTS, Column, Dataset

SHARE = pa.float64()


def _col(name: str, type_: pa.DataType, doc: str, source: str = "", unit: str = "", *, nullable: bool = True) -> Column:
    return Column(name=name, type=type_, doc=doc, source=source, unit=unit, nullable=nullable)


def _must(name: str, type_: pa.DataType, doc: str, source: str = "", unit: str = "") -> Column:
    return _col(name, type_, doc, source, unit, nullable=False)


WHO = (
    _must("tenant", LOW, "Tenant.", "spans, log_events"),
    _must("session_id", TEXT, "Session: hash of tenant, scope and the source's own key.", "sessions", "hex"),
    _col("instance_id", LOW, "Agent instance; a stable synthetic id when unknown.", "registry"),
    _col("parent_instance_id", LOW, "Instance that started this one.", "registry"),
    _col("root_instance_id", LOW, "First instance of the lineage.", "registry"),
    _col(
        "identity_source",
        LOW,
        "`verified`, `claimed`, `matched` or `unknown`: where `instance_id` comes from.",
        "registry",
    ),
    _col("launched_by", LOW, "User or service that launched the instance.", "registry"),
    _col("user_id", LOW, "User.", "claims, registry"),
    _col("team", LOW, "Team.", "claims, registry"),
    _col("workflow", LOW, "Workflow.", "claims, registry"),
    _col("repo", LOW, "Repository.", "claims, registry"),
    _col("resource", LOW, "Resource other than a repository.", "registry"),
    _col("environment", LOW, "Environment.", "registry, deployment.environment.name"),
    _col("task_class", LOW, "Class of task.", "claims, registry"),
    _col("risk_tier", LOW, "Risk tier.", "registry"),
    _col("policy_profile", LOW, "Policy profile.", "registry"),
    _col("manifest_digest", LOW, "Digest of the capability manifest.", "registry"),
    _col("runtime", LOW, "Runtime.", "registry"),
    _col("service_name", LOW, "Service.", "service.name"),
    _col("agent_name", LOW, "Agent, taken from the nearest ancestor that names one.", "gen_ai.agent.name"),
    _col("work_item", LOW, "Issue, else pull request.", "claims"),
    _must("witnesses", TEXTS, "Who saw it.", "witness"),
    _must("revision", INT, "Number of the derivation; the views show the highest.", "headgate"),
)

_PLACE = (
    _col("trace_id", TEXT, "Trace.", "trace_id"),
    _col("span_id", TEXT, "Span.", "span_id"),
    _col("parent_span_id", TEXT, "Parent span.", "parent_span_id"),
    _must("start_time_unix_nano", INT, "Start.", "start_time_unix_nano", "ns"),
    _col("end_time_unix_nano", INT, "End; NULL while it runs.", "end_time_unix_nano", "ns"),
    _col("duration_ns", INT, "Duration; NULL while it runs.", "end − start", "ns"),
    _must("time_suspect", BOOL, "Its time cannot be right.", "spans, log_events"),
)

MODEL_CALLS = Dataset(
    name="model_calls",
    row="logical model call",
    columns=(
        _must("model_call_id", TEXT, "Stable id of the call.", "headgate", "hex"),
        *WHO,
        *_PLACE,
        _must(
            "operation", LOW, "`chat`, `generate_content`, `text_completion`, `embeddings` …", "gen_ai.operation.name"
        ),
        _col(
            "provider",
            LOW,
            "Provider; of a call that a gateway saw, the name of its door, as in `decisions`, `stops` and `budgets`.",
            "gen_ai.provider.name",
        ),
        _col("request_model", LOW, "Model asked for.", "gen_ai.request.model"),
        _col("model", LOW, "Model that answered, else the one asked for.", "gen_ai.response.model"),
        _col("response_id", TEXT, "Response id.", "gen_ai.response.id"),
        _col("service_tier", LOW, "Service tier that the provider answered with.", "openai.response.service_tier"),
        _col("request_id", TEXT, "Request id.", "request-id header"),
        _col("finish_reasons", TEXTS, "Finish reasons in the convention's words.", "gen_ai.response.finish_reasons"),
        _must("status", LOW, "`ok`, `error`, `denied`, `cancelled` or `in_flight`.", "status, error.type"),
        _col("error_type", LOW, "Error type; set unless the call is `ok` or `in_flight`.", "error.type"),
        _col("attempts", INT, "Attempts that the source shows, and gateways saw.", "attempt spans and logs, gateway"),
        _col("failed_attempts", INT, "Of them failed.", "attempt spans and logs"),
        _col("input_tokens", INT, "Input, cache included.", "gen_ai.usage.input_tokens", "token"),
        _col("uncached_input_tokens", INT, "Of it neither read from nor written to a cache.", "derived", "token"),
        _col("cache_read_tokens", INT, "Of it read from a cache.", "gen_ai.usage.cache_read.input_tokens", "token"),
        _col("cache_write_tokens", INT, "Of it written to a cache.", "gen_ai.usage.cache_write.input_tokens", "token"),
        _col("cache_write_1h_tokens", INT, "Of the written, kept for an hour.", "dialect", "token"),
        _col("output_tokens", INT, "Output, reasoning included.", "gen_ai.usage.output_tokens", "token"),
        _col("reasoning_tokens", INT, "Of it reasoning.", "gen_ai.usage.reasoning.output_tokens", "token"),
        _col("usage_source", LOW, "`reported`, `container` or `counted`.", "derived"),
        _col("usage_missing_reason", LOW, "Why there are no tokens: `not_reported`, `failed`, `in_flight`.", "derived"),
        _col("time_to_first_chunk_ns", INT, "Time to the first chunk.", "dialect", "ns"),
        _col("cost_usd", MONEY, "Cost.", "reported, else price table", "USD"),
        _col("cost_basis", LOW, "`reported`, `list`, `override` or `upper_bound`.", "derived"),
        _col("cost_missing_reason", LOW, "Why there is no cost.", "price table"),
        _col("price_version", LOW, "Version of the price table.", "price table"),
        _col("prompt_name", LOW, "Prompt template.", "gen_ai.prompt.name"),
        _col("prompt_version", LOW, "Its version.", "gen_ai.prompt.version"),
        _col("prompt_hash", TEXT, "Keyed hash of the input messages.", "content", "hex"),
        _col("system_hash", TEXT, "Keyed hash of the system prompt.", "content", "hex"),
        _col("tools_hash", TEXT, "Keyed hash of the tool definitions.", "content", "hex"),
        _col("prefix_hash", TEXT, "Keyed hash of tools and system prompt.", "content", "hex"),
        _col("context_source", LOW, "Source with most new bytes.", "content"),
        _col(
            "context_compacted", BOOL, "Whether the context had just been compacted.", "gen_ai.conversation.compacted"
        ),
        _col("memory_refs", TEXTS, "Memory records used.", "gen_ai.memory.record.id"),
        _col("routed_from_model", LOW, "Model asked for before the gateway routed.", "gateway"),
        _col("skipped_models", TEXTS, "Models that a route or a fallback passed over, each with why.", "gateway"),
        _col("response_cache_hit", BOOL, "Whether the gateway answered from its cache.", "gateway"),
        _col("saved_usd", MONEY, "What its route, the cache or a refusal saved; a loss is below 0.", "gateway", "USD"),
        _col("decision_id", TEXT, "Decision that allowed or denied it.", "control"),
        _col(
            "attempt_decision_ids", TEXTS, "Decisions about its other attempts; NULL when there were none.", "control"
        ),
        _col("dialect", LOW, "Dialect of the record that gave the tokens.", "dialect"),
        _must("record_ids", TEXTS, "Every record that tells of this call.", "record_id"),
    ),
)

TOOL_CALLS = Dataset(
    name="tool_calls",
    row="tool call that a model requested or that was seen to run",
    columns=(
        _must("tool_call_id", TEXT, "Stable id of the call.", "headgate", "hex"),
        *(column for column in WHO if column.name != "resource"),
        *_PLACE,
        _col("source_call_id", TEXT, "The source's own id of the call.", "gen_ai.tool.call.id"),
        _col("model_call_id", TEXT, "Model call that requested it.", "model_calls", "hex"),
        _col("tool", LOW, "Tool, without server prefix.", "gen_ai.tool.name"),
        _must("tool_type", LOW, "`function`, `mcp`, `builtin`, `code`, `handoff` or `subagent`.", "dialect"),
        _col("tool_version", LOW, "Tool version.", "gen_ai.tool.version"),
        _col("mcp_server", LOW, "MCP server.", "dialect"),
        _must("state", LOW, "`requested`, `decided`, `running`, `executed` or `cancelled`.", "derived"),
        _must("result_class", LOW, "`ok`, `error`, `denied`, `timeout`, `cancelled`, `empty` or `unknown`.", "derived"),
        _col("error_type", LOW, "Error type.", "error.type"),
        _col("exit_code", INT, "Exit code of a command.", "result"),
        _col("attempts", INT, "Attempts that the source shows.", "attempt spans"),
        _col("arguments", TEXT, "Canonical arguments, redacted; NULL when the source sends none.", "content", "json"),
        _col("arguments_hash", TEXT, "Keyed hash of the canonical arguments.", "content", "hex"),
        _col("result_hash", TEXT, "Keyed hash of the result.", "content", "hex"),
        _col("hash_key_id", LOW, "Key of the hashes.", "headgate"),
        _col("arguments_bytes", INT, "Size of the arguments.", "content", "byte"),
        _col("result_bytes", INT, "Size of the result.", "content", "byte"),
        _col(
            "action", LOW, "What it did: `file_read`, `file_write`, `command`, `network`, `database` …", "actions.yaml"
        ),
        _col("resource", TEXT, "What it touched, redacted.", "actions.yaml"),
        _col("sensitivity", LOW, "`public`, `internal`, `confidential` or `secret`.", "actions.yaml"),
        _col("reversible", BOOL, "Whether it can be undone.", "actions.yaml"),
        _col("side_effects", LOW, "`none`, `local` or `external`.", "actions.yaml"),
        _col("decision_id", TEXT, "Decision.", "control"),
        _col("decision", LOW, "The decision's effect.", "dialect, control"),
        _col("decision_source", LOW, "Who decided.", "dialect, control"),
        _col("approval_id", TEXT, "Approval.", "control"),
        _col("dialect", LOW, "Dialect of the record that tells most.", "dialect"),
        _must("record_ids", TEXTS, "Every record that tells of this call.", "record_id"),
    ),
)

SESSIONS = Dataset(
    name="sessions",
    row="session",
    columns=(
        *WHO,
        _must("session_source", LOW, "Which rule gave the key: `attribute`, `trace` or `guess`.", "stitching"),
        _must("source_key", TEXT, "The source's own key.", "session_key"),
        _col("task", TEXT, "What the user asked first, redacted, at most 500 characters.", "content"),
        _must("state", LOW, "`running`, `stopped`, `done` or `abandoned`.", "derived, decisions, stops"),
        _must("state_reason", TEXT, "Why that state.", "derived"),
        _must("start_time_unix_nano", INT, "First thing that happened.", "records", "ns"),
        _col("end_time_unix_nano", INT, "End; NULL while it runs.", "records", "ns"),
        _must("last_activity_time_unix_nano", INT, "Last thing that happened.", "records", "ns"),
        _must("duration_ns", INT, "From start to the last activity.", "derived", "ns"),
        _must("time_suspect", BOOL, "None of its times can be right; it never moves the watermark.", "records"),
        _must("root_ended", BOOL, "Whether a root of the session ended.", "records"),
        _must("trace_count", INT, "Traces.", "records"),
        _must("agent_names", TEXTS, "Agents seen.", "gen_ai.agent.name"),
        _must("models", TEXTS, "Models that answered.", "model_calls"),
        _must("tools", TEXTS, "Tools called.", "tool_calls"),
        _must("dialects", TEXTS, "Dialects seen.", "dialect"),
        _col(
            "model_call_count",
            INT,
            "Model calls; NULL when an agent ran and no model call was reported.",
            "model_calls",
        ),
        _must("tool_call_count", INT, "Tool calls.", "tool_calls"),
        _must("tool_error_count", INT, "Of them failed.", "tool_calls"),
        _must("retry_count", INT, "Failed attempts of model calls.", "model_calls"),
        _must("handoff_count", INT, "Hand-offs.", "tool_calls"),
        _must("intervention_count", INT, "Decisions that a person took.", "tool_calls"),
        _must("denied_count", INT, "Calls that were denied.", "model_calls, tool_calls, decisions"),
        _col("input_tokens", INT, "Input, cache included; NULL when nothing was reported.", "model_calls", "token"),
        _col("uncached_input_tokens", INT, "Of it outside the cache.", "model_calls", "token"),
        _col("cache_read_tokens", INT, "Of it read from a cache.", "model_calls", "token"),
        _col("cache_write_tokens", INT, "Of it written to a cache.", "model_calls", "token"),
        _col("cache_write_1h_tokens", INT, "Of the written, kept for an hour.", "model_calls", "token"),
        _col("output_tokens", INT, "Output, reasoning included.", "model_calls", "token"),
        _col("reasoning_tokens", INT, "Of it reasoning.", "model_calls", "token"),
        _col("usage_source", LOW, "`reported`, or `container` when only a total was.", "derived"),
        _col("cost_usd", MONEY, "Sum of the priced calls; NULL when none is priced.", "model_calls", "USD"),
        _col("cost_priced_share", SHARE, "Share of the calls with usage that are priced, 0 to 1.", "model_calls"),
        _col("memory_strategy", LOW, "Memory strategy.", "memory"),
        _col("outcome", LOW, "Outcome.", "outcomes"),
        _col("success", BOOL, "Whether it succeeded.", "outcomes"),
        _col("value", pa.float64(), "Value of the outcome.", "outcomes"),
        _col("outcome_source", LOW, "Where the outcome comes from.", "outcomes"),
        _col("outcome_confidence", pa.float64(), "Confidence of the outcome, 0 to 1.", "outcomes"),
        _col("finding_count", INT, "Findings.", "findings"),
    ),
)

TIMELINE = Dataset(
    name="timeline",
    row="thing that happened",
    columns=(
        *WHO,
        _must("seq", INT, "Position in the session, from 1.", "derived"),
        _must("unix_nano", INT, "When.", "records", "ns"),
        _must(
            "kind",
            LOW,
            "`task`, `model_call`, `tool_call`, `file_read`, `command`, `handoff`, `retry`, `error` …",
            "derived",
        ),
        _must("title", TEXT, "One line for people.", "derived"),
        _col("status", LOW, "Status or result class.", "derived"),
        _col("duration_ns", INT, "Duration.", "derived", "ns"),
        _col("cost_usd", MONEY, "Cost of this row.", "model_calls", "USD"),
        _col("cost_so_far_usd", MONEY, "Cost of the session up to here.", "model_calls", "USD"),
        _col("actor", LOW, "Agent, or `user`.", "agent_name"),
        _must("depth", INT, "Nesting of agents, 0 at the top.", "derived"),
        _col("parent_seq", INT, "Row that this one belongs to.", "derived"),
        _col("ref_view", LOW, "View with the whole of it.", "derived"),
        _col("ref_id", TEXT, "Its id there.", "derived"),
        _must("witness", LOW, "Who saw it.", "witness"),
    ),
)

USAGE_RECORDS = Dataset(
    name="usage_records",
    row="record that reports tokens or is a model call",
    columns=(
        *WHO,
        _must("record_id", TEXT, "Record in `spans` or `log_events`.", "record_id"),
        _must("unix_nano", INT, "Start of the record.", "records", "ns"),
        _must(
            "usage_role",
            LOW,
            "`leaf` counts; `suppressed` and `mirror` tell of a leaf again; `container` sums; `missing` has no tokens.",
            "derived",
        ),
        _col("model_call_id", TEXT, "Model call that the record tells of.", "model_calls", "hex"),
        _col(
            "input_tokens", INT, "Input as the record reports it, cache included.", "gen_ai.usage.input_tokens", "token"
        ),
        _col("output_tokens", INT, "Output as the record reports it.", "gen_ai.usage.output_tokens", "token"),
        _col("dialect", LOW, "Dialect of the record.", "dialect"),
    ),
)

DERIVED: Mapping[str, Dataset] = {
    dataset.name: dataset for dataset in (SESSIONS, MODEL_CALLS, TOOL_CALLS, TIMELINE, USAGE_RECORDS)
}
