"""How commands reach control: its address and the admin's token from the data folder, JSON over HTTP."""

import http.client
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from headgate_console.control.place import Place, certificate_name, exposure
from headgate_console.errors import CommandError
from headgate_processors.errors import ConfigError
from headgate_processors.receiver.tls import pinned

if TYPE_CHECKING:
    from headgate_console.settings import Settings

TIMEOUT_S = 30.0
_LOG = logging.getLogger("control")
OK = range(200, 300)
SILENT = 504


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlClient:
    """Asks control. Its own answers come back as they are; its errors are raised as sentences.

    `certificate`: the file of the one that control shows, where it speaks TLS.
    """

    address: str
    token: str = field(repr=False)
    certificate: Path | None = None

    def get(self, path: str, *names: str) -> Any:
        """The answer to a GET; `names` are put into the path, escaped.

        Raises:
            CommandError: control cannot be reached, or says no.
            ConfigError: what was asked for is wrong.
        """
        return self._asked("GET", path, names, None)[1]

    def post(self, path: str, *names: str, body: Mapping[str, object], method: str = "POST") -> Any:
        """The answer to a POST, as `get`."""
        return self._asked(method, path, names, body)[1]

    def command(self, path: str, body: Mapping[str, object]) -> tuple[bool, Any]:
        """The answer to a command that waits for enforcement points, and whether all of them have spoken."""
        status, answer = self._asked("POST", path, (), body)
        return status != SILENT, answer

    def _asked(self, method: str, path: str, names: tuple[str, ...], body: object) -> tuple[int, Any]:
        target = path.format(*(quote(name, safe="") for name in names))
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        connection = self._connection()
        try:
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            status, content = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            message = f"control does not answer at {self.address} ({error}). Start it: headgate up"
            raise CommandError(message) from error
        finally:
            connection.close()
        return status, _answer(status, content, self.address)

    def _connection(self) -> http.client.HTTPConnection:
        if self.certificate is None:
            return http.client.HTTPConnection(self.address, timeout=TIMEOUT_S)
        return http.client.HTTPSConnection(self.address, timeout=TIMEOUT_S, context=pinned(self.certificate))


def control_client(settings: "Settings") -> ControlClient:
    """The client of the control that runs on a data folder.

    Raises:
        CommandError: there is no token, because nothing was ever started there.
    """
    place = Place(data=settings.data)
    told = place.addresses()
    certificate = told.get(certificate_name("control"))
    try:
        token = place.admin_token.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        message = f"{place.admin_token} is not there: headgate up, with the same --data, makes it at its first start"
        raise CommandError(message) from None
    except OSError as error:
        message = f"{place.admin_token} cannot be read ({error.strerror}): who may read it, may command"
        raise CommandError(message) from error
    if not token.isascii() or not token.isprintable() or not token:
        message = f"{place.admin_token} holds no token: remove it, and the next start of headgate up makes it anew"
        raise CommandError(message)
    if (problem := exposure(place.admin_token)) is not None:
        _LOG.warning("headgate: %s", problem)
    return ControlClient(
        address=told.get("control") or settings.control.listen,
        token=token,
        certificate=None if certificate is None else Path(certificate),
    )


def _answer(status: int, content: bytes, address: str) -> Any:
    try:
        answer = json.loads(content)
    except ValueError as error:
        message = f"what answers at {address} is not control ({status})"
        raise CommandError(message) from error
    if status in OK or status == SILENT:
        return answer
    said = answer.get("error") if isinstance(answer, dict) else None
    if status == http.client.BAD_REQUEST:
        raise ConfigError(str(said))
    raise CommandError(str(said or f"control answered {status}"))
