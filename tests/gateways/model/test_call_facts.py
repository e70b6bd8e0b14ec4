"""What policies may know of a call: sessions are counted, content is looked at where a policy asks."""

import asyncio

from headgate_control.budgets.amount import NOTHING, Amount, Limits
from headgate_control.policy.bundle import bundle_of
from headgate_control.policy.engine import PolicyEngine, SessionFacts
from headgate_gateways.model.call_facts import SESSIONS_MAX, SHORT_BYTES_MAX, CallFacts

PLAIN = PolicyEngine(bundle_of({"a.cedar": '@id("all") permit(principal, action, resource);'}))
ASKING = PolicyEngine(
    bundle_of(
        {
            "a.cedar": '@id("all") permit(principal, action, resource);\n'
            '@id("cards") forbid(principal, action, resource) when { context.content_classes.contains("card") };'
        }
    )
)


def test_a_session_is_counted_as_its_calls_end() -> None:
    """Calls, errors, retries and millionths of a dollar, of one instance and session alone."""
    facts = CallFacts()
    facts.ended(("ai-1", "s"), cost=Amount(nano_usd=1_500), failed_attempts=2, is_error=False)
    facts.ended(("ai-1", "s"), cost=Amount(nano_usd=1_000), failed_attempts=0, is_error=True)
    expected = SessionFacts(model_calls=2, errors=1, retries=2, micro_usd=3)
    assert facts.of(("ai-1", "s"), (), None).session == expected
    assert facts.of(("ai-1", "other"), (), None).session == SessionFacts()


def test_the_estimate_is_in_millionths_rounded_up() -> None:
    """No cost is ever forgotten; what is free has none."""
    facts = CallFacts()
    told = facts.of(("ai-1", None), (), Amount(nano_usd=1, tokens=7))
    assert (told.micro_usd_estimate, told.tokens_estimate) == (1, 7)
    assert facts.of(("ai-1", None), (), None).micro_usd_estimate is None


def test_what_budgets_have_left_is_told_where_it_is_known() -> None:
    """In millionths rounded down, so that nobody counts on what is not there; what is not limited is unknown."""
    facts = CallFacts()
    told = facts.of(("ai-1", None), (), None, Limits(nano_usd=1_999, calls=3))
    assert (told.micro_usd_left, told.tokens_left, told.calls_left) == (1, None, 3)


def test_content_is_looked_at_only_where_a_policy_asks() -> None:
    """A look costs time at every call, so nobody pays for what no policy reads."""
    seen: list[bytes] = []

    def classes(body: bytes) -> tuple[str, ...]:
        seen.append(body)
        return ("card",)

    facts = CallFacts(classes)
    long = b"x" * (SHORT_BYTES_MAX + 1)
    found = [asyncio.run(facts.content(*one)) for one in ((PLAIN, b"one"), (ASKING, b"two"), (ASKING, long))]
    assert ([(), ("card",), ("card",)], [b"two", long]) == (found, seen)


def test_sessions_that_are_remembered_are_bounded() -> None:
    """The one that was longest silent is forgotten first."""
    facts = CallFacts()
    for number in range(SESSIONS_MAX + 1):
        facts.ended(("ai-1", str(number)), cost=NOTHING, failed_attempts=0, is_error=False)
    assert facts.of(("ai-1", "0"), (), None).session.model_calls == 0
    assert facts.of(("ai-1", "1"), (), None).session.model_calls == 1
