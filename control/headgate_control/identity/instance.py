"""An agent instance: the durable record of one launch, and how it is written down."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

from headgate_control.fields import known, written

State = Literal["created", "running", "stopped", "ended", "revoked"]
LIVING: frozenset[State] = frozenset({"created", "running"})

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """Who started what, for whom, on what, under which manifest. Times are nanoseconds since the epoch.

    `root` is the first of its line, itself where it has no `parent`. `restart_of` names the instance whose work it
    takes up again. Nothing but `state` and `expires_unix_nano` ever changes.
    """

    instance_id: str
    manifest_digest: str
    root: str
    state: State
    created_unix_nano: int
    expires_unix_nano: int | None = None
    tenant: str = "default"
    launched_by: str | None = None
    user: str | None = None
    team: str | None = None
    workflow: str | None = None
    repo: str | None = None
    resource: str | None = None
    environment: str | None = None
    task_class: str | None = None
    risk_tier: str | None = None
    policy_profile: str | None = None
    runtime: str | None = None
    parent: str | None = None
    restart_of: str | None = None

    def is_living(self, at_unix_nano: int) -> bool:
        """Whether it may act at this time."""
        over = self.expires_unix_nano is not None and self.expires_unix_nano <= at_unix_nano
        return self.state in LIVING and not over

    def with_state(self, state: State) -> Self:
        """The same in another state."""
        return replace(self, state=state)

    def written(self) -> dict[str, object]:
        """Its fields as JSON has them."""
        return written(self)

    @classmethod
    def read(cls, body: Mapping[str, object]) -> Self:
        """The instance of a record."""
        return cls(**known(cls, body))

    def properties(self) -> dict[str, object]:
        """What policies may know of it."""
        return {name: value for name, value in self.written().items() if name != "instance_id"}


def new_id(prefix: str, *, at_ms: int | None = None) -> str:
    """A ULID behind a prefix: ids that sort by the time they were made. `ai-01KB…` is an instance."""
    moment = time.time_ns() // 1_000_000 if at_ms is None else at_ms
    number = (moment << 80) | secrets.randbits(80)
    return f"{prefix}-" + "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
