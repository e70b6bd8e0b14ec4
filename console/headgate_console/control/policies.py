"""The policies of a running control: what lies in their folder is decided by in a second, and journalled."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from headgate_console.control.parts import Parts
from headgate_control.policy.engine import PolicyEngine
from headgate_control.policy.watch import PolicyFolder, follow

if TYPE_CHECKING:
    from headgate_console.settings import Settings

_LOG = logging.getLogger("control")


@asynccontextmanager
async def following(settings: "Settings", parts: Parts) -> AsyncIterator[None]:
    """Follow the folder of policies, if there is one: a change that is good is decided by within a second."""
    if settings.policy.dir is None:
        yield
        return

    def use(engine: PolicyEngine) -> None:
        bundle = engine.bundle
        parts.room.state.use_policy(engine)
        parts.policies.use(bundle)
        _LOG.warning("the policies that changed are decided by: %d, %s", len(bundle.policies), bundle.digest)

    folder = PolicyFolder(settings.policy.dir, _LOG.error, looked=parts.policies.refused)
    task = asyncio.create_task(follow(folder, use))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
