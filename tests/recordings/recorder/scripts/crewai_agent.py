"""CrewAI."""

import workspace
from crewai import LLM, Agent, Crew, Process, Task
from crewai.tools import tool

read_file, edit_file, run_tests = (tool(one.__name__)(one) for one in workspace.TOOLS)
model = LLM(model=f"openai/{workspace.MODEL}")
coder = Agent(
    role="coder",
    goal="fix bugs",
    backstory=workspace.INSTRUCTIONS,
    llm=model,
    tools=[read_file, edit_file, run_tests],
    max_iter=workspace.TURNS_MAX,
)
triage = Agent(role="triage", goal="route reviews", backstory="router", llm=model, allow_delegation=True)
reviewer = Agent(
    role="reviewer", goal="review code", backstory=workspace.REVIEWER_INSTRUCTIONS, llm=model, tools=[read_file]
)
agents = [triage, reviewer] if workspace.DELEGATES else [coder]
for text in workspace.TASKS:
    task = Task(description=text, expected_output="a summary", agent=agents[0])
    print(Crew(agents=agents, tasks=[task], process=Process.sequential).kickoff())
