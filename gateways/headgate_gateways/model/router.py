"""Applies the routing to calls: what goes where, what is tried next, and what was answered before."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from headgate_control.identity.instance import Instance
from headgate_gateways.model.asked import Asked, written
from headgate_gateways.model.cache import CALL_BYTES_MAX, AnswerCache, Kept, cache_key
from headgate_gateways.model.cost import Pricing
from headgate_gateways.model.inbound import Inbound
from headgate_gateways.model.latency import Latencies
from headgate_gateways.model.routing import Asking, Choice, Routing, choose
from headgate_gateways.model.upstream import FREE, Upstream
from headgate_processors.errors import ConfigError

IsAllowed = Callable[[Inbound], bool]
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """A call with its way: as it came, or changed. `key` is that of its answer, where it may be kept for `cache_s`.

    `skipped` says of each way that it was not given why not.
    """

    inbound: Inbound
    asked_as: Inbound
    objection: str | None = None
    key: bytes | None = None
    cache_s: int = 0
    skipped: tuple[str, ...] = ()

    def unchanged(self, why: str) -> "Routed":
        """The call as it came, for the reason that its other way is closed; its answer is not kept."""
        return Routed(inbound=self.asked_as, asked_as=self.asked_as, skipped=(*self.skipped, why))

    @property
    def from_model(self) -> str | None:
        """The model that was asked for, where it is another one now."""
        before, after = self.asked_as, self.inbound
        return before.asked.model if before is not after and before.asked is not None else None


@dataclass(slots=True)
class Router:
    """The routing of one gateway, with what it has learned. For one event loop."""

    upstreams: Mapping[str, Upstream]
    pricing: Pricing
    routing: Routing = field(default_factory=Routing)
    latencies: Latencies = field(default_factory=Latencies)
    cache: AnswerCache = field(init=False)

    def __post_init__(self) -> None:
        """Check the doors.

        Raises:
            ConfigError: a rule or a fallback names a door that is not there, or one that speaks another way.
        """
        self.cache = AnswerCache(self.routing.cache_bytes_max)
        for rule in self.routing.rules:
            door, _, model = (rule.to or "").partition("/")
            if rule.to is not None and (door not in self.upstreams or not model):
                message = (
                    f"routing {rule.name!r}: no model {rule.to!r}: expected DOOR/MODEL of {_names(self.upstreams)}"
                )
                raise ConfigError(message)
        for door, others in self.routing.fallbacks.items():
            for other in (door, *others):
                if other not in self.upstreams:
                    message = f"routing, fallbacks: no upstream {other!r}: expected one of {_names(self.upstreams)}"
                    raise ConfigError(message)
                if self.upstreams[other].kind != self.upstreams[door].kind:
                    message = f"routing, fallbacks: {other} does not speak as {door} does: expected one that does"
                    raise ConfigError(message)

    def routed(self, inbound: Inbound, instance: Instance | None, is_allowed: IsAllowed, at_unix_nano: int) -> Routed:
        """The way of a call; never to what its instance may not call."""
        asked = inbound.asked
        if not self.routing.rules or instance is None or asked is None or asked.operation in FREE:
            return Routed(inbound=inbound, asked_as=inbound)
        asking = self._asking(inbound, asked, instance, at_unix_nano)

        def may_go(door: str, model: str) -> bool:
            upstream = self.upstreams[door]
            return upstream.kind == inbound.upstream.kind and is_allowed(rerouted(inbound, door, upstream, model))

        choice = choose(self.routing.rules, asking, may_go)
        after = self._changed(inbound, asked, choice)
        is_kept = choice.cache_s is not None and choice.objection is None and len(after.body) <= CALL_BYTES_MAX
        key = cache_key(after, instance) if is_kept else None
        return Routed(inbound=after, asked_as=inbound, objection=choice.objection, key=key, cache_s=choice.cache_s or 0)

    def fallbacks(self, inbound: Inbound) -> Iterator[Inbound]:
        """The same call to those that may be tried after its own provider."""
        for door in self.routing.fallbacks.get(inbound.door, ())[: max(0, self.routing.attempts_max - 1)]:
            if inbound.asked is not None:
                yield rerouted(inbound, door, self.upstreams[door], inbound.asked.model)

    def found(self, routed: Routed, at_unix_nano: int) -> Kept | None:
        """The answer that is kept for a call."""
        return self.cache.find(routed.key, at_unix_nano=at_unix_nano) if routed.key is not None else None

    def keep(self, routed: Routed, answer: Kept, at_unix_nano: int) -> None:
        """Keep a whole answer, if its rule says so."""
        if routed.key is not None:
            expires = at_unix_nano + routed.cache_s * _NS_PER_S
            self.cache.keep(routed.key, replace(answer, expires_unix_nano=expires))

    def _asking(self, inbound: Inbound, asked: Asked, instance: Instance, at: int) -> Asking:
        name = inbound.upstream.name
        return Asking(
            door=inbound.door,
            provider=name,
            model=asked.model,
            task_class=instance.task_class,
            workflow=instance.workflow,
            team=instance.team,
            input_tokens=asked.input_tokens_max,
            cost_nano_usd=self.pricing.estimate(name, asked, at).nano_usd,
            first_chunk_ns=self.latencies.of(name, asked.model, at_unix_nano=at),
        )

    def _changed(self, inbound: Inbound, asked: Asked, choice: Choice) -> Inbound:
        if (choice.door, choice.model) == (inbound.door, asked.model):
            return inbound
        return rerouted(inbound, choice.door, self.upstreams[choice.door], choice.model)


def rerouted(inbound: Inbound, door: str, upstream: Upstream, model: str) -> Inbound:
    """A call to another door; its body is as it came where its model stays the same.

    Raises:
        ConfigError: that door does not know what the call asks for.
        BadCallError: its body is too deep to be written with another model.
    """
    target = upstream.target(inbound.http.method, inbound.path)
    if target is None or inbound.asked is None:
        message = f"{door} does not know {inbound.path!r}"
        raise ConfigError(message)
    asked, body = inbound.asked, inbound.body
    if model != asked.model:
        said = {**asked.body, "model": model}
        asked, body = replace(asked, model=model, body=said), written(said)
    return replace(inbound, door=door, upstream=upstream, target=target, asked=asked, body=body)


def _names(upstreams: Mapping[str, Upstream]) -> str:
    return ", ".join(sorted(upstreams))
