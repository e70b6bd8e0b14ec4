"""A folder of policies that changes: a good bundle replaces the old one, a bad one is told of and replaces nothing."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from headgate_control.policy.engine import PolicyEngine
from headgate_control.policy.watch import PolicyFolder, follow
from headgate_processors.errors import ConfigError

PERMIT = '@id("all") permit(principal, action, resource);'
FORBID = '@id("no") forbid(principal, action, resource);'
Complaints = list[str]
Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of the folder as editors do: beside it, then renamed."""

    def written(text: str, name: str = "a.cedar") -> None:
        beside = tmp_path / f"{name}.tmp"
        beside.write_text(text)
        beside.rename(tmp_path / name)

    written(PERMIT)
    return written


def ids(engine: PolicyEngine | None) -> list[str] | None:
    """The policies of an engine."""
    return None if engine is None else sorted(engine.bundle.policies)


def test_a_change_is_taken_once_it_is_settled(tmp_path: Path, write: Write) -> None:
    """At the second look that sees the same; the engine that was given out goes on as it was."""
    folder = PolicyFolder(tmp_path, print)
    first = folder.engine
    assert [None, None] == [folder.look(), folder.look()]
    write(FORBID, "b.cedar")
    assert [None, ["all", "no"], None] == [ids(folder.look()) for _ in range(3)]
    assert (["all"], ["all", "no"]) == (ids(first), ids(folder.engine))


def test_a_folder_that_is_still_being_written_is_left_alone(tmp_path: Path, write: Write) -> None:
    """So that no permit is used before the forbid that comes with it."""
    folder = PolicyFolder(tmp_path, print)
    for place in range(3):
        write(PERMIT.replace("all", f"p{place}"), f"p{place}.cedar")
        assert folder.look() is None
    assert ["all", "p0", "p1", "p2"] == ids(folder.look())


def test_a_bad_bundle_is_told_of_once_and_replaces_nothing(tmp_path: Path, write: Write) -> None:
    """Until it is changed again."""
    told: Complaints = []
    folder = PolicyFolder(tmp_path, told.append)
    write("nonsense")
    assert [None] * 4 == [folder.look() for _ in range(4)]
    assert (1, ["all"]) == (len(told), ids(folder.engine))
    assert "a.cedar" in told[0]
    write("more nonsense")
    assert [None] * 3 == [folder.look() for _ in range(3)]
    write(FORBID)
    assert (2, [None, ["no"]]) == (len(told), [ids(folder.look()) for _ in range(2)])


def test_a_folder_that_is_gone_replaces_nothing(tmp_path: Path, write: Write) -> None:
    """Nor does one whose policies have all been taken out, unless it is really empty: that denies all."""
    told: Complaints = []
    folder = PolicyFolder(tmp_path, told.append)
    away = tmp_path.with_name("away")
    tmp_path.rename(away)
    assert [None] * 3 == [folder.look() for _ in range(3)]
    assert (1, ["all"]) == (len(told), ids(folder.engine))
    away.rename(tmp_path)
    (tmp_path / "a.cedar").unlink()
    assert [None, []] == [ids(folder.look()) for _ in range(2)]


def test_what_says_the_same_is_nothing_new(tmp_path: Path, write: Write) -> None:
    """A file that was only touched, or written over with itself."""
    folder = PolicyFolder(tmp_path, print)
    os.utime(tmp_path / "a.cedar", ns=(1, 1))
    assert [None] * 3 == [folder.look() for _ in range(3)]
    write(PERMIT + "\n// a comment\n")
    assert [None] * 3 == [folder.look() for _ in range(3)]


def test_a_folder_that_is_wrong_from_the_start_is_an_error(tmp_path: Path, write: Write) -> None:
    """There is no good bundle to stay with."""
    write("nonsense")
    with pytest.raises(ConfigError, match=r"a\.cedar"):
        PolicyFolder(tmp_path, print)


def test_a_running_control_follows_its_folder(tmp_path: Path, write: Write) -> None:
    """Until it is told to end."""

    async def followed() -> list[list[str] | None]:
        used: list[list[str] | None] = []
        changed = asyncio.Event()

        def use(engine: PolicyEngine) -> None:
            used.append(ids(engine))
            changed.set()

        task = asyncio.create_task(follow(PolicyFolder(tmp_path, print), use, interval_s=0.001))
        write(FORBID)
        await asyncio.wait_for(changed.wait(), 20)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return used

    assert [["no"]] == asyncio.run(followed())
