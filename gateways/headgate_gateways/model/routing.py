"""Where calls go, by rules: to another model, to nobody when they are too large, or to an answer that is kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from headgate_control.manifests.globs import glob

ATTEMPTS_MAX = 3
BACKOFF_MS = 100
CACHE_BYTES_MAX = 64 << 20
NANO_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What holds for calls that fit every pattern; a field that is empty fits all of them.

    `models` are patterns of `provider/model`. `to` is the `door/model` that the call goes to, and with `slower_than_ms`
    it does so only while the first chunk of the model that was asked for takes longer than that on average.
    `cache_s`: an answer to the very same call of the same team is given again for so long.
    """

    name: str
    models: Sequence[str] = ()
    task_classes: Sequence[str] = ()
    workflows: Sequence[str] = ()
    teams: Sequence[str] = ()
    to: str | None = None
    slower_than_ms: int | None = None
    input_tokens_max: int | None = None
    cost_nano_usd_max: int | None = None
    cache_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """The rules of one gateway. `fallbacks`: by door, the doors that are tried when its provider cannot answer."""

    rules: Sequence[Rule] = ()
    fallbacks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    attempts_max: int = ATTEMPTS_MAX
    backoff_ms: int = BACKOFF_MS
    cache_bytes_max: int = CACHE_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What rules look at. `first_chunk_ns` is None where nothing is known lately of the model that is asked for."""

    door: str
    provider: str
    model: str
    task_class: str | None = None
    workflow: str | None = None
    team: str | None = None
    input_tokens: int = 0
    cost_nano_usd: int = 0
    first_chunk_ns: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Where a call goes; `objection` says why it goes nowhere."""

    door: str
    model: str
    objection: str | None = None
    cache_s: int | None = None


def choose(rules: Sequence[Rule], asking: Asking, allowed: Callable[[str, str], bool]) -> Choice:
    """The choice for a call: every rule may object, the first that routes to what is `allowed` does, as the first that
    keeps answers.
    """
    fitting = [rule for rule in rules if _fits(rule, asking)]
    objection = next((why for rule in fitting if (why := _objection(rule, asking)) is not None), None)
    if objection is not None:
        return Choice(door=asking.door, model=asking.model, objection=objection)
    door, model = asking.door, asking.model
    for rule in fitting:
        if rule.to is None or not _is_due(rule, asking):
            continue
        there, _, name = rule.to.partition("/")
        if (there, name) != (door, model) and allowed(there, name):
            door, model = there, name
            break
    kept = next((rule.cache_s for rule in fitting if rule.cache_s), None)
    return Choice(door=door, model=model, cache_s=kept)


def _fits(rule: Rule, asking: Asking) -> bool:
    every = (
        (rule.models, f"{asking.provider}/{asking.model}"),
        (rule.task_classes, asking.task_class),
        (rule.workflows, asking.workflow),
        (rule.teams, asking.team),
    )
    return all(not patterns or _any(patterns, text) for patterns, text in every)


def _any(patterns: Sequence[str], text: str | None) -> bool:
    return text is not None and any(glob(pattern).matches(text) for pattern in patterns)


def _is_due(rule: Rule, asking: Asking) -> bool:
    if rule.slower_than_ms is None:
        return True
    return asking.first_chunk_ns is not None and asking.first_chunk_ns > rule.slower_than_ms * NANO_PER_MS


def _objection(rule: Rule, asking: Asking) -> str | None:
    if rule.input_tokens_max is not None and asking.input_tokens > rule.input_tokens_max:
        return f"{rule.name}: about {asking.input_tokens} tokens of input; {rule.input_tokens_max} are allowed"
    if rule.cost_nano_usd_max is not None and asking.cost_nano_usd > rule.cost_nano_usd_max:
        cost, most = asking.cost_nano_usd / 1_000_000_000, rule.cost_nano_usd_max / 1_000_000_000
        return f"{rule.name}: it may cost ${cost:.4f}; ${most:.4f} are allowed"
    return None
