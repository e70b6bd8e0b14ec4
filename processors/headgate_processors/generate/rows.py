"""A load as rows of the store: each recorded session is normalised once, and its rows are made anew.

What a receiver would do for every request, decoding, dialects, redaction, hashing, is done once for each
recorded session here; the store's own commit, repeats, sealing and compaction do all their work. Ids, keys,
times, words, claims and hashes of every made row differ as they do over the wire; hashes are random, so they
are those of no text.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headgate_processors.dialects.normalise import Arrival, Batches, Normaliser
from headgate_processors.generate.plan import Flags, Plan, Planned
from headgate_processors.generate.randomness import Bytes
from headgate_processors.generate.recorded import RecordedSession
from headgate_processors.generate.slots import Found, Layout, Places, Slots, filled
from headgate_processors.generate.template import scanned
from headgate_processors.otlp import decode
from headgate_processors.receiver.port import CLIENT
from headgate_processors.schema import DATASETS

Numbers = npt.NDArray[np.int64]
_OWNERS = ("spans", "log_events")
_TIME = "_unix_nano"
_SPAN_RECORD_DIGITS = 48
_RECEIVED = "received_unix_nano"
SLICE_SPANS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Texts:
    """The values of a column or of its dictionary, one behind the other, with the slots in them."""

    values: Bytes
    offsets: Numbers
    places: Places
    is_dictionary: bool

    def copies(self, pools: Bytes) -> pa.Array:
        """The values, once for each pool."""
        count, size = len(pools), len(self.values)
        starts = (self.offsets[:-1] + (np.arange(count) * size)[:, np.newaxis]).reshape(-1)
        offsets = np.append(starts, count * size).astype(np.int32)
        data = filled(self.values, self.places, pools)
        return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The rows of one dataset of one recorded session; `owners` numbers the record that each hangs on."""

    batch: pa.RecordBatch
    texts: Mapping[str, _Texts]
    times: Mapping[str, Numbers]
    owners: Numbers
    due_ns: Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTemplate:
    """A recorded session as rows."""

    layout: Layout
    datasets: Mapping[str, _Rows]


def row_template(session: RecordedSession, normaliser: Normaliser) -> RowTemplate:
    """The rows of a recorded session, with their slots found."""
    slots, _ = scanned(session)
    parts, due_ns, positions = _normalised(session, normaliser)
    batches = {name: _one(batches) for name, batches in parts.items()}
    found = {name: _found_in(batch, slots) for name, batch in batches.items()}
    layout = slots.settle()
    datasets = {}
    for name, batch in batches.items():
        datasets[name] = _Rows(
            batch=batch,
            texts={
                column: _texts(batch.column(column), values, one, layout)
                for column, (values, one) in found[name].items()
            },
            times=_times(batch, session.start_unix_nano),
            owners=np.array([positions[_owner(text)] for text in batch.column("record_id").to_pylist()], np.int64),
            due_ns=np.array(due_ns[name], np.int64),
        )
    return RowTemplate(layout=layout, datasets=datasets)


def row_batches(
    plan: Plan, templates: Mapping[str, RowTemplate], clock: Callable[[int], int], *, slice_spans: int = SLICE_SPANS
) -> Iterator[tuple[int, Batches]]:
    """The rows of a plan, a few seconds of it at a time, with the number of sessions that begin in them.

    What is late comes with the rows of its time, what is doubled with the rows after its own.
    """
    later: list[tuple[int, Batches]] = []
    for planned in _slices(plan, slice_spans):
        now_ns = planned[-1].start_ns
        made = list(_made(planned, templates, plan.config.seed, clock))
        due = [batches for due_ns, batches in later if due_ns <= now_ns]
        later = [(due_ns, batches) for due_ns, batches in later if due_ns > now_ns]
        later += [(now_ns + after_ns, batches) for after_ns, batches in made if after_ns]
        yield len(planned), _together([*due, *(batches for after_ns, batches in made if not after_ns)])
    if later:
        yield 0, _together([batches for _, batches in later])


def _slices(plan: Plan, spans: int) -> Iterator[list[Planned]]:
    held: list[Planned] = []
    size = 0
    for planned in plan:
        held.append(planned)
        size += planned.template.spans
        if size >= spans:
            yield held
            held, size = [], 0
    if held:
        yield held


def _made(
    planned: Iterable[Planned], templates: Mapping[str, RowTemplate], seed: int, clock: Callable[[int], int]
) -> Iterator[tuple[int, Batches]]:
    """The rows of sessions, those of one shape together, and how long after the others they come."""
    by_name: dict[str, list[Planned]] = {}
    for one in planned:
        by_name.setdefault(one.template.session.name, []).append(one)
    for name, sessions in by_name.items():
        template = templates[name]
        pools = np.stack([template.layout.pool(seed, one.number, one.claims) for one in sessions])
        starts = np.array([clock(one.start_ns) for one in sessions], np.int64)
        skews = np.array([one.skew_ns for one in sessions], np.int64)
        copies = {name: _copied(rows, pools, starts, skews) for name, rows in template.datasets.items()}
        if all(one.faults is None for one in sessions):
            yield 0, copies
        else:
            yield from _with_faults(copies, template, sessions)


def _with_faults(
    copies: Mapping[str, pa.RecordBatch], template: RowTemplate, sessions: Sequence[Planned]
) -> Iterator[tuple[int, Batches]]:
    records = sessions[0].template.records
    missing, doubled = np.zeros((2, len(sessions), records), np.bool_)
    late_ns = np.zeros((len(sessions), records), np.int64)
    for row, one in enumerate(sessions):
        if one.faults is not None:
            missing[row], doubled[row], late_ns[row] = one.faults.missing, one.faults.doubled, one.faults.late_ns
    yield 0, _chosen(copies, template, ~missing & (late_ns == 0))
    if late_ns.any():
        yield int(late_ns.max()), _chosen(copies, template, late_ns > 0)
    if doubled.any():
        yield sessions[0].template.duration_ns + int(late_ns.max()) + 1, _chosen(copies, template, doubled)


def _chosen(copies: Mapping[str, pa.RecordBatch], template: RowTemplate, records: Flags) -> Batches:
    """The rows of some records of each session."""
    masks = {name: records[:, template.datasets[name].owners].reshape(-1) for name in copies}
    return {name: batch.filter(pa.array(masks[name])) for name, batch in copies.items()}


def _copied(rows: _Rows, pools: Bytes, starts: Numbers, skews: Numbers) -> pa.RecordBatch:
    count, length = len(pools), rows.batch.num_rows
    repeated = rows.batch.take(pa.array(np.tile(np.arange(length), count)))
    columns = {name: repeated.column(name) for name in repeated.schema.names}
    for name, texts in rows.texts.items():
        columns[name] = _with_texts(rows.batch.column(name), columns[name], texts, pools)
    for name, times in rows.times.items():
        begun = starts if name == _RECEIVED else starts + skews
        values = rows.due_ns if name == _RECEIVED else times
        moved = (values + begun[:, np.newaxis]).reshape(-1)
        columns[name] = pa.array(moved, pa.int64(), mask=columns[name].is_null().to_numpy(zero_copy_only=False))
    return pa.RecordBatch.from_arrays([columns[name] for name in repeated.schema.names], schema=repeated.schema)


def _with_texts(column: pa.Array, repeated: pa.Array, texts: _Texts, pools: Bytes) -> pa.Array:
    copies = texts.copies(pools)
    if not texts.is_dictionary:
        # A NULL row has no bytes, so values stand row by row, and only the marks of NULL are to be added.
        return copies if not column.null_count else _nulled(copies, repeated)
    size, length = len(column.dictionary), len(column)
    shift = pa.array(np.repeat(np.arange(len(pools)) * size, length), pa.int32())
    return pa.DictionaryArray.from_arrays(pa.compute.add(repeated.indices, shift), copies)


def _nulled(values: pa.Array, like: pa.Array) -> pa.Array:
    marks = np.packbits(like.is_valid().to_numpy(zero_copy_only=False), bitorder="little")
    _, offsets, content = values.buffers()
    return pa.StringArray.from_buffers(len(values), offsets, content, pa.py_buffer(marks), like.null_count)


def _normalised(
    session: RecordedSession, normaliser: Normaliser
) -> tuple[dict[str, list[pa.RecordBatch]], dict[str, list[int]], dict[str, int]]:
    """The rows of every request, when each arrived, and the number of each record among those of its session."""
    parts: dict[str, list[pa.RecordBatch]] = {}
    due_ns: dict[str, list[int]] = {}
    numbers: dict[str, int] = {}
    for request in session.requests:
        wire = decode(request.body, signal=request.signal, encoding="protobuf").batch
        arrival = Arrival(received_unix_nano=session.start_unix_nano + request.due_ns, sender=CLIENT)
        for name, batch in normaliser(request.signal, wire, arrival).items():
            parts.setdefault(name, []).append(batch)
            due_ns.setdefault(name, []).extend([request.due_ns] * batch.num_rows)
            if name in _OWNERS:
                numbers |= {text: len(numbers) + row for row, text in enumerate(batch.column("record_id").to_pylist())}
    return parts, due_ns, numbers


def _one(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()[0]


def _together(parts: Sequence[Batches]) -> Batches:
    return {
        name: _one(batches)
        for name in DATASETS
        if (batches := [part[name] for part in parts if name in part and part[name].num_rows])
    }


def _owner(record_id: str) -> str:
    """The record that a row hangs on: events and links of a span have its id with their number behind."""
    first, _, rest = record_id.partition("-")
    return first if len(first) == _SPAN_RECORD_DIGITS else f"{first}-{rest.partition('-')[0]}"


def _found_in(batch: pa.RecordBatch, slots: Slots) -> dict[str, tuple[pa.Array, Found]]:
    """The text columns in which there are slots: their values, or those of their dictionary."""
    columns = {}
    for name in batch.schema.names:
        column = batch.column(name)
        values = column.dictionary if pa.types.is_dictionary(column.type) else column
        if pa.types.is_string(values.type):
            found, at = Found(), 0
            for text in values.to_pylist():
                content = (text or "").encode()
                slots.text(content, at, found)
                at += len(content)
            if found.at:
                columns[name] = values, found
    return columns


def _texts(column: pa.Array, values: pa.Array, found: Found, layout: Layout) -> _Texts:
    contents = [(text or "").encode() for text in values.to_pylist()]
    return _Texts(
        values=np.frombuffer(b"".join(contents), np.uint8),
        offsets=np.concatenate([[0], np.cumsum([len(content) for content in contents])]).astype(np.int64),
        places=layout.places(found),
        is_dictionary=pa.types.is_dictionary(column.type),
    )


def _times(batch: pa.RecordBatch, start_unix_nano: int) -> dict[str, Numbers]:
    names = [name for name in batch.schema.names if name.endswith(_TIME)]
    return {
        name: batch.column(name).fill_null(start_unix_nano).to_numpy().astype(np.int64) - start_unix_nano
        for name in names
    }
