"""What policies may know beside the call itself: its session so far, its estimate, and what its content holds."""

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from headgate_control.budgets.amount import Amount, Limits
from headgate_control.policy.engine import PolicyEngine, PolicyFacts, SessionFacts
from headgate_gateways.model.aside import Aside

SESSIONS_MAX = 16_384
NANO_PER_MICRO = 1_000
SHORT_BYTES_MAX = 8 << 10
"""What is looked at at once: that takes a few milliseconds at most."""
UNLIMITED = Limits()
Classes = Callable[[bytes], tuple[str, ...]]
Key = tuple[str, str | None]
"""An instance and the session that it names."""


@dataclass(slots=True)
class CallFacts:
    """Counts the sessions that one gateway sees, the last `SESSIONS_MAX` of them. For one event loop.

    `classes` finds what a body holds; it is asked only where some policy wants to know.
    """

    classes: Classes | None = None
    aside: Aside = field(default_factory=Aside)
    _sessions: OrderedDict[Key, SessionFacts] = field(default_factory=OrderedDict)
    _engine: PolicyEngine | None = None
    _wants_content: bool = False

    async def content(self, engine: PolicyEngine | None, body: bytes) -> tuple[str, ...]:
        """The classes of a body, where a policy asks for them; a body that is not short is looked at in a thread."""
        classes = self.classes
        if classes is None or not self._asks_for_content(engine):
            return ()
        if len(body) <= SHORT_BYTES_MAX:
            return classes(body)
        return await self.aside(lambda: classes(body))

    def of(self, key: Key, classes: tuple[str, ...], estimate: Amount | None, left: Limits = UNLIMITED) -> PolicyFacts:
        """The facts of a call that begins; `left` is what its budgets still have, where that is known here."""
        known = self._sessions.get(key, SessionFacts())
        return PolicyFacts(
            session=known,
            content_classes=classes,
            micro_usd_left=None if left.nano_usd is None else left.nano_usd // NANO_PER_MICRO,
            tokens_left=left.tokens,
            calls_left=left.calls,
            micro_usd_estimate=None if estimate is None else -(-estimate.nano_usd // NANO_PER_MICRO),
            tokens_estimate=None if estimate is None else estimate.tokens,
        )

    def ended(self, key: Key, *, cost: Amount, failed_attempts: int, is_error: bool) -> None:
        """A call that was let pass is over."""
        known = self._sessions.pop(key, SessionFacts())
        self._sessions[key] = replace(
            known,
            model_calls=known.model_calls + 1,
            errors=known.errors + is_error,
            retries=known.retries + failed_attempts,
            micro_usd=known.micro_usd + -(-cost.nano_usd // NANO_PER_MICRO),
        )
        self._bound()

    def tool_called(self, key: Key) -> None:
        """A tool was let run, as a hook was told."""
        known = self._sessions.pop(key, SessionFacts())
        self._sessions[key] = replace(known, tool_calls=known.tool_calls + 1)
        self._bound()

    def _bound(self) -> None:
        while len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)

    def _asks_for_content(self, engine: PolicyEngine | None) -> bool:
        if engine is not self._engine:
            self._engine = engine
            self._wants_content = engine is not None and "content_classes" in json.dumps(dict(engine.bundle.written))
        return self._wants_content
