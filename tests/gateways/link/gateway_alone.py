"""A model gateway as a process of its own: `gateway_alone.py FOLDER PORT CONTROL PROVIDER`; SIGTERM ends it."""

import asyncio
import signal
import sys
from pathlib import Path

from headgate_gateways.link.address import ControlAddress
from headgate_gateways.model.upstream import Upstream
from headgate_gateways.process import GatewayConfig, run_model_gateway


async def serve(folder: Path, port: int, control: str, provider: str) -> None:
    """Until it is ended or killed."""
    upstream = Upstream(name="openai", kind="openai", base_url=f"{provider}/v1", api_key=lambda: "sk-the-gateways-own")
    config = GatewayConfig(
        name="remote",
        control=ControlAddress(url=control, token=lambda: "gateway"),
        folder=folder,
        host="127.0.0.1",
        port=port,
        upstreams={"openai": upstream},
    )
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await run_model_gateway(
        config,
        ready=lambda address: print("ready", address, flush=True),  # noqa: T201 - whoever started it waits for this
        stopping=stopping,
    )


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]))
