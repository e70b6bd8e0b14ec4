"""Calls that both an agent and a gateway tell of, and what only the gateway knows of a call."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from headgate_analytics.model_calls import Call
from headgate_analytics.node import Facts, Node
from headgate_analytics.witnessed import BARE_DIALECTS
from headgate_processors.dialects.coerce import to_money

SLACK_NS = 1_000_000_000
LONGEST_NS = 3_600 * 1_000_000_000

DENIALS = frozenset({"stopped", "paused", "budget", "rate", "policy", "stale", "identity", "manifest", "approval"})
KILLED = "gateway_killed"
"""How a call ended whose gateway was killed; the next process of that gateway tells it."""
_INPUT, _OUTPUT = "gen_ai_usage_input_tokens", "gen_ai_usage_output_tokens"
_MODELS = ("gen_ai_request_model", "gen_ai_response_model")


def is_of_gateway(node: Node) -> bool:
    """Whether a gateway saw it."""
    return node.witness == "gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayTold:
    """What gateways say of one call; attempts are those towards the provider, summed over the agent's retries.

    `attempt_decision_ids` are the decisions about attempts other than the one that is told.
    `skipped_models` are those that were passed over, each with why, over all attempts.
    `provider` is the name of its door, as decisions, stops and budgets have it. `booked_usd` is what budgets were
    charged for it, of which `tried_usd` for attempts before the last; `saved_usd` what a route, the cache or a refusal
    has saved. `denial` is the code by which a gateway denied it or ended it; of one that was killed, where nobody saw
    the call end well.
    """

    provider: str | None = None
    decision_id: str | None = None
    attempt_decision_ids: Sequence[str] = ()
    attempts: int | None = None
    failed_attempts: int | None = None
    is_counted: bool = False
    routed_from_model: str | None = None
    skipped_models: Sequence[str] = ()
    response_cache_hit: bool | None = None
    saved_usd: Decimal | None = None
    booked_usd: Decimal | None = None
    tried_usd: Decimal | None = None
    denial: str | None = None
    was_sent: bool = False

    @property
    def is_killed(self) -> bool:
        """Whether nobody saw its end."""
        return self.denial == KILLED

    @classmethod
    def of(cls, call: Call) -> "GatewayTold | None":
        """What they say; None when none saw it."""
        seen = [node for node in call.nodes if is_of_gateway(node)]
        if not seen:
            return None
        tried = [node.own for node in (*seen, *(node for node in call.attempts if is_of_gateway(node)))]
        own = tried[0]
        telling = next((node for node in call.nodes if _INPUT in node.facts or _OUTPUT in node.facts), None)
        code = seen[0].text("error_type")
        decisions = [_text(each.get("headgate.decision_id")) for each in tried]
        attempts = _summed(tried, "headgate.attempts")
        cached = own.get("headgate.response_cache_hit")
        return cls(
            provider=_text(own.get("gen_ai.provider.name")),
            decision_id=decisions[0],
            attempt_decision_ids=[one for one in dict.fromkeys(decisions[1:]) if one not in {None, decisions[0]}],
            attempts=attempts,
            failed_attempts=_summed(tried, "headgate.failed_attempts"),
            is_counted=telling is not None and telling.own.get("headgate.usage_source") == "counted",
            routed_from_model=_text(own.get("headgate.routed_from_model")),
            skipped_models=_texts(tried, "headgate.skipped_models"),
            response_cache_hit=cached if isinstance(cached, bool) else None,
            saved_usd=_money(own.get("headgate.saved_usd")),
            booked_usd=_booked(tried),
            tried_usd=_booked(tried[len(seen) :]),
            denial=code if code in DENIALS or (code == KILLED and call.failed) else None,
            was_sent=_int(own.get("headgate.attempts")) > 0,
        )


def attested(calls: list[Call]) -> list[Call]:
    """The calls with each that only a gateway tells of joined to the one of the agent around it.

    That is one of the same model, and of the same usage where both tell it. What failed at the gateway inside a
    call that it saw go well is an attempt of that call. So is what only a gateway and an SDK by itself tell of.
    """
    return _attested(_attested(calls, is_of_gateway), _is_inner)


def _attested(calls: list[Call], is_inner: Callable[[Node], bool]) -> list[Call]:
    seen = [call for call in calls if all(map(is_inner, call.nodes))]
    if not seen or len(seen) == len(calls):
        return calls
    told = sorted((call for call in calls if call not in seen), key=lambda call: (call.start, call.primary.record_id))
    starts = [call.start for call in told]
    open_calls = {id(call) for call in told if not any(map(is_inner, call.nodes))}
    joined: set[int] = set()
    pairs = sorted(
        (abs(agents.start - gateways.start), gateways.start, agents.primary.record_id, gateways.primary.record_id, a, g)
        for g, gateways in enumerate(seen)
        for a in _around(starts, gateways)
        if _fit(agents := told[a], gateways) and id(agents) in open_calls
    )
    for *_, a, g in pairs:
        if g not in joined and id(told[a]) in open_calls:
            joined.add(g)
            open_calls.discard(id(told[a]))
            told[a].absorb(seen[g])
    for g, gateways in enumerate(seen):
        if g in joined or gateways.has_usage or not gateways.failed:
            continue
        outer = next((told[a] for a in _around(starts, gateways) if _encloses(told[a], gateways)), None)
        if outer is not None and _same_model(outer, gateways):
            joined.add(g)
            outer.attempts.extend(gateways.nodes)
    gone = {id(seen[g]) for g in joined}
    return [call for call in calls if id(call) not in gone]


def led_by_agents(calls: Sequence[Call]) -> None:
    """Let the agent's own record tell a call when it reports the tokens: it knows more of it than a gateway does.

    Of a stream that was cut an agent knows what the first event said, and the gateway has counted what came.
    """
    for call in calls:
        if (counted := _counted(call)) is not None:
            if counted is not call.primary:
                call.others.remove(counted)
                call.lead(counted)
        elif is_of_gateway(call.primary):
            agents = next((node for node in call.others if not is_of_gateway(node) and _tells(node)), None)
            if agents is not None:
                call.others.remove(agents)
                call.lead(agents)


def _counted(call: Call) -> Node | None:
    """What a gateway counted of a call, where no agent reports as much."""
    heard = max((node.number(_OUTPUT) or 0 for node in call.nodes if not is_of_gateway(node)), default=0)
    seen = (node for node in call.nodes if is_of_gateway(node) and (node.number(_OUTPUT) or 0) > heard)
    return next((node for node in seen if node.own.get("headgate.usage_source") == "counted"), None)


def _is_inner(node: Node) -> bool:
    """Whether it was seen from below: by a gateway, or by an SDK that does not know what is around it."""
    return is_of_gateway(node) or (node.dialect in BARE_DIALECTS and node.parent_span_id is None)


def _tells(node: Node) -> bool:
    return _INPUT in node.facts and _OUTPUT in node.facts


def _around(starts: Sequence[int], call: Call) -> range:
    """The numbers of the calls that may have begun before it."""
    return range(bisect_left(starts, call.start - LONGEST_NS), bisect_right(starts, call.start + SLACK_NS))


def _fit(agents: Call, gateways: Call) -> bool:
    if agents.text("gen_ai_response_id") and gateways.text("gen_ai_response_id"):
        return False
    told = GatewayTold.of(gateways)
    both = agents.has_usage and gateways.has_usage and not (told is not None and told.is_counted)
    if both and any(agents.number(name) != gateways.number(name) for name in (_INPUT, _OUTPUT)):
        return False
    return _same_model(agents, gateways) and _encloses(agents, gateways)


def _encloses(agents: Call, gateways: Call) -> bool:
    until = agents.end if agents.end is not None else agents.start + LONGEST_NS
    ended = gateways.end if gateways.end is not None else gateways.start
    return agents.start - SLACK_NS <= gateways.start and ended <= until + SLACK_NS


def _same_model(one: Call, other: Call) -> bool:
    mine, theirs = ({call.text(name) for name in _MODELS} - {None} for call in (one, other))
    return not mine or not theirs or not mine.isdisjoint(theirs)


def _summed(told: Sequence[object], name: str) -> int | None:
    known = [value for own in told if isinstance(own, dict) and type(value := own.get(name)) is int]
    return sum(known) if known else None


def _booked(told: Sequence[Facts]) -> Decimal | None:
    known = [cost for own in told if (cost := _money(own.get("headgate.cost_usd"))) is not None]
    return sum(known, Decimal(0)) if known else None


def _money(value: object) -> Decimal | None:
    """Dollars as a gateway writes them; what it saved may be less than nothing."""
    if not isinstance(value, str):
        return None
    amount = to_money(value.removeprefix("-"))
    return -amount if amount is not None and value.startswith("-") else amount


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _texts(told: Sequence[Facts], name: str) -> list[str]:
    every = [one for own in told if isinstance(value := own.get(name), list) for one in value]
    return [one for one in dict.fromkeys(map(_text, every)) if one is not None]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
