"""Instances as tests have them, and a clock that goes when it is told to."""

from dataclasses import dataclass

from headgate_control.identity.instance import Instance

NOW = 1_790_000_000_000_000_000
SECOND = 1_000_000_000


@dataclass
class SetClock:
    """A clock that stands still until `now` is set; nanoseconds since the epoch."""

    now: int = NOW

    def __call__(self) -> int:
        """The time."""
        return self.now


def instance(name: str = "ai-1", **more: object) -> Instance:
    """An instance of a workflow, with whatever else is given."""
    told: dict[str, object] = {"workflow": "fix tests", "team": "payments", "user": "ada", **more}
    return Instance(
        instance_id=name,
        manifest_digest="sha256:0",
        root=name,
        state="created",
        created_unix_nano=NOW,
        **told,  # type: ignore[arg-type]
    )
