"""From the wire batch of a request to the rows of the datasets: dialect, content apart, identity on every row."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from headgate_processors.dialects.belief import Believed, believe, without_ours
from headgate_processors.dialects.columns import batch_of, concatenated, mapped, values_of
from headgate_processors.dialects.content import ContentIndex, ContentReader
from headgate_processors.dialects.meaning import Meaning, read_planned
from headgate_processors.dialects.plan import Plan
from headgate_processors.dialects.record import Record
from headgate_processors.dialects.records import content_hash, ordinals, span_record_id, suspects
from headgate_processors.dialects.rows import (
    Event,
    Link,
    Origins,
    Piece,
    Sink,
    attached_batch,
    content_batch,
    loads,
    text_of,
    who_columns,
)
from headgate_processors.dialects.table import DialectBook
from headgate_processors.enrich.identity import Registry
from headgate_processors.enrich.redact import Redactor
from headgate_processors.otlp.port import Signal
from headgate_processors.receiver.port import Sender
from headgate_processors.schema import (
    LOG_EVENTS,
    METRIC_POINTS,
    SPAN_EVENTS,
    SPAN_LINKS,
    SPANS,
    Dataset,
)

Batches = dict[str, pa.RecordBatch]

_NOTHING: Mapping[str, object] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """How a request came: when, and from whom."""

    received_unix_nano: int
    sender: Sender


@dataclass(frozen=True, slots=True, kw_only=True)
class WireRequest:
    """One decoded request: its batch follows `WIRE[signal]` of `headgate_processors.schema`.

    `blocks`: how many rows each of its `Scope*` messages has; empty when all are one block.
    """

    signal: Signal
    wire: pa.RecordBatch
    arrival: Arrival
    blocks: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Normaliser:
    """Applies dialects, redaction and identity to wire batches; pure but for its bounded caches."""

    book: DialectBook
    index: ContentIndex
    reader: ContentReader
    secrets: Redactor
    registry: Registry

    def __call__(self, signal: Signal, wire: pa.RecordBatch, arrival: Arrival) -> Batches:
        """The rows of every dataset that `wire` fills; empty datasets are left out."""
        return self.together([WireRequest(signal=signal, wire=wire, arrival=arrival)])

    def together(
        self, requests: Sequence[WireRequest], *, forged: Callable[[Signal, int], None] | None = None
    ) -> Batches:
        """The rows of several requests, what each alone would give, in one batch for each dataset.

        Building a batch costs as much for one row as for hundreds, so small requests are best taken together.
        The rows of one signal and sender stand in the order of the requests. `forged` is told how many values of
        a signal's rows lost what their sender may not say, when some did.
        """
        parts: dict[tuple[Signal, Sender], list[WireRequest]] = {}
        for request in requests:
            parts.setdefault((request.signal, request.arrival.sender), []).append(request)
        filled: dict[str, list[pa.RecordBatch]] = {}
        for (signal, sender), own in parts.items():
            believed = believe(concatenated([request.wire for request in own]), sender)
            if believed.forged and forged is not None:
                forged(signal, believed.forged)
            for name, batch in self._part(signal, believed, own).items():
                if batch.num_rows:
                    filled.setdefault(name, []).append(batch)
        return {name: concatenated(batches) for name, batches in filled.items()}

    def _part(self, signal: Signal, believed: Believed, requests: Sequence[WireRequest]) -> Batches:
        build: Callable[[pa.RecordBatch, Sink], Batches] = {
            Signal.TRACES: self._traces,
            Signal.LOGS: self._logs,
            Signal.METRICS: self._metrics,
        }[signal]
        counts = [request.wire.num_rows for request in requests]
        received = [
            request.arrival.received_unix_nano
            for request, count in zip(requests, counts, strict=True)
            for _ in range(count)
        ]
        blocks = [rows for request in requests for rows in request.blocks or (request.wire.num_rows,)]
        return build(believed.wire, Sink(believed, received, blocks))

    def _without_secrets(self, wire: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with secrets taken out of what names a record and its sender, personal data out of messages."""
        for name, redactor in (
            ("name", self.secrets),
            ("status_message", self.reader.redactor),
            ("resource_attributes", self.secrets),
            ("scope_attributes", self.secrets),
        ):
            place = wire.schema.get_field_index(name)
            if place >= 0:
                clean = mapped(wire.column(place), redactor.clean)
                wire = wire.set_column(place, wire.schema.field(place), clean)
        return wire

    def _traces(self, wire: pa.RecordBatch, sink: Sink) -> Batches:
        wire = self._without_secrets(wire)
        origins = Origins(wire)
        columns = {
            name: values_of(wire.column(name))
            for name in (
                "trace_id",
                "span_id",
                "name",
                "status_code",
                "start_time_unix_nano",
                "attributes",
                "events",
                "links",
                "scope_name",
            )
        }
        for row in range(wire.num_rows):
            record = Record(
                attributes=loads(columns["attributes"][row]),
                resource=origins.resource(row),
                scope=columns["scope_name"][row] or "",
                name=columns["name"][row],
                events=_loads_list(columns["events"][row]),
                status=columns["status_code"][row],
            )
            self._row(row, record, columns["attributes"][row], sink)
            self._span_events(row, record, sink)
            self._span_links(row, columns["links"][row], sink)
        ids = list(map(span_record_id, columns["trace_id"], columns["span_id"]))
        spans = self._batch(
            SPANS,
            wire,
            origins,
            sink,
            record_id=pa.array(ids, pa.string()),
            attributes=self._attributes(sink),
        )
        batches = {"spans": spans, "content": content_batch(sink.content, spans, self.reader)}
        if sink.events:
            batches["span_events"] = attached_batch(SPAN_EVENTS, sink.events, spans)
        if sink.links:
            batches["span_links"] = attached_batch(SPAN_LINKS, sink.links, spans)
        return batches

    def _logs(self, wire: pa.RecordBatch, sink: Sink) -> Batches:
        origins = Origins(wire)
        columns = {
            name: values_of(wire.column(name))
            for name in (
                "trace_id",
                "span_id",
                "event_name",
                "severity_text",
                "time_unix_nano",
                "attributes",
                "body",
                "scope_name",
            )
        }
        hashes = [
            content_hash(
                "logs",
                columns["time_unix_nano"][row],
                columns["attributes"][row],
                columns["body"][row],
                columns["trace_id"][row],
                columns["span_id"][row],
                columns["event_name"][row],
                columns["scope_name"][row],
                origins.text(row),
            )
            for row in range(wire.num_rows)
        ]
        ids = ordinals(hashes, sink.blocks)
        bodies: list[str | None] = []
        names: list[str | None] = []
        for row in range(wire.num_rows):
            attributes = loads(columns["attributes"][row])
            # Rust's tracing puts the source line into the event name and the name into the attribute.
            names.append(text_of(attributes.get("event.name")) or columns["event_name"][row])
            record = Record(
                attributes=attributes,
                resource=origins.resource(row),
                scope=columns["scope_name"][row] or "",
                event=names[row] or "",
                body=_loads_any(columns["body"][row]),
                status="ERROR" if columns["severity_text"][row] in {"ERROR", "FATAL"} else "UNSET",
                is_log=True,
            )
            self._row(row, record, columns["attributes"][row], sink)
            bodies.append(self._body(row, record, sink))
        events = self._batch(
            LOG_EVENTS,
            self._without_secrets(wire),
            origins,
            sink,
            record_id=pa.array(ids, pa.string()),
            attributes=self._attributes(sink),
            body=pa.array(bodies, pa.string()),
            event_name=pa.array(names, pa.string()),
        )
        return {"log_events": events, "content": content_batch(sink.content, events, self.reader)}

    def _metrics(self, wire: pa.RecordBatch, sink: Sink) -> Batches:
        origins = Origins(wire)
        columns = {
            name: values_of(wire.column(name))
            for name in (
                "name",
                "time_unix_nano",
                "start_time_unix_nano",
                "attributes",
                "value",
                "count",
                "sum",
                "buckets",
                "scope_name",
            )
        }
        hashes = [
            content_hash("metrics", *(values[row] for values in columns.values()), origins.text(row))
            for row in range(wire.num_rows)
        ]
        ids = ordinals(hashes, sink.blocks)
        for row in range(wire.num_rows):
            record = Record(attributes=_NOTHING, resource=origins.resource(row), scope=columns["scope_name"][row] or "")
            plan = self.book.plan(record)
            sink.meanings.append(_dialect_of(plan))
            principal = sink.believed.principals[row]
            sink.identities.append(self.registry.resolve(record.resource, agent_name=None, subject=principal))
        points = self._batch(
            METRIC_POINTS,
            self._without_secrets(wire),
            origins,
            sink,
            record_id=pa.array(ids, pa.string()),
            attributes=mapped(wire.column("attributes"), self.secrets.clean),
            exemplars=mapped(wire.column("exemplars"), self._exemplars),
        )
        return {"metric_points": points}

    def _row(self, row: int, record: Record, text: str, sink: Sink) -> None:
        """One record; `text` is its attributes as JSON."""
        plan = self.book.plan(record)
        found: Meaning = {}
        if plan is not None:
            found = read_planned(record, plan)
            for attribute, name, value in self.reader.enrich(found, plan.dialect):
                sink.content.append(Piece(row, attribute, name, value))
            if (
                "arguments_hash" in found
                or "result_hash" in found
                or "prompt_hash" in found
                or "system_hash" in found
                or "tools_hash" in found
                or "requested_tools" in found
            ):
                found["hash_key_id"] = self.reader.key.key_id
        kept, content = self.index.split(record.attributes)
        for key, name, value in content:
            sink.content.append(Piece(row, key, name, value))
        sink.attributes.append(orjson.dumps(kept).decode() if len(kept) < len(record.attributes) else text)
        error = found.get("error_type")
        if isinstance(error, str):
            # Some dialects have nothing but the message, and messages of failed log-ins hold keys.
            found["error_type"] = self.reader.redactor.clean(error)
        sink.meanings.append(found)
        agent = found.get("gen_ai_agent_name")
        sink.identities.append(
            self.registry.resolve(
                record.resource,
                agent_name=agent if isinstance(agent, str) else None,
                subject=sink.believed.principals[row],
            )
        )

    def _attributes(self, sink: Sink) -> pa.Array:
        """The attributes of all rows without secrets, and without personal data where no dialect knows them.

        All in one go: the automaton of the rules is large, and only stays in the processor's cache that way.
        """
        texts = [
            (self.secrets if meaning else self.reader.redactor).clean(text)
            for text, meaning in zip(sink.attributes, sink.meanings, strict=True)
        ]
        return pa.array(texts, pa.string())

    def _span_events(self, row: int, record: Record, sink: Sink) -> None:
        for ordinal, event in enumerate(record.events):
            attributes = event.get("attributes")
            kept, content = self.index.split(attributes if isinstance(attributes, dict) else _NOTHING)
            for key, name, value in content:
                sink.content.append(Piece(row, f"{event.get('name')}:{key}", name, value))
            clean = self.reader.redactor.clean(orjson.dumps(kept).decode())
            sink.events.append(Event(row, ordinal, event.get("name") or "", event.get("time_unix_nano") or 0, clean))

    def _span_links(self, row: int, text: str | None, sink: Sink) -> None:
        for ordinal, link in enumerate(_loads_list(text)):
            sink.links.append(
                Link(
                    row,
                    ordinal,
                    linked_trace_id=link.get("trace_id") or "",
                    linked_span_id=link.get("span_id") or "",
                    trace_state=link.get("trace_state"),
                    attributes=self.reader.redactor.clean(orjson.dumps(without_ours(link.get("attributes"))).decode()),
                )
            )

    def _exemplars(self, text: str) -> str:
        exemplars = orjson.loads(text)
        for exemplar in exemplars:
            exemplar["attributes"] = without_ours(exemplar.get("attributes"))
        return self.reader.redactor.clean(orjson.dumps(exemplars).decode())

    def _body(self, row: int, record: Record, sink: Sink) -> str | None:
        """The body of a log, redacted; a message body is content and leaves the row."""
        if record.body is None:
            return None
        if isinstance(record.body, dict) or record.event.startswith("gen_ai."):
            sink.content.append(Piece(row, "body", "other", record.body))
            return None
        return self.reader.redactor.clean(orjson.dumps(record.body).decode())

    def _batch(
        self, dataset: Dataset, wire: pa.RecordBatch, origins: Origins, sink: Sink, **own: pa.Array
    ) -> pa.RecordBatch:
        """The rows of a dataset; `own` are columns that its signal has otherwise than the wire, or besides."""
        columns: dict[str, pa.Array] = {name: wire.column(name) for name in wire.schema.names if name in dataset}
        columns |= own
        columns["witness"] = sink.believed.witness
        columns["received_unix_nano"] = pa.array(sink.received, pa.int64())
        at = "start_time_unix_nano" if dataset is SPANS else "time_unix_nano"
        columns["time_suspect"] = suspects(wire.column(at).to_pylist(), sink.received)
        columns |= origins.service_columns()
        columns |= who_columns(sink.identities)
        return batch_of(dataset, columns, sink.meanings)


def _dialect_of(plan: Plan | None) -> dict[str, object]:
    return {} if plan is None else {"dialect": plan.dialect.name, "dialect_version": plan.dialect.version}


def _loads_list(text: str | None) -> Sequence[Mapping[str, Any]]:
    parsed: Sequence[Mapping[str, Any]] = orjson.loads(text) if text else ()
    return parsed


def _loads_any(text: str | None) -> object:
    return orjson.loads(text) if text else None
