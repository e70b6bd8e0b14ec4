"""The examination of control: policies that are refused, and who else may read the admin's token."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate_console.control.place import Place, exposure
from headgate_console.control.reading import reading
from headgate_console.doctor.finding import Finding, Level
from headgate_console.render.numbers import ago, plural
from headgate_control.policy.kept import in_use
from headgate_processors.errors import HeadgateError

if TYPE_CHECKING:
    from headgate_console.settings import Settings

TOPIC = "control"
_NS_PER_S = 1_000_000_000


def examine_control(settings: "Settings", *, now: datetime) -> list[Finding]:
    """Every check of control; nothing where it was never started."""
    place = Place(data=settings.data)
    found = list(_token(place.admin_token))
    if settings.control.database is not None or place.database.is_file():
        found += _policies(settings, now)
    return found


def _token(path: Path) -> Iterator[Finding]:
    if (problem := exposure(path)) is not None:
        yield Finding(
            topic=TOPIC,
            level=Level.WARNING,
            text=f"{problem}.",
            next_step=f"Remove {path.name} and start headgate up anew: there is another, and this one is revoked.",
        )


def _policies(settings: "Settings", now: datetime) -> Iterator[Finding]:
    try:
        with reading(settings) as store:
            nodes: Sequence[Any] = in_use(store)
    except (HeadgateError, ValueError) as error:
        yield Finding(topic=TOPIC, level=Level.WARNING, text=f"Control state cannot be read: {error}.")
        return
    for node in nodes:
        if refused := node["refused"]:
            since = datetime.fromtimestamp(refused["since_unix_nano"] // _NS_PER_S, UTC)
            yield Finding(
                topic=TOPIC,
                level=Level.WARNING,
                text=f"The policies of {node['node']} were changed {ago(since, now)} and are refused: "
                f"{plural(node['policies'], 'older one')} still decide.",
                next_step="Mend what is named, and see: headgate policy check",
                details=tuple(refused["problem"].splitlines()[:5]),
                rows=(dict(node),),
            )
