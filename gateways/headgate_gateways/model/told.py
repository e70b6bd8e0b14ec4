"""What is told of calls and decisions: the attributes of the GenAI conventions, and our own beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from headgate_control.decide.decision import Logged
from headgate_control.identity.instance import Instance
from headgate_gateways.model.cache import Kept
from headgate_gateways.model.named import CallTrace
from headgate_gateways.model.upstream import FREE, Operation
from headgate_gateways.model.usage import Usage

Value = str | bool | int | float | Sequence[str]
_NS_PER_S = 1_000_000_000
_NANO = Decimal(1_000_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldCall:
    """One call, allowed or denied, at its end. Times are nanoseconds since the epoch; None is unknown.

    `error_type` is None where it ended well: the status of a provider that refused it, the code of a decision that
    denied or cut it, `cancelled` where its agent left, `gateway_killed` where nobody saw its end, `gateway_error`
    where the gateway itself failed. `saved_nano_usd` is what a route or the cache has saved, or what a call that a
    route refuses was estimated at.
    `skipped` are the models that it might have gone to and did not, each with the decision and why. `retry_count` is
    how often the agent's library says that it has tried before; what is asked again has the same `request_hash`.
    """

    trace: CallTrace
    decision_id: str
    operation: Operation
    provider: str
    request_model: str
    began_unix_nano: int
    ended_unix_nano: int
    instance: Instance | None = None
    session: str | None = None
    is_stream: bool = False
    usage: Usage | None = None
    model: str | None = None
    response_id: str | None = None
    request_id: str | None = None
    finish_reasons: Sequence[str] = ()
    first_chunk_ns: int | None = None
    http_status: int | None = None
    error_type: str | None = None
    attempts: int = 0
    failed_attempts: int = 0
    routed_from_model: str | None = None
    skipped: Sequence[str] = ()
    saved_nano_usd: int | None = None
    is_from_cache: bool = False
    cost_nano_usd: int | None = None
    retry_count: int | None = None
    request_hash: str | None = None

    @property
    def name(self) -> str:
        """The span's name."""
        return f"{_operation(self.operation)} {self.request_model}"

    def attributes(self) -> dict[str, Value]:
        """The span's attributes; what is unknown is not among them."""
        first_s = self.first_chunk_ns / _NS_PER_S if self.first_chunk_ns is not None else None
        return _known(
            {
                "gen_ai.operation.name": _operation(self.operation),
                "gen_ai.provider.name": self.provider,
                "gen_ai.request.model": self.request_model,
                "gen_ai.request.stream": self.is_stream,
                "gen_ai.response.model": self.model,
                "gen_ai.response.id": self.response_id,
                "gen_ai.request.id": self.request_id,
                "gen_ai.response.finish_reasons": tuple(self.finish_reasons) or None,
                "gen_ai.response.time_to_first_chunk": first_s,
                **_usage(self.usage),
                "http.response.status_code": self.http_status,
                "error.type": self.error_type,
                "session.id": self.session,
                "headgate.decision_id": self.decision_id,
                "headgate.attempts": self.attempts,
                "headgate.failed_attempts": self.failed_attempts,
                "headgate.routed_from_model": self.routed_from_model,
                "headgate.skipped_models": tuple(self.skipped) or None,
                "headgate.saved_usd": _usd(self.saved_nano_usd),
                "headgate.response_cache_hit": True if self.is_from_cache else None,
                "headgate.cost_usd": _usd(self.cost_nano_usd),
                "headgate.retry_count": self.retry_count,
                "headgate.request_hash": self.request_hash,
                **who(self.instance),
            }
        )


def is_told_as_span(operation: Operation) -> bool:
    """Whether a call is a model's, and not a question about models."""
    return operation not in FREE


def told_from_cache(told: ToldCall, kept: Kept) -> ToldCall:
    """A call that was answered from the cache: nobody was asked, and what it would have cost is saved.

    The id of the answer is that of another call, and is not told again.
    """
    return replace(
        told,
        usage=kept.usage,
        model=kept.model,
        finish_reasons=kept.finish_reasons,
        saved_nano_usd=kept.cost_nano_usd,
        is_from_cache=True,
        cost_nano_usd=0,
    )


def who(instance: Instance | None) -> dict[str, Value | None]:
    """Who an instance is, as its record says."""
    if instance is None:
        return {}
    return {
        "headgate.instance.id": instance.instance_id,
        "headgate.team": instance.team,
        "headgate.workflow": instance.workflow,
        "headgate.user.id": instance.user,
        "headgate.repo": instance.repo,
        "headgate.task_class": instance.task_class,
    }


def decision_attributes(logged: Logged, instance: Instance | None) -> dict[str, Value]:
    """The columns of `decisions` under our own prefix, and who it was about."""
    return row_attributes(logged.row(), instance)


def row_attributes(columns: Mapping[str, object], instance: Instance | None) -> dict[str, Value]:
    """The same, from a row as the log has it."""
    row = dict(columns)
    # The record itself has these.
    for name in ("time_unix_nano", "trace_id", "span_id"):
        row.pop(name, None)
    session = row.pop("session", None)
    told: dict[str, object] = {
        f"headgate.{name}": tuple(value) if isinstance(value, list) else value for name, value in row.items()
    }
    return _known({**told, "headgate.session_key": session, "session.id": session, **who(instance)})


def _usage(usage: Usage | None) -> dict[str, Value | None]:
    if usage is None:
        return {}
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.cache_write_1h.input_tokens": usage.cache_write_1h_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        "gen_ai.response.service_tier": usage.service_tier,
        "headgate.usage_source": usage.source,
    }


def _operation(operation: Operation) -> str:
    return "embeddings" if operation == "embeddings" else "chat"


def _usd(nano: int | None) -> str | None:
    return None if nano is None else f"{Decimal(nano) / _NANO:f}"


def _known(values: Mapping[str, object]) -> dict[str, Value]:
    return {name: value for name, value in values.items() if value is not None}  # type: ignore[misc]
