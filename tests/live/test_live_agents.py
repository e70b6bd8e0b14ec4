"""Real agents, instrumented without a change of their code, through the real Collector: the views say what was true."""

from pathlib import Path
from typing import Any

import pytest

from headgate_processors.testing.model_server import ModelServer, Totals, load_scenario
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
# OpenInference leaves out what was written to a cache, Anthropic tells no reasoning: silence is 0 here.
FIGURES = {
    "sessions": "SELECT count(*) FROM sessions",
    "model_calls": "SELECT count(*) FROM answered",
    "tool_calls": "SELECT count(*) FROM tool_calls",
    "input_tokens": "SELECT sum(input_tokens) FROM answered",
    "output_tokens": "SELECT sum(output_tokens) FROM answered",
    "cache_read_tokens": "SELECT coalesce(sum(cache_read_tokens), 0) FROM answered",
    "cache_write_tokens": "SELECT coalesce(sum(cache_write_tokens), 0) FROM answered",
    "reasoning_tokens": "SELECT coalesce(sum(reasoning_tokens), 0) FROM answered",
    "spans_without_their_parent": (
        "SELECT count(*) FROM spans WHERE parent_span_id IS NOT NULL"
        " AND parent_span_id NOT IN (SELECT span_id FROM spans)"
    ),
}
SILENT = {"langgraph-openinference": {"cache_write_tokens"}}
QUERY = (
    "WITH answered AS (FROM model_calls WHERE operation <> 'embeddings' AND error_type IS NULL) SELECT "
    + ", ".join(f"({query})::BIGINT AS {name}" for name, query in FIGURES.items())
)

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


def truth(totals: Totals, silent: set[str]) -> dict[str, int]:
    """The figures that the views must have, from the journal of the model server."""
    usage = totals.usage
    figures = {
        "sessions": 1,
        "model_calls": totals.model_calls,
        "tool_calls": totals.tool_calls,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "spans_without_their_parent": 0,
    }
    return {name: 0 if name in silent else value for name, value in figures.items()}


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
    expected = truth(totals, SILENT.get(name, set()))
    assert totals.model_calls > 1
    assert expected == deployment.eventually(QUERY, lambda found: found == expected)
