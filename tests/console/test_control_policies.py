"""A running control follows its folder of policies, and the journal knows what it decides by."""

import asyncio
import threading
from pathlib import Path

from headgate_console.control.parts import Parts, open_parts
from headgate_console.control.policies import following
from headgate_console.control.rounds import rounds
from headgate_console.settings.definition import PolicySettings, ReceiverSettings, Settings
from headgate_control.policy.kept import in_use
from headgate_processors.files import write_whole
from headgate_processors.testing.waiting import wait_until

PERMIT = '@id("all") permit(principal, action, resource);'
WRONG = '@id("all") permit(principal, action == Headgate::Action::"nope", resource);'


def test_every_change_of_the_folder_is_in_the_journal(tmp_path: Path) -> None:
    """Also one that is refused, and that it is mended: what a decision names can be looked up."""
    folder = tmp_path / "policies"
    folder.mkdir()
    file = folder / "a.cedar"
    file.write_text(PERMIT)
    settings = Settings(
        data=tmp_path / "data",
        policy=PolicySettings(dir=folder),
        receiver=ReceiverSettings(platform="127.0.0.1:1"),
    )

    async def steps(parts: Parts) -> None:
        stopping = threading.Event()
        async with following(settings, parts):
            task = asyncio.create_task(rounds(settings, parts, None, stopping))
            write_whole(file, WRONG.encode())
            await asyncio.to_thread(wait_until, lambda: in_use(parts.room.store)[0]["refused"] is not None)
            write_whole(file, PERMIT.replace("permit", "forbid").encode())
            await asyncio.to_thread(wait_until, lambda: in_use(parts.room.store)[0]["refused"] is None)
            stopping.set()
            await task

    with open_parts(settings) as parts:
        before = in_use(parts.room.store)[0]["digest"]
        asyncio.run(steps(parts))
        policy = parts.room.now.snapshot.policy
        actions = [event.action for event in parts.room.store.events() if event.kind == "policy_in_use"]
        assert policy is not None
        assert (["policy.use", "policy.refuse", "policy.use"], policy.bundle.digest, True) == (
            actions,
            in_use(parts.room.store)[0]["digest"],
            policy.bundle.digest != before,
        )
