"""What control knows of those that ask it over HTTP: their sessions as its gateway counts them, and their budgets."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from headgate_control.budgets.amount import Limits
from headgate_control.budgets.budget import Place
from headgate_control.decide.core import Moment
from headgate_control.decide.service import budget_places
from headgate_control.identity.instance import Instance
from headgate_control.policy.engine import PolicyFacts
from headgate_control.request import Request
from headgate_gateways.model.call_facts import CallFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFacts:
    """The counts of the gateway in this process, `counted`, and the books' `headroom`. For one event loop.

    A question names its session as the agent names it to the gateway; one that names none is of those calls that
    named none either.
    """

    counted: CallFacts
    headroom: Callable[[Iterable[Place], int], Limits]

    def __call__(self, request: Request, instance: Instance, moment: Moment) -> PolicyFacts:
        """What policies may know of a request beside itself; what its content holds is not looked at."""
        left = self.headroom(budget_places(request, instance, moment), moment.at_unix_nano)
        return self.counted.of((instance.instance_id, moment.session), (), None, left)

    def tool_called(self, request: Request) -> None:
        """Count a tool call that a hook lets run."""
        session = request.context.get("session")
        self.counted.tool_called((request.subject.id, session if isinstance(session, str) else None))
