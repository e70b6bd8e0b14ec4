"""The golden cases through `headgate hook`, as Claude Code runs it before each tool."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headgate_console.control.surroundings import HOOK_KEY, HOOK_URL
from headgate_control.policy.bundle import load_bundle
from headgate_control.policy.cases import Case, load_cases
from headgate_control.policy.engine import PolicyEngine
from headgate_control.policy.trial import decided, setting
from headgate_control.server.claude_code import answer, parse_hook
from headgate_control.testing.golden import AGENT, GoldenSite, hook_of, named, verdict

GOLDEN = Path(__file__).parents[1] / "control" / "golden"
ENGINE = PolicyEngine(load_bundle(GOLDEN))
CASES = [case for file in load_cases(GOLDEN).values() for case in file.cases if hook_of(case) is not None]


@pytest.fixture
def site(tmp_path: Path, case: Case) -> Iterator[GoldenSite]:
    """Control in the state of the case."""
    with closing(GoldenSite(tmp_path, setting(case, ENGINE))) as made:
        yield made


async def run(site: GoldenSite, call: Mapping[str, Any] | None) -> tuple[int | None, bytes]:
    """Status and output of the command for the call of a tool."""
    async with site.served() as address:
        environment = {**os.environ, HOOK_URL: f"{address}/hooks/claude-code", HOOK_KEY: AGENT}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "headgate_console",
            "hook",
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate(json.dumps(call).encode())
        return process.returncode, output


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_command_says_the_same(site: GoldenSite, case: Case) -> None:
    """On its output and with 0, for 2 is for faults of its own; the row is that of the last that the tool asks for."""
    call = hook_of(case)
    asked = [replace(site.tried, request=one) for one in parse_hook(call, site.tried.request.subject)]
    made = [decided(one) for one in asked]
    status, output = asyncio.run(run(site, call))
    assert (0, answer([one.decision for one in made])) == (status, json.loads(output))
    assert verdict(made[-1]) == site.row()
