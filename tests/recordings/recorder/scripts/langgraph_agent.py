"""LangGraph's prebuilt agent."""

from collections.abc import Callable
from functools import wraps

from langchain.agents import create_agent
from langchain_core.tools import StructuredTool, ToolException
from langgraph.checkpoint.memory import InMemorySaver
from workspace import DELEGATES, INSTRUCTIONS, MODEL, REVIEWER_INSTRUCTIONS, TASKS, TOOLS, read_file

CONFIG = {"recursion_limit": 40, "configurable": {"thread_id": "sess-42"}}


def tool(function: Callable[..., str]) -> StructuredTool:
    """A tool that tells the model of its errors."""

    @wraps(function)
    def told(**arguments: str) -> str:
        try:
            return function(**arguments)
        except RuntimeError as error:
            raise ToolException(str(error)) from error

    return StructuredTool.from_function(
        told, name=function.__name__, description=function.__doc__, handle_tool_error=True
    )


reviewer = create_agent(
    f"openai:{MODEL}", tools=[tool(read_file)], system_prompt=REVIEWER_INSTRUCTIONS, name="reviewer"
)


def ask_reviewer(request: str) -> str:
    """Ask the reviewer agent."""
    return reviewer.invoke({"messages": [("user", request)]})["messages"][-1].text


agent = create_agent(
    f"openai:{MODEL}",
    tools=[tool(ask_reviewer)] if DELEGATES else [tool(one) for one in TOOLS],
    system_prompt=INSTRUCTIONS,
    name="triage" if DELEGATES else "coder",
    checkpointer=InMemorySaver(),
)
for task in TASKS:
    print(agent.invoke({"messages": [("user", task)]}, CONFIG)["messages"][-1].text)
