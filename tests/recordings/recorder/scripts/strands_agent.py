"""Strands Agents, whose instrumentation is its own."""

from strands import Agent, tool
from strands.models.openai import OpenAIModel
from workspace import INSTRUCTIONS, MODEL, TASKS, TOOLS

agent = Agent(
    model=OpenAIModel(model_id=MODEL),
    name="coder",
    system_prompt=INSTRUCTIONS,
    tools=[tool(one) for one in TOOLS],
    callback_handler=None,
    trace_attributes={"session.id": "sess-42"},
)
for task in TASKS:
    print(agent(task))
