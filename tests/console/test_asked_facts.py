"""What control says of those that ask it: what its gateway counted in their session, what their budgets have left."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from headgate_console.control.asked_facts import AskedFacts
from headgate_control.budgets.amount import Amount, Limits
from headgate_control.budgets.budget import Budget
from headgate_control.budgets.ledger import Ledger
from headgate_control.decide.core import Moment
from headgate_control.policy.bundle import Bundle, bundle_of
from headgate_control.policy.content import ContentClasses
from headgate_control.policy.engine import PolicyEngine, PolicyFacts, SessionFacts
from headgate_control.request import Request, Resource, Subject
from headgate_control.testing.identities import NOW, instance
from headgate_gateways.model.call_facts import CallFacts
from headgate_processors.enrich.redact import RedactionRules, Redactor

ADA = instance("ai-1")
ASKED = Request(
    subject=Subject(type="agent_instance", id="ai-1"),
    action="tools/call",
    resource=Resource(type="tool", id="read_file"),
    context={"session": "s1"},
)


def test_the_facts_are_of_the_session_and_the_budgets_that_a_request_names() -> None:
    """Calls of models as the gateway counted them, of tools as the hook did; of another session nothing."""
    counted, books = CallFacts(), Ledger()
    books.set(
        Budget(
            budget_id="b", place=("team", "payments"), window="total", limits=Limits(nano_usd=5_000_000), mode="hard"
        )
    )
    books.set(Budget(budget_id="s", place=("session", "s1"), window="total", limits=Limits(calls=3), mode="hard"))
    facts = AskedFacts(counted=counted, headroom=books.headroom)
    counted.ended(("ai-1", "s1"), cost=Amount(nano_usd=7_000), failed_attempts=1, is_error=True)
    facts.tool_called(ASKED)
    here, elsewhere = (facts(ASKED, ADA, Moment(at_unix_nano=NOW, session=name)) for name in ("s1", "s2"))
    session = SessionFacts(model_calls=1, tool_calls=1, errors=1, retries=1, micro_usd=7)
    assert PolicyFacts(session=session, micro_usd_left=5_000, calls_left=3) == here
    assert PolicyFacts(micro_usd_left=5_000) == elsewhere


def test_what_arguments_hold_is_looked_at_where_a_policy_asks() -> None:
    """Its classes are those of the redaction rules, as of the body of a model call."""
    asks = bundle_of(
        {"a.cedar": '@id("a") permit(principal, action, resource) when { context.content_classes.isEmpty() };'}
    )
    silent = bundle_of({"a.cedar": '@id("a") permit(principal, action, resource);'})
    counted = CallFacts(ContentClasses(Redactor(RedactionRules.load(None))))
    request = replace(ASKED, context={"input": {"to": "ada@example.com"}})

    def found(bundle: Bundle | None, asked: Request) -> Sequence[str]:
        policy = None if bundle is None else PolicyEngine(bundle)
        facts = AskedFacts(counted=counted, headroom=Ledger().headroom, policy=lambda: policy)
        return asyncio.run(facts.content(asked))

    assert [("email",), (), (), ()] == [
        tuple(found(*one)) for one in ((asks, request), (asks, ASKED), (silent, request), (None, request))
    ]


def test_what_a_request_says_that_it_costs_is_known_of_it() -> None:
    """The unit that it names alone, rounded up."""
    facts = AskedFacts(counted=CallFacts(), headroom=Ledger().headroom)
    said: list[dict[str, object]] = [{"cost_est": "0.0000001"}, {"tokens_est": 7}, {}]
    found = [facts(replace(ASKED, context=one), ADA, Moment(at_unix_nano=NOW)) for one in said]
    expected = [PolicyFacts(micro_usd_estimate=1), PolicyFacts(tokens_estimate=7), PolicyFacts()]
    assert expected == found


def test_calls_that_name_no_session_are_those_of_a_request_that_names_none() -> None:
    """As the gateway counts them."""
    facts = AskedFacts(counted=CallFacts(), headroom=Ledger().headroom)
    facts.tool_called(Request(subject=ASKED.subject, action="tools/call", resource=ASKED.resource))
    assert 1 == facts(ASKED, ADA, Moment(at_unix_nano=NOW)).session.tool_calls
