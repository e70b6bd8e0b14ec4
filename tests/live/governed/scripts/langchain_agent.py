"""LangChain's agent over Anthropic, streaming, and no word of Headgate."""

from pathlib import Path

from langchain.agents import create_agent
from langchain_core.tools import tool
from workspace import INSTRUCTIONS, TASKS
from workspace import edit_file as edit
from workspace import run_tests as tests


@tool
def read_file(path: str) -> str:
    """Read a text file of the workspace."""
    return Path(path).read_text(encoding="utf-8")


@tool
def edit_file(path: str, old: str, new: str) -> str:
    """Replace the text old by new in a file."""
    return edit(path, old, new)


@tool
def run_tests(target: str) -> str:
    """Run the tests."""
    return tests(target)


agent = create_agent("anthropic:claude-sonnet-4-5", tools=[read_file, edit_file, run_tests], system_prompt=INSTRUCTIONS)
for task in TASKS:
    for message, _ in agent.stream({"messages": [("user", task)]}, stream_mode="messages"):
        print(message.text)
