"""PydanticAI, whose instrumentation is its own and one documented call away."""

from collections.abc import Callable
from functools import wraps

from pydantic_ai import Agent, ModelRetry
from workspace import DELEGATES, INSTRUCTIONS, MODEL, REVIEWER_INSTRUCTIONS, TASKS, TOOLS, read_file

Agent.instrument_all()


def told(function: Callable[..., str]) -> Callable[..., str]:
    """A tool that tells the model of its errors."""

    @wraps(function)
    def tool(**arguments: str) -> str:
        try:
            return function(**arguments)
        except RuntimeError as error:
            raise ModelRetry(str(error)) from error

    return tool


reviewer = Agent(f"openai:{MODEL}", name="reviewer", instructions=REVIEWER_INSTRUCTIONS, tools=[read_file])


async def ask_reviewer(request: str) -> str:
    """Ask the reviewer agent."""
    return (await reviewer.run(request)).output


if DELEGATES:
    agent = Agent(f"openai:{MODEL}", name="triage", instructions="Delegate reviews.", tools=[ask_reviewer])
else:
    tools = [told(one) for one in TOOLS]
    agent = Agent(f"openai:{MODEL}", name="coder", instructions=INSTRUCTIONS, tools=tools, retries=10)
history = []
for task in TASKS:
    result = agent.run_sync(task, message_history=history, conversation_id="sess-42")
    history = result.all_messages()
    print(result.output)
