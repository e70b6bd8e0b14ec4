"""What control knows of those that ask it over HTTP: their sessions as its gateway counts them, and their budgets."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import orjson

from headgate_control.budgets.amount import Limits
from headgate_control.budgets.budget import Place
from headgate_control.budgets.question import COST_EST, TOKENS_EST, estimate_of
from headgate_control.decide.core import Moment
from headgate_control.decide.service import budget_places
from headgate_control.identity.instance import Instance
from headgate_control.policy.engine import PolicyEngine, PolicyFacts
from headgate_control.request import Request
from headgate_gateways.model.call_facts import NANO_PER_MICRO, CallFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFacts:
    """The counts of the gateway in this process, `counted`, and the books' `headroom`. For one event loop.

    A question names its session as the agent names it to the gateway; one that names none is of those calls that
    named none either. `policy` gives the policies of now: content is looked at where one of them asks for it.
    """

    counted: CallFacts
    headroom: Callable[[Iterable[Place], int], Limits]
    policy: Callable[[], PolicyEngine | None] = lambda: None

    def __call__(self, request: Request, instance: Instance, moment: Moment) -> PolicyFacts:
        """What policies may know of a request beside itself; what it may cost, as far as it says so.

        Raises:
            ValueError: what it says that it costs is no number.
        """
        left = self.headroom(budget_places(request, instance, moment), moment.at_unix_nano)
        facts, said = self.counted.of((instance.instance_id, moment.session), (), None, left), request.context
        estimate = estimate_of(said)
        return replace(
            facts,
            micro_usd_estimate=None if said.get(COST_EST) is None else -(-estimate.nano_usd // NANO_PER_MICRO),
            tokens_estimate=None if said.get(TOKENS_EST) is None else estimate.tokens,
        )

    async def content(self, request: Request) -> Sequence[str]:
        """The classes of what the arguments of a request hold."""
        if not request.arguments:
            return ()
        return await self.counted.content(self.policy(), orjson.dumps(dict(request.arguments)))

    def tool_called(self, request: Request) -> None:
        """Count a tool call that a hook lets run."""
        session = request.context.get("session")
        self.counted.tool_called((request.subject.id, session if isinstance(session, str) else None))
