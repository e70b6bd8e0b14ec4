"""Which turn a request gets: the first one that the conversation has not had and that its tools allow.

The script looks at the conversation and remembers nothing of its own, so that retries, concurrent sessions and
sub-agents get the turns that they should; only intents that may happen once are remembered.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

import orjson

from headgate_processors.testing.model_server.conversation import Conversation, MadeCall, PlannedCall, Reply, Tool
from headgate_processors.testing.model_server.scenario import Call, Intent, Scenario, Turn
from headgate_processors.testing.model_server.schema import instance_of
from headgate_processors.testing.model_server.usage import Usage

_ANSWER = "answer"
_SILENT = Turn(say="")


class Script:
    """Plays one scenario; `variables` fill `{…}` in arguments, such as `{workspace}`."""

    def __init__(self, scenario: Scenario, variables: Mapping[str, str]) -> None:
        self._scenario = scenario
        self._intents = scenario.intents.intents
        self._variables = dict(variables)
        self._lock = threading.Lock()
        self._spent: set[str] = set()

    def reply(self, conversation: Conversation) -> Reply:
        """The answer to a request."""
        if conversation.answer_schema is not None:
            text = orjson.dumps(instance_of(conversation.answer_schema)).decode()
            return Reply(text=text, calls=(), usage=self._usage(conversation, _SILENT))
        with self._lock:
            turn, calls = self._next(conversation)
        usage = self._usage(conversation, turn)
        return Reply(text=None if _answers(calls) else turn.say, calls=calls, usage=usage, finish=turn.finish)

    def _next(self, conversation: Conversation) -> tuple[Turn, tuple[PlannedCall, ...]]:
        made = Counter(self._made(conversation.made))
        for turn in self._scenario.turns:
            wanted = [call for call in turn.calls if not self._was_made(call, made)]
            calls = self._planned(wanted, conversation.tools)
            if calls:
                self._spent.update(call.intent for call in wanted if call.intent and self._intents[call.intent].once)
                return turn, calls
        last = next((turn for turn in reversed(self._scenario.turns) if turn.say is not None), _SILENT)
        return last, self._final(last, conversation.tools)

    def _made(self, calls: Iterable[MadeCall]) -> Iterable[str]:
        """What each call of a conversation was about: the name of its tool, and the intent that it served."""
        for call in calls:
            yield f"tool {call.name}"
            for name, intent in self._intents.items():
                is_command = self._scenario.intents.is_shell(call.name)
                command = bool(intent.shell) and str(intent.shell) in call.arguments
                if (command and is_command) or (not is_command and intent.rank(call.name) is not None):
                    yield f"intent {name}"

    def _was_made(self, call: Call, made: Counter[str]) -> bool:
        """Whether a call was made, which takes it out of those that were; one that may not be made again counts."""
        key = f"intent {call.intent}" if call.intent else f"tool {call.tool}"
        if made[key] > 0:
            made[key] -= 1
            return True
        return call.intent is not None and call.intent in self._spent

    def _planned(self, wanted: Iterable[Call], tools: tuple[Tool, ...]) -> tuple[PlannedCall, ...]:
        found = (self._plan(call, tools) for call in wanted)
        return tuple(call for call in found if call is not None)

    def _plan(self, call: Call, tools: tuple[Tool, ...], say: str = "") -> PlannedCall | None:
        if call.tool:
            named = next((tool for tool in tools if tool.name == call.tool), Tool(name=call.tool))
            return _planned_call(named, self._filled(call.arguments))
        intent = self._intents[call.intent or ""]
        ranked = [(place, tool) for tool in tools if (place := intent.rank(tool.name)) is not None]
        if ranked:
            tool = min(ranked, key=lambda one: one[0])[1]
            said = {**intent.arguments, **call.arguments}
            arguments = {key: value for key, value in said.items() if key in tool.arguments}
            return _planned_call(tool, self._filled(arguments, say=say), is_answer=intent.is_answer)
        return self._by_shell(intent, tools)

    def _by_shell(self, intent: Intent, tools: tuple[Tool, ...]) -> PlannedCall | None:
        shell = next((tool for tool in tools if self._scenario.intents.is_shell(tool.name)), None)
        if shell is None or intent.shell is None:
            return None
        arguments = {
            key: value for key, value in self._scenario.intents.shell_arguments.items() if key in shell.arguments
        }
        return _planned_call(shell, self._filled(arguments, command=intent.shell))

    def _final(self, turn: Turn, tools: tuple[Tool, ...]) -> tuple[PlannedCall, ...]:
        """The call that carries the answer, where an agent wants its answer so."""
        if _ANSWER not in self._intents:
            return ()
        call = self._plan(Call(intent=_ANSWER), tools, say=turn.say or "")
        return (call,) if call else ()

    def _filled(self, arguments: Mapping[str, Any], **more: str) -> dict[str, Any]:
        return {key: _filled(value, {**self._variables, **more}) for key, value in arguments.items()}

    def _usage(self, conversation: Conversation, turn: Turn) -> Usage:
        if turn.usage is not None:
            return turn.usage.usage()
        return self._scenario.usage.usage().plus(self._scenario.growth.usage(), len(conversation.made))


def _planned_call(tool: Tool, arguments: Mapping[str, Any], *, is_answer: bool = False) -> PlannedCall:
    return PlannedCall(id=uuid4().hex[:24], tool=tool, arguments=arguments, is_answer=is_answer)


def _answers(calls: Iterable[PlannedCall]) -> bool:
    return any(call.is_answer for call in calls)


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if not isinstance(value, str):
        return value
    for name, text in variables.items():
        value = value.replace(f"{{{name}}}", text)
    return value
