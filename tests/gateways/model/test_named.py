"""What an agent names: sessions in headers and bodies, traces by the W3C's header."""

import json

import pytest

from headgate_gateways.model.named import session_of, trace_of

UUID = "0a1b2c3d-0000-4000-8000-00000000000f"
TRACE, SPAN = "a" * 32, "b" * 16


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"x-claude-code-session-id": UUID}, {"metadata": {"user_id": "user_1_session_other"}}, UUID),
        ({"session_id": "s-1"}, {}, "s-1"),
        ({"conversation_id": "c-1"}, {}, "c-1"),
        ({"session_id": "x" * 600}, {}, "x" * 512),
        ({}, {"metadata": {"user_id": f"user_9f_account__session_{UUID}"}}, UUID),
        ({}, {"metadata": {"user_id": json.dumps({"device_id": "d", "session_id": UUID})}}, UUID),
        ({}, {"metadata": {"user_id": "user_session_of_bob"}}, None),
        ({}, {"metadata": {"user_id": "{"}}, None),
        ({}, {"metadata": [1]}, None),
        ({}, {}, None),
    ],
)
def test_a_session_is_what_the_agent_names(
    headers: dict[str, str], body: dict[str, object], expected: str | None
) -> None:
    """A header comes before the body, and nothing is guessed."""
    assert expected == session_of(headers, body)


def test_a_call_is_a_span_below_the_agents() -> None:
    """In the agent's trace, with an id of its own."""
    found = trace_of(f"00-{TRACE}-{SPAN}-01")
    assert (int(TRACE, 16), int(SPAN, 16), True) == (
        found.trace_id,
        found.parent_span_id,
        found.span_id not in (0, int(SPAN, 16)),
    )
    assert {"trace_id": TRACE, "span_id": f"{found.span_id:016x}"} == found.written()


def test_a_later_version_may_say_more() -> None:
    """As the W3C asks."""
    assert int(SPAN, 16) == trace_of(f"01-{TRACE}-{SPAN}-01-more").parent_span_id


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}",
        "00-" + "ä" * 32 + f"-{SPAN}-01",
    ],
)
def test_what_is_no_trace_context_makes_a_root(header: str | None) -> None:
    """In a trace of its own, not in one that everybody shares."""
    found, other = trace_of(header), trace_of(header)
    assert (None, True) == (found.parent_span_id, found.trace_id not in (0, other.trace_id))
