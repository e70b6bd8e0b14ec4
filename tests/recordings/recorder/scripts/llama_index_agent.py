"""LlamaIndex's agent over functions."""

import asyncio

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.workflow import Context
from llama_index.llms.openai import OpenAI
from workspace import INSTRUCTIONS, MODEL, TASKS, TOOLS


async def main() -> None:
    """Every task in one context."""
    agent = FunctionAgent(name="coder", tools=list(TOOLS), llm=OpenAI(model=MODEL), system_prompt=INSTRUCTIONS)
    context = Context(agent)
    for task in TASKS:
        print(await agent.run(task, ctx=context))


asyncio.run(main())
