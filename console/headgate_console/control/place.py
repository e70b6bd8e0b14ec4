"""Where control keeps what is its own in the data folder, and where it says that it listens."""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headgate_control.policy.kept import FOLDER as POLICIES
from headgate_processors.files import write_whole

FOLDER = "control"
ADMIN_FILE = "admin.token"
CALLS = "calls.bin"
SIGNING = "keys"
WRITER = "control"
_OTHERS = 0o077


def certificate_name(name: str) -> str:
    """The name under which the file of addresses has the certificate of a listener."""
    return f"{name}_certificate"


def exposure(secret: Path) -> str | None:
    """What is wrong with who may read a file that is its owner's alone; None where that is right, or there is none."""
    try:
        mode = stat.S_IMODE(secret.stat().st_mode)
    except OSError:
        return None
    if os.name != "posix" or not mode & _OTHERS:
        return None
    return f"{secret} is readable or writable by others than its owner ({mode:04o}), who may command then: chmod 600"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The files of control in a data folder."""

    data: Path

    @property
    def folder(self) -> Path:
        """All of control's own."""
        return self.data / FOLDER

    @property
    def database(self) -> Path:
        """Control state, where it is in a file."""
        return self.folder / "control.sqlite"

    @property
    def logs(self) -> Path:
        """The chains of decisions and budgets."""
        return self.folder / "log"

    @property
    def policies(self) -> Path:
        """The texts of the policies that were decided by."""
        return self.folder / POLICIES

    @property
    def registry(self) -> Path:
        """Who the agents are, for the receiver."""
        return self.folder / "registry.json"

    @property
    def calls(self) -> Path:
        """The calls that run, for the process after this one."""
        return self.folder / CALLS

    @property
    def admin_token(self) -> Path:
        """The token of whoever may command."""
        return self.data / ADMIN_FILE

    @property
    def _addresses(self) -> Path:
        return self.folder / "addresses.json"

    def tell(self, addresses: Mapping[str, str]) -> None:
        """Say where control and its gateways listen: `HOST:PORT` by name."""
        write_whole(self._addresses, json.dumps(dict(addresses)).encode())

    def url(self, name: str) -> str | None:
        """Where something that speaks HTTP is, such as `https://127.0.0.1:7410`; None while it was never started."""
        told = self.addresses()
        if name not in told:
            return None
        return f"{'https' if certificate_name(name) in told else 'http'}://{told[name]}"

    def addresses(self) -> Mapping[str, str]:
        """Where they listen, or did; nothing while control was never started here."""
        try:
            found = json.loads(self._addresses.read_bytes())
        except (OSError, ValueError):
            return {}
        return {str(name): str(address) for name, address in found.items()} if isinstance(found, dict) else {}
