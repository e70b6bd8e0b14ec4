"""AutoGen."""

import asyncio

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import MaxMessageTermination, TextMentionTermination
from autogen_agentchat.teams import Swarm
from autogen_agentchat.ui import Console
from autogen_ext.models.openai import OpenAIChatCompletionClient
from workspace import DELEGATES, INSTRUCTIONS, MODEL, REVIEWER_INSTRUCTIONS, TASKS, TOOLS, TURNS_MAX, read_file

ABILITIES = {
    "vision": False,
    "function_calling": True,
    "json_output": True,
    "family": "gpt-5",
    "structured_output": True,
}
model = OpenAIChatCompletionClient(model=MODEL, model_info=ABILITIES)


def team() -> AssistantAgent | Swarm:
    """One agent, or two of which the first hands over."""
    if not DELEGATES:
        return AssistantAgent(
            "coder", model, tools=list(TOOLS), system_message=INSTRUCTIONS, max_tool_iterations=TURNS_MAX
        )
    triage = AssistantAgent("triage", model, handoffs=["reviewer"], system_message="Hand off.")
    reviewer = AssistantAgent(
        "reviewer", model, tools=[read_file], system_message=REVIEWER_INSTRUCTIONS, reflect_on_tool_use=True
    )
    ends = MaxMessageTermination(6) | TextMentionTermination("Review finished")
    return Swarm([triage, reviewer], termination_condition=ends)


async def main() -> None:
    """Every task in turn."""
    agents = team()
    for task in TASKS:
        await Console(agents.run_stream(task=task))


asyncio.run(main())
