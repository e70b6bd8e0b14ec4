"""A scripted model provider: OpenAI's and Anthropic's APIs, answers from a scenario, and a journal: the truth."""

from headgate_processors.testing.model_server.journal import Exchange, Journal, ToolCall, Totals
from headgate_processors.testing.model_server.scenario import (
    Call,
    Fault,
    Scenario,
    Turn,
    load_scenario,
    parsed_scenario,
    scenario_names,
)
from headgate_processors.testing.model_server.server import ModelServer
from headgate_processors.testing.model_server.usage import Usage

__all__ = [
    "Call",
    "Exchange",
    "Fault",
    "Journal",
    "ModelServer",
    "Scenario",
    "ToolCall",
    "Totals",
    "Turn",
    "Usage",
    "load_scenario",
    "parsed_scenario",
    "scenario_names",
]
