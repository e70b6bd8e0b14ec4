"""OpenAI's Agents SDK."""

from agents import Agent, RunConfig, Runner, SQLiteSession, function_tool
from workspace import DELEGATES, INSTRUCTIONS, MODEL, REVIEWER_INSTRUCTIONS, TASKS, TOOLS, TURNS_MAX, read_file

reviewer = Agent(name="reviewer", instructions=REVIEWER_INSTRUCTIONS, tools=[function_tool(read_file)], model=MODEL)
if DELEGATES:
    agent = Agent(name="triage", instructions="Hand off reviews.", handoffs=[reviewer], model=MODEL)
else:
    agent = Agent(name="coder", instructions=INSTRUCTIONS, tools=[function_tool(one) for one in TOOLS], model=MODEL)
session = SQLiteSession("sess-42")
for task in TASKS:
    config = RunConfig(workflow_name="fix-bug", group_id="sess-42")
    print(Runner.run_sync(agent, task, max_turns=TURNS_MAX, session=session, run_config=config).final_output)
