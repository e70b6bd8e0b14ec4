"""Real agents, instrumented without a change of their code, through the real Collector: the views say what was true."""

from pathlib import Path
from typing import Any

import pytest

from headgate_processors.testing.model_server import ModelServer, load_scenario
from headgate_processors.testing.recorder import install, load_agent, run_agent

ROOT = Path(__file__).resolve().parents[2]
AGENTS = ROOT / "tests" / "recordings" / "recorder"
PREFIXES = ROOT / "build" / "agents"
RUNS = [
    ("claude-code", "multi_step"),
    ("claude-code", "parallel"),
    ("langgraph-openinference", "parallel"),
    ("openai-agents", "multi_step"),
    ("pydantic-ai", "provider_errors"),
]
ANSWERED = "model_calls WHERE operation <> 'embeddings' AND error_type IS NULL"
FIGURES = {
    "sessions": "SELECT count(*) FROM sessions",
    "model_calls": f"SELECT count(*) FROM {ANSWERED}",
    "tool_calls": "SELECT count(*) FROM tool_calls",
    "input_tokens": f"SELECT sum(input_tokens) FROM {ANSWERED}",
    "output_tokens": f"SELECT sum(output_tokens) FROM {ANSWERED}",
    "cache_read_tokens": f"SELECT coalesce(sum(cache_read_tokens), 0) FROM {ANSWERED}",
}
QUERY = "SELECT " + ", ".join(f"({query})::BIGINT AS {name}" for name, query in FIGURES.items())

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


@pytest.mark.parametrize(("name", "scenario_name"), RUNS)
def test_the_views_say_what_the_model_server_logged(name: str, scenario_name: str, deployment: Any) -> None:
    """Sessions, model calls, tool calls and tokens of an agent are those of the server that answered it."""
    agent, scenario = load_agent(AGENTS, name), load_scenario(scenario_name)
    prefix = install(agent, PREFIXES)
    variables = {"workspace": str(deployment.folder / "workspace")}
    with ModelServer(scenario, variables=variables) as model:
        ran = run_agent(
            agent, scenario, prefix=prefix, folder=deployment.folder, model=model, endpoints=deployment.endpoints
        )
        assert not ran.failed, ran.output
        totals = model.journal.totals()
    expected = {
        "sessions": 1,
        "model_calls": totals.model_calls,
        "tool_calls": totals.tool_calls,
        "input_tokens": totals.usage.input_tokens,
        "output_tokens": totals.usage.output_tokens,
        "cache_read_tokens": totals.usage.cache_read_tokens,
    }
    assert totals.model_calls > 1
    assert expected == deployment.eventually(QUERY, lambda found: found == expected)
