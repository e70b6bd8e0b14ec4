"""The examination: each check looks at one thing and says what it found."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from headgate_console.doctor.finding import Finding, Level
from headgate_console.queries import health
from headgate_console.queries.cost import CostFilter, total_cost, unpriced
from headgate_console.queries.rows import Row
from headgate_console.render.money import REASONS
from headgate_console.render.numbers import UNKNOWN, ago, plural, tokens

if TYPE_CHECKING:
    import duckdb

LISTED_MAX = 5
QUIET_AFTER = timedelta(hours=24)


def examine(connection: "duckdb.DuckDBPyConnection", *, now: datetime) -> list[Finding]:
    """Every check of the views, in the order in which one would mend what they find."""
    return [
        *_received(connection, now),
        *_dialects(connection),
        *_unknown_agents(connection),
        *_usage(connection),
        *_prices(connection),
        *_identity(connection),
        *_times(connection),
    ]


def _received(connection: "duckdb.DuckDBPyConnection", now: datetime) -> Iterator[Finding]:
    rows = health.received(connection)
    times = [row["last_received_unix_nano"] for row in rows if row["last_received_unix_nano"] is not None]
    if not times:
        yield Finding(
            topic="received",
            level=Level.WARNING,
            text="Nothing was received yet.",
            next_step="Start `headgate up` and set OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 for an agent,"
            " or: headgate replay FILE",
        )
        return
    last = datetime.fromtimestamp(max(times) / 1e9, UTC)
    held = ", ".join(f"{row['rows']:,} {row['dataset'].replace('_', ' ')}" for row in rows if row["rows"])
    quiet = now - last > QUIET_AFTER
    yield Finding(
        topic="received",
        level=Level.NOTE if quiet else Level.OK,
        text=f"{held}; the last one came {ago(last, now)}.",
        next_step="If agents are at work, see whether they send here: OTEL_EXPORTER_OTLP_ENDPOINT." if quiet else "",
        rows=tuple(rows),
    )


def _dialects(connection: "duckdb.DuckDBPyConnection") -> Iterator[Finding]:
    rows = health.dialects_seen(connection)
    if rows:
        yield Finding(
            topic="agents",
            level=Level.OK,
            text=f"{plural(len(rows), 'dialect')} understood.",
            details=tuple(
                f"{row['dialect']}: {plural(row['spans'], 'span')}, {plural(row['logs'], 'log event')}"
                f" from {_few(row['services'])}"
                for row in rows
            ),
            rows=tuple(rows),
        )


def _unknown_agents(connection: "duckdb.DuckDBPyConnection") -> Iterator[Finding]:
    rows = health.unknown_agents(connection)
    if rows:
        yield Finding(
            topic="unknown agents",
            level=Level.WARNING,
            text=f"{plural(sum(row['records'] for row in rows), 'record')} that no dialect reads:"
            " kept whole, in no session's count.",
            next_step="If it is an agent, add a dialect: one YAML file, see docs/guides/add-a-dialect.md.",
            details=tuple(map(_unknown_agent, rows[:LISTED_MAX])),
            rows=tuple(rows),
        )


def _unknown_agent(row: Row) -> str:
    keys = f"; attributes {_few(row['attribute_keys'])}" if row["attribute_keys"] else ""
    return (
        f"{row['service_name'] or '(no service)'}, scope {row['scope_name'] or '(none)'}:"
        f" {plural(row['records'], 'record')} named {_few(row['names'])}{keys}"
    )


def _usage(connection: "duckdb.DuckDBPyConnection") -> Iterator[Finding]:
    rows = health.without_usage(connection)
    if rows:
        yield Finding(
            topic="usage",
            level=Level.NOTE,
            text=f"{plural(sum(row['sessions'] for row in rows), 'session')} reported no tokens:"
            " unknown (NULL), never counted as zero.",
            next_step="Turn on usage in the agent's instrumentation; a model gateway would see it anyway.",
            details=tuple(
                f"{row['service_name'] or '(no service)'} ({_few(row['dialects'])}):"
                f" {plural(row['sessions'], 'session')}"
                for row in rows[:LISTED_MAX]
            ),
            rows=tuple(rows),
        )


def _prices(connection: "duckdb.DuckDBPyConnection") -> Iterator[Finding]:
    everything = CostFilter()
    without = unpriced(connection, everything)
    rows = [row for row in without if row["input_tokens"] or row["output_tokens"]]
    if rows:
        yield Finding(
            topic="prices",
            level=Level.WARNING,
            text=f"{plural(sum(row['model_calls'] for row in rows), 'call')} with tokens but without a cost.",
            next_step="Give their prices in a file that prices.overrides names, then: headgate derive --full",
            details=tuple(
                f"{row['model'] or UNKNOWN} of {row['provider'] or 'an unknown provider'}:"
                f" {tokens((row['input_tokens'] or 0) + (row['output_tokens'] or 0))} tokens,"
                f" {REASONS.get(row['reason'], row['reason'])}"
                for row in rows[:LISTED_MAX]
            ),
            rows=tuple(rows),
        )
    elif not without and total_cost(connection, everything)["model_calls"]:
        yield Finding(topic="prices", level=Level.OK, text="Every call is priced.")


def _identity(connection: "duckdb.DuckDBPyConnection") -> Iterator[Finding]:
    rows = health.identities(connection)
    total = sum(row["sessions"] for row in rows)
    if not total:
        return
    unknown = sum(row["sessions"] for row in rows if row["identity_source"] == "unknown")
    teamless = total - sum(row["with_team"] for row in rows)
    yield Finding(
        topic="identity",
        level=Level.NOTE if unknown else Level.OK,
        text=", ".join(f"{row['sessions']} {row['identity_source']}" for row in rows) + f" of {total} sessions.",
        next_step="Say who they are: docs/guides/identify-agents.md shows the registry and the attributes."
        if unknown
        else "",
        details=(f"{plural(teamless, 'session')} without a team",) if teamless else (),
        rows=tuple(rows),
    )


def _times(connection: "duckdb.DuckDBPyConnection") -> Iterator[Finding]:
    rows = health.suspect_times(connection)
    if rows:
        yield Finding(
            topic="clocks",
            level=Level.WARNING,
            text=f"{plural(sum(row['records'] for row in rows), 'record')} with a time that cannot be right"
            " (missing, or more than a day off): kept, but they move no watermark.",
            next_step="Set the clock of the machines that send them.",
            details=tuple(
                f"{row['service_name'] or '(no service)'}: {plural(row['records'], 'record')}"
                for row in rows[:LISTED_MAX]
            ),
            rows=tuple(rows),
        )


def _few(values: Sequence[str | None] | None) -> str:
    named = [value for value in values or () if value]
    more = f" and {len(named) - LISTED_MAX} more" if len(named) > LISTED_MAX else ""
    return (", ".join(named[:LISTED_MAX]) or "(none)") + more
