"""OTLP/JSON to Arrow: each record becomes protobuf, so that both encodings share one reading."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from headgate_processors.errors import PermanentError
from headgate_processors.otlp.assemble import assemble
from headgate_processors.otlp.json_messages import MessageEncoder, message_encoder
from headgate_processors.otlp.limits import check_record_count
from headgate_processors.otlp.messages import official_descriptor
from headgate_processors.otlp.port import Decoded, Rejected, Signal
from headgate_processors.otlp.signals import SHAPES, Shape
from headgate_processors.otlp.split import Record, ResourceGroup, ScopeGroup, Split
from headgate_processors.otlp.wire import UnreadableError

_METRIC_DATA = (
    "gauge",
    "sum",
    "histogram",
    "exponentialHistogram",
    "exponential_histogram",
    "summary",
)


def decode_json(body: bytes, signal: Signal) -> Decoded:
    """The rows of one request, its bad records apart.

    Raises:
        PermanentError: `body` is not a JSON object, or nothing in it can be read.
        TooLargeError: it has too many records.
    """
    return assemble(_Converter(SHAPES[signal]).split(_load(body, signal)), signal)


def _load(body: bytes, signal: Signal) -> dict[str, Any]:
    """The object; texts that are not UTF-8 survive as surrogates, which no record may keep."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(body.decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError) as error:
            raise _not_json(signal, str(error)) from None
    if not isinstance(value, dict):
        raise _not_json(signal, f"it is a {type(value).__name__}, not an object")
    return value


def _not_json(signal: Signal, why: str) -> PermanentError:
    return PermanentError(
        f"the body of this {signal} request is not OTLP/JSON ({why}); send one Export request as a JSON "
        "object, or name the encoding that was used in Content-Type"
    )


@dataclass(frozen=True, slots=True)
class _JsonRecord(Record):
    """A record that came as JSON."""

    source: Any

    def raw(self) -> bytes:
        """The record as JSON."""
        return _dumps(self.source)


def _dumps(value: Any) -> bytes:
    """JSON text of any parsed JSON; empty for what nests too deep to be written again."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        pass
    try:
        return json.dumps(value).encode()
    except RecursionError:
        return b""


class _Converter:
    """One request of one signal."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._group = message_encoder(shape.group)
        self._scope = message_encoder(shape.scope)
        self._record = message_encoder(shape.record)
        self._split = Split()
        self._record_count = 0

    def split(self, request: dict[str, Any]) -> Split:
        """The request in pieces."""
        names = _names(self._shape.request, self._shape.groups)
        self._split.groups.extend(self._resource_group(group) for group in self._items(request, names))
        return self._split

    def _resource_group(self, group: dict[str, Any]) -> ResourceGroup:
        names = _names(self._shape.group, self._shape.scopes)
        scopes = [self._scope_group(scope) for scope in self._items(group, names)]
        return ResourceGroup(wire=_envelope(self._group, group, names), scopes=scopes)

    def _scope_group(self, group: dict[str, Any]) -> ScopeGroup:
        names = _names(self._shape.scope, self._shape.records)
        records = [one for record in self._items(group, names) for one in self._records(record)]
        return ScopeGroup(wire=_envelope(self._scope, group, names), records=records)

    def _items(self, holder: dict[str, Any], names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        """The objects in a list member; what is no list or no object is broken."""
        for name in names:
            items = holder.get(name)
            for item in items if isinstance(items, list) else [items]:
                if isinstance(item, dict) and isinstance(items, list):
                    yield item
                elif items is not None:
                    detail = f"{name} must be a list of objects"
                    self._split.broken.append(Rejected(reason="malformed", detail=detail, raw=_dumps(item)))

    def _records(self, source: dict[str, Any]) -> list[Record]:
        self._record_count += 1
        check_record_count(self._record_count)
        try:
            return [_JsonRecord(self._record.encode(source), source)]
        except UnreadableError as error:
            if self._shape is SHAPES[Signal.METRICS]:
                return self._readable_points(source, error)
            self._reject(source, error)
            return []

    def _readable_points(self, metric: dict[str, Any], error: UnreadableError) -> list[Record]:
        """The metric with those of its points that can be encoded."""
        names = [name for name in _METRIC_DATA if isinstance(metric.get(name), dict)]
        points = _points(metric[names[0]]) if len(names) == 1 else None
        if not points:
            self._reject(metric, error)
            return []
        head = {**metric, names[0]: _with_points(metric[names[0]], [])}
        try:
            self._record.encode(head)
        except UnreadableError as head_error:
            for point in points:
                self._reject(point, head_error)
            return []
        good = [point for point in points if self._is_point(names[0], point)]
        kept = {**head, names[0]: _with_points(metric[names[0]], good)}
        return [_JsonRecord(self._record.encode(kept), kept)]

    def _is_point(self, name: str, point: Any) -> bool:
        try:
            self._record.encode({name: {"dataPoints": [point]}})
        except UnreadableError as error:
            self._reject(point, error)
            return False
        return True

    def _reject(self, source: Any, error: UnreadableError) -> None:
        rejected = Rejected(reason=error.reason, detail=error.detail, raw=_dumps(source))
        self._split.rejected.append(rejected)


def _points(data: dict[str, Any]) -> list[Any] | None:
    points = data.get("dataPoints", data.get("data_points"))
    return points if isinstance(points, list) else None


def _with_points(data: dict[str, Any], points: list[Any]) -> dict[str, Any]:
    return {**data, "data_points": None, "dataPoints": points}


def _names(message: str, field: str) -> tuple[str, ...]:
    """The JSON names of a field, one or two."""
    return tuple(dict.fromkeys((official_descriptor(message).fields_by_name[field].json_name, field)))


def _envelope(encoder: MessageEncoder, holder: dict[str, Any], names: tuple[str, ...]) -> bytes:
    """The encoded holder without the list of these names, and without what of it cannot be read."""
    return encoder.encode_readable({name: value for name, value in holder.items() if name not in names})
