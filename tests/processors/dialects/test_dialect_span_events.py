"""Messages that travel as span events, and the shapes that Bedrock, Strands and smolagents give them."""

from headgate_processors.dialects.messages import (
    event_choices,
    event_messages,
    first_user_text,
    requested_calls,
    returned_results,
    roles,
    system_messages,
)

EVENTS = [
    {"name": "gen_ai.system.message", "attributes": {"content": '[{"text": "Be careful."}]'}},
    {"name": "gen_ai.user.message", "attributes": {"content": '[{"text": "Run the tests."}]'}},
    {
        "name": "gen_ai.assistant.message",
        "attributes": {"content": '[{"toolUse": {"toolUseId": "t1", "name": "run", "input": {"x": 1}}}]'},
    },
    {
        "name": "gen_ai.tool.message",
        "attributes": {
            "content": '[{"toolResult": {"toolUseId": "t1", "status": "error", "content": [{"text": "it broke"}]}}]'
        },
    },
    {"name": "exception", "attributes": {"exception.type": "E"}},
    {
        "name": "gen_ai.choice",
        "attributes": {
            "message": '[{"toolUse": {"toolUseId": "t2", "name": "run", "input": {"x": 2}}}]',
            "finish_reason": "tool_use",
        },
    },
]


def test_span_events_become_messages_in_order() -> None:
    """The role comes from the name of the event, the content is parsed; other events are no messages."""
    messages = event_messages(EVENTS)
    assert messages is not None
    assert ["system", "user", "assistant", "tool"] == [role for role, _ in roles(messages)]
    assert "Run the tests." == first_user_text(messages)
    assert 1 == len(system_messages(messages))


def test_a_tool_result_of_bedrock_says_whether_it_failed() -> None:
    """The id, the content and the failure are read from the `toolResult` part."""
    (result,) = returned_results(event_messages(EVENTS))
    assert ("t1", [{"text": "it broke"}], True) == (result.call_id, result.result, result.failed)


def test_a_choice_asks_for_the_tool_call() -> None:
    """Only the choice is output: what the history asked for before is not asked again."""
    (call,) = requested_calls(event_choices(EVENTS))
    assert ("t2", "run", {"x": 2}) == (call.call_id, call.name, call.arguments)


def test_spans_without_message_events_have_no_messages() -> None:
    """No event, no message: the next source of the field gets its turn."""
    assert event_messages([{"name": "exception", "attributes": {}}]) is None
    assert event_choices([]) is None


def test_roles_of_smolagents_are_understood() -> None:
    """Its own words for a call and its result stand for assistant and tool."""
    told = [{"message": {"role": "tool-call", "content": "x"}}, {"message": {"role": "tool-response", "content": "y"}}]
    assert ["assistant", "tool"] == [role for role, _ in roles(told)]
