"""Installs an agent into a folder of its own, once."""

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from headgate_processors.errors import HeadgateError
from headgate_processors.testing.recorder.agents import Agent

_INSTALL_S = 600.0
_STAMP = "installed"


class InstallError(HeadgateError):
    """A package manager failed; the message holds what it printed."""


def install(agent: Agent, root: Path) -> Path:
    """The folder that the agent is installed in, below `root`; what is there already, in these versions, is kept.

    Python packages go into a virtual environment and npm packages into `node_modules` beside it.

    Raises:
        InstallError: pip or npm failed.
    """
    prefix = root.resolve() / agent.name
    wanted = _fingerprint(agent)
    with _locked(root / f"{agent.name}.lock"):
        stamp = prefix / _STAMP
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
            shutil.rmtree(prefix, ignore_errors=True)
            prefix.mkdir(parents=True)
            _install(agent, prefix)
            stamp.write_text(wanted, encoding="utf-8")
    return prefix


def versions(agent: Agent, prefix: Path) -> str:
    """What is installed, one package a line."""
    lines: list[str] = []
    if agent.python:
        lines += _said([*_pip(prefix), "freeze"], prefix).splitlines()
    if agent.npm:
        lines += [f"{name}@{version}" for name, version in _node_modules(prefix)]
    return "\n".join(lines) + "\n"


def executables(prefix: Path) -> list[Path]:
    """Folders of what the packages can run."""
    return [prefix / "bin", prefix / "node_modules" / ".bin"]


def _install(agent: Agent, prefix: Path) -> None:
    if agent.python:
        _said([sys.executable, "-m", "venv", "--without-pip", str(prefix)], prefix)
        held = ["--constraint", str(agent.lock)] if agent.lock else []
        # Byte code is made of what is imported, when it is imported: most of these packages never is.
        _said([*_pip(prefix), "install", "--quiet", "--no-compile", *held, *agent.python], prefix)
    if agent.npm:
        package = {"name": "headgate-recorded-agent", "private": True, "dependencies": dict(agent.npm)}
        # Some agents are only a script until theirs has put the program into its place.
        package["allowScripts"] = dict.fromkeys(agent.npm, True)
        (prefix / "package.json").write_text(json.dumps(package), encoding="utf-8")
        npm = shutil.which("npm")
        if npm is None:
            message = f"{agent.name} comes from npm, and there is no npm here: install Node.js 22 or newer"
            raise InstallError(message)
        _said([npm, "install", "--no-audit", "--no-fund", "--loglevel=error"], prefix)


def _pip(prefix: Path) -> list[str]:
    python = prefix / "bin" / "python"
    return [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--no-input"]


def _said(command: Sequence[str], folder: Path) -> str:
    """Run a command; what it printed on standard output."""
    try:
        done = subprocess.run(  # noqa: S603
            command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        message = f"{' '.join(command)}: not done after {_INSTALL_S:.0f} s"
        raise InstallError(message) from error
    if done.returncode != 0:
        message = f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        raise InstallError(message)
    return done.stdout


def _node_modules(prefix: Path) -> Iterator[tuple[str, str]]:
    lock = json.loads((prefix / "package-lock.json").read_text(encoding="utf-8"))
    for where, package in sorted(lock["packages"].items()):
        if where and (prefix / where).exists():
            yield where.rpartition("node_modules/")[2], package["version"]


def _fingerprint(agent: Agent) -> str:
    held = agent.lock.read_bytes() if agent.lock else b""
    said = json.dumps([agent.python, dict(agent.npm), sys.version_info[:3], held.decode()])
    return hashlib.sha256(said.encode()).hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Only one process at a time installs an agent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
