"""A model gateway of its own, from the settings of this machine and what its command says."""

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate_console.control.listening import model_door
from headgate_console.control.parts import classes_of, foreign_tokens_of, routing_of, unpriced_of, upstreams_of
from headgate_console.control.place import CALLS
from headgate_console.serve.lifeline import log_to_stderr
from headgate_console.serve.receive import allow_files
from headgate_gateways.link.address import ControlAddress
from headgate_gateways.model.provider_keys import key_source
from headgate_gateways.model.telling import Silent, Teller, Telling
from headgate_gateways.model.unfinished import Unfinished
from headgate_gateways.process import GatewayConfig, run_model_gateway
from headgate_processors.errors import ConfigError
from headgate_processors.receiver.addresses import is_loopback, parsed_address

if TYPE_CHECKING:
    from headgate_console.settings import Settings

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteGateway:
    """What the command says; `otlp` None tells nobody of calls. Past this machine it is told with TLS."""

    control: str
    token_file: Path
    name: str
    folder: Path
    otlp: str | None = None
    ca_file: Path | None = None


def run(settings: "Settings", remote: RemoteGateway, *, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        ConfigError: an address, a file or an upstream is wrong, or it cannot listen.
        StoreError: another process has its folder.
    """
    log_to_stderr()
    allow_files()
    if not remote.token_file.is_file():
        message = f"--token-file: {remote.token_file} is no file: headgate token create --role gateway --file makes one"
        raise ConfigError(message)
    if remote.otlp is None:
        _LOG.warning("without --otlp no store is told of calls and decisions: %s/log alone has them", remote.folder)
    token = key_source(f"file:{remote.token_file}")
    door = model_door(settings)
    config = GatewayConfig(
        name=remote.name,
        control=ControlAddress(url=remote.control, token=token, ca_file=remote.ca_file),
        folder=remote.folder,
        host=door.host,
        port=door.port,
        tls=door.context,
        upstreams=upstreams_of(settings),
        prices=settings.prices.overrides,
        unpriced=unpriced_of(settings),
        routing=routing_of(settings),
        classes=classes_of(settings),
        foreign=foreign_tokens_of(settings),
    )
    with ExitStack() as stack:
        teller: Teller = Silent()
        unfinished = Unfinished.open(remote.folder / CALLS) if remote.otlp is not None else None
        if remote.otlp is not None:
            telling = Telling.for_endpoint(
                remote.otlp,
                token(),
                _channel(remote.otlp, remote.ca_file),
                unfinished=unfinished,
            )
            teller = stack.enter_context(closing(telling))
        asyncio.run(_run(config, teller, unfinished, ready))


def _channel(otlp: str, ca_file: Path | None) -> dict[str, Any]:
    """With TLS past this machine, by the authority of the file, or those that gRPC knows."""
    import grpc  # noqa: PLC0415 - a gateway that tells nobody does without.

    if is_loopback(parsed_address(otlp, setting="--otlp")[0]):
        return {"insecure": True}
    authorities = ca_file.read_bytes() if ca_file is not None else None
    return {"insecure": False, "credentials": grpc.ssl_channel_credentials(authorities)}


async def _run(
    config: GatewayConfig, teller: Teller, unfinished: Unfinished | None, ready: Callable[[str], None]
) -> None:
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await run_model_gateway(config, ready=ready, stopping=stopping, teller=teller, unfinished=unfinished)
