"""Runs real agents against a scripted model, and records the OpenTelemetry that they send beside what was true."""

from headgate_processors.testing.recorder.agents import Agent, agent_names, load_agent
from headgate_processors.testing.recorder.install import InstallError, install
from headgate_processors.testing.recorder.record import Recorded, record
from headgate_processors.testing.recorder.run import Endpoints, Ran, run_agent
from headgate_processors.testing.recorder.sink import OtlpSink

__all__ = [
    "Agent",
    "Endpoints",
    "InstallError",
    "OtlpSink",
    "Ran",
    "Recorded",
    "agent_names",
    "install",
    "load_agent",
    "record",
    "run_agent",
]
