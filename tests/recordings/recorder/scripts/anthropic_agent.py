"""A loop by hand over Anthropic's SDK."""

from typing import Any

import anthropic
from workspace import INSTRUCTIONS, TASKS, TOOLS, TURNS_MAX

FUNCTIONS = {tool.__name__: tool for tool in TOOLS}
ARGUMENTS = {"read_file": ["path"], "edit_file": ["path", "old", "new"], "run_tests": ["target"]}
client = anthropic.Anthropic()


def schema(name: str) -> dict[str, Any]:
    """A tool as the API wants it."""
    properties = {argument: {"type": "string"} for argument in ARGUMENTS[name]}
    wanted = {"type": "object", "properties": properties, "required": ARGUMENTS[name]}
    return {"name": name, "description": FUNCTIONS[name].__doc__, "input_schema": wanted}


def result(use: Any) -> dict[str, Any]:
    """What a tool gave, or its error."""
    base = {"type": "tool_result", "tool_use_id": use.id}
    try:
        return {**base, "content": FUNCTIONS[use.name](**use.input)}
    except (RuntimeError, ValueError, OSError) as error:
        return {**base, "content": f"error: {error}", "is_error": True}


messages: list[dict[str, Any]] = []
for task in TASKS:
    messages.append({"role": "user", "content": task})
    for _ in range(TURNS_MAX):
        with client.messages.stream(
            model="claude-sonnet-4-5",
            max_tokens=1024,
            system=INSTRUCTIONS,
            messages=messages,
            tools=[schema(name) for name in FUNCTIONS],
        ) as stream:
            answer = stream.get_final_message()
        messages.append({"role": "assistant", "content": [one.model_dump(exclude_none=True) for one in answer.content]})
        uses = [one for one in answer.content if one.type == "tool_use"]
        if not uses:
            print(answer.content[0].text)
            break
        messages.append({"role": "user", "content": [result(use) for use in uses]})
