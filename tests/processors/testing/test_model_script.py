from typing import Any

from headgate_processors.testing.model_server.chat import ChatCompletions
from headgate_processors.testing.model_server.conversation import Conversation, MadeCall, PlannedCall, Tool
from headgate_processors.testing.model_server.scenario import load_scenario, parsed_scenario
from headgate_processors.testing.model_server.schema import instance_of
from headgate_processors.testing.model_server.script import Script

READ = Tool(name="read_file", arguments=frozenset({"path"}))
EDIT = Tool(name="Edit", arguments=frozenset({"file_path", "old_string", "new_string"}))
TEST = Tool(name="mcp__workspace__run_tests", arguments=frozenset({"target"}))
SHELL = Tool(name="exec_command", arguments=frozenset({"cmd"}))
HAND_OVER = Tool(name="transfer_to_reviewer")
ANSWER = Tool(name="final_answer", arguments=frozenset({"answer"}))


def played(scenario: str, *tools: Tool, turns_max: int = 20) -> list[list[PlannedCall]]:
    """The calls of every turn until the model is done, each made as it was asked for."""
    script = Script(load_scenario(scenario), {"workspace": "/w"})
    made: list[MadeCall] = []
    turns = []
    for _ in range(turns_max):
        calls = list(script.reply(Conversation(tools=tools, made=tuple(made))).calls)
        turns.append(calls)
        if not calls:
            break
        made += [MadeCall(name=call.tool.name, arguments=str(dict(call.arguments))) for call in calls]
    return turns


def names(turns: list[list[PlannedCall]]) -> list[list[str]]:
    """The names of the tools of every turn."""
    return [[call.tool.name for call in calls] for calls in turns]


def test_an_intent_takes_the_tool_that_the_agent_has() -> None:
    """Names differ, servers of MCP stand before them; the script goes on all the same."""
    assert [["read_file"], ["Edit"], ["mcp__workspace__run_tests"], []] == names(played("multi_step", READ, EDIT, TEST))


def test_arguments_are_those_that_the_tool_declares() -> None:
    """A tool that wants an absolute path gets one."""
    call = played("multi_step", EDIT)[0][0]
    assert {"file_path": "/w/calc.py", "old_string": "return a - b", "new_string": "return a + b"} == call.arguments


def test_an_agent_with_only_a_shell_gets_commands() -> None:
    """Each intent has a command that does the same."""
    commands = [call.arguments["cmd"] for calls in played("multi_step", SHELL) for call in calls]
    assert ["cat calc.py", "sed -i 's/a - b/a + b/' calc.py", "python3 test_calc.py"] == commands


def test_a_turn_that_no_tool_serves_is_left_out() -> None:
    """Without a tool for it there is no call, and the next turn comes."""
    assert [["read_file"], []] == names(played("multi_step", READ))


def test_the_same_call_comes_as_often_as_the_script_says() -> None:
    """Six identical turns are six calls."""
    assert [["mcp__workspace__run_tests"]] * 6 + [[]] == names(played("loop", TEST))


def test_parallel_calls_are_one_turn() -> None:
    """Two calls of one turn come together, with their own arguments."""
    turns = played("parallel", READ, TEST)
    assert ["calc.py", "test_calc.py"] == [call.arguments["path"] for call in turns[0]]
    assert [2, 1, 0] == [len(calls) for calls in turns]


def test_a_second_agent_does_not_hand_over_again() -> None:
    """An intent that may happen once is not asked for in a conversation that begins anew."""
    script = Script(load_scenario("handoff"), {})
    first = script.reply(Conversation(tools=(HAND_OVER, READ)))
    other = script.reply(Conversation(tools=(HAND_OVER, READ)))
    assert ["transfer_to_reviewer", "read_file"] == [call.tool.name for one in (first, other) for call in one.calls]


def test_an_agent_that_wants_its_answer_by_a_tool_gets_it_so() -> None:
    """The call carries the text, and is no tool call to whoever counts."""
    script = Script(parsed_scenario("turns: [{say: Done.}]"), {})
    reply = script.reply(Conversation(tools=(ANSWER,)))
    assert [({"answer": "Done."}, True)] == [(call.arguments, call.is_answer) for call in reply.calls]
    assert reply.text is None


def test_usage_grows_with_the_conversation() -> None:
    """Each call that was made adds what the scenario says."""
    script = Script(load_scenario("multi_step"), {})
    made = (MadeCall(name="read_file"), MadeCall(name="Edit"))
    usage = script.reply(Conversation(tools=(TEST,), made=made)).usage
    assert (2200, 1024, 50) == (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens)


def test_calls_that_an_agent_tells_in_text_were_made() -> None:
    """An agent such as smolagents writes its own calls into the conversation as text."""
    call = "{'id': 'a', 'type': 'function', 'function': {'name': 'read_file', 'arguments': {'p': 1}}}"
    text = f"I read.\nCalling tools:\n[{call}]"
    messages: list[dict[str, Any]] = [{"role": "assistant", "content": [{"type": "text", "text": text}]}]
    conversation = ChatCompletions().conversation({"messages": messages})
    assert (MadeCall(name="read_file", arguments="{'p': 1}"),) == conversation.made


def test_an_answer_that_must_have_a_shape_has_it() -> None:
    """Required properties, references and the first of every choice."""
    schema = {
        "type": "object",
        "required": ["title", "level", "who", "tags"],
        "properties": {
            "title": {"type": "string"},
            "level": {"enum": ["low", "high"]},
            "who": {"$ref": "#/$defs/person"},
            "tags": {"anyOf": [{"type": "array"}, {"type": "null"}]},
            "more": {"type": "string"},
        },
        "$defs": {"person": {"type": "object", "required": ["age"], "properties": {"age": {"type": ["integer"]}}}},
    }
    assert {"title": "text", "level": "low", "who": {"age": 1}, "tags": []} == instance_of(schema)
    assert instance_of({"$ref": "#"}) is None
