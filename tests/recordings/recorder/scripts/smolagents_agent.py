"""smolagents' agent that calls tools."""

import workspace
from smolagents import OpenAIModel, ToolCallingAgent, tool


@tool
def read_file(path: str) -> str:
    """Read a text file of the workspace.

    Args:
        path: file path
    """
    return workspace.read_file(path)


@tool
def edit_file(path: str, old: str, new: str) -> str:
    """Replace the text old by new in a file.

    Args:
        path: file path
        old: text that is there
        new: text that shall be there
    """
    return workspace.edit_file(path, old, new)


@tool
def run_tests(target: str) -> str:
    """Run the tests.

    Args:
        target: test file
    """
    return workspace.run_tests(target)


model = OpenAIModel(model_id=workspace.MODEL)
if workspace.DELEGATES:
    reviewer = ToolCallingAgent(
        tools=[read_file], model=model, name="reviewer", description="reviews code", max_steps=6
    )
    agent = ToolCallingAgent(tools=[], model=model, managed_agents=[reviewer], max_steps=6)
else:
    agent = ToolCallingAgent(
        tools=[read_file, edit_file, run_tests],
        model=model,
        max_steps=workspace.TURNS_MAX,
        name="coder",
        description="codes",
    )
for at, task in enumerate(workspace.TASKS):
    print(agent.run(task, reset=at == 0))
