"""Record a real agent: `python -m headgate_processors.testing.recorder record langgraph-openinference multi_step`."""

import argparse
import sys
from pathlib import Path

from headgate_processors.errors import HeadgateError
from headgate_processors.testing.model_server import load_scenario, scenario_names
from headgate_processors.testing.recorder.agents import agent_names, load_agent
from headgate_processors.testing.recorder.install import install, versions
from headgate_processors.testing.recorder.record import record

_AGENTS = Path("tests/recordings/recorder")
_PREFIXES = Path("build/agents")


def main() -> int:
    """Do what the arguments say."""
    chosen = _parser().parse_args()
    try:
        return int(chosen.do(chosen))
    except HeadgateError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="recorder", description=__doc__)
    parser.add_argument("--agents", type=Path, default=_AGENTS, help=f"folder with agents/ and scripts/ ({_AGENTS})")
    parser.add_argument("--prefixes", type=Path, default=_PREFIXES, help=f"where agents are installed ({_PREFIXES})")
    commands = parser.add_subparsers(required=True)
    listed = commands.add_parser("list", help="agents and scenarios")
    listed.set_defaults(do=_list)
    locked = commands.add_parser("lock", help="install an agent anew and print the versions that it got")
    locked.add_argument("agent")
    locked.set_defaults(do=_lock)
    recorded = commands.add_parser("record", help="run an agent and write a recording")
    recorded.add_argument("agent")
    recorded.add_argument("scenario", help="a name, or a YAML file")
    recorded.add_argument("--out", type=Path, default=Path("recordings"), help="the recording goes to OUT/AGENT")
    recorded.set_defaults(do=_record)
    return parser


def _list(chosen: argparse.Namespace) -> int:
    for name in agent_names(chosen.agents):
        _say(f"{name:<28}{load_agent(chosen.agents, name).about}")
    _say(f"scenarios: {', '.join(scenario_names())}")
    return 0


def _lock(chosen: argparse.Namespace) -> int:
    agent = load_agent(chosen.agents, chosen.agent)
    loose = agent.model_copy(update={"lock": None})
    sys.stdout.write(versions(agent, install(loose, chosen.prefixes / "unlocked")))
    return 0


def _record(chosen: argparse.Namespace) -> int:
    agent = load_agent(chosen.agents, chosen.agent)
    scenario = load_scenario(chosen.scenario)
    prefix = install(agent, chosen.prefixes)
    name = Path(chosen.scenario).stem
    done = record(agent, scenario, name=name, prefix=prefix, out=chosen.out / agent.name)
    totals = done.totals
    _say(f"{done.path}: {len(done.requests)} requests of the agent, which ran {done.ran.duration_s:.1f} s")
    _say(
        f"truth: {totals.model_calls} model calls ({totals.refused} refused, {totals.broken} broken),"
        f" {totals.tool_calls} tool calls, {totals.usage.input_tokens} tokens in, {totals.usage.output_tokens} out"
    )
    if done.ran.failed:
        why = "did not end in time" if done.ran.timed_out else f"ended with exit code {done.ran.exit_code}"
        sys.stderr.write(f"{done.ran.output}\n{agent.name} {why}\n")
        return 1
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
