"""A stop or a pause: what it is about, who said so and why, until when."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from headgate_analytics.stitch import scope_of, session_key, trace_key
from headgate_processors.errors import ConfigError

Scope = Literal["instance", "session", "workflow", "team", "tool", "model", "identity", "mcp-server", "platform"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
Mode = Literal["stop", "pause"]
Key = tuple[Scope, str]
"""A scope and whose; that of the platform is `("platform", "")`."""

REASON_CHARS_MAX = 2_000
TARGET_CHARS_MAX = 512
TENANT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """`stop` denies new calls and cuts those that run; `pause` denies new ones and lets the others end.

    `epoch` is the number of the change that brought it: a later change has a higher one. `session_key` is the source's
    own key of the session that it names by its id.
    """

    stop_id: str
    key: Key
    mode: Mode
    reason: str
    author: str
    accepted_unix_nano: int
    epoch: int
    expires_unix_nano: int | None = None
    session_key: str | None = None

    def holds(self, at_unix_nano: int) -> bool:
        """Whether it has not expired."""
        return self.expires_unix_nano is None or at_unix_nano < self.expires_unix_nano


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a call is part of, as far as it is known: everything that a stop may be about.

    `lineage`: the instance and those that launched it, the nearest first. `session` is its own name of its session,
    `trace_id` the trace that it is part of. `identities`: the user and the credential.
    """

    lineage: Sequence[str] = ()
    session: str | None = None
    trace_id: str | None = None
    workflow: str | None = None
    team: str | None = None
    tool: str | None = None
    mcp_server: str | None = None
    provider: str | None = None
    model: str | None = None
    identities: Sequence[str] = ()

    def places(self) -> Iterator[Key]:
        """The keys of all stops that would be about it, the widest first."""
        yield "platform", ""
        for scope, target in (("team", self.team), ("workflow", self.workflow), ("mcp-server", self.mcp_server)):
            if target is not None:
                yield scope, target  # type: ignore[misc]
        for identity in self.identities:
            yield "identity", identity
        if self.model is not None:
            yield "model", f"{self.provider or ''}/{self.model}"
        if self.tool is not None:
            yield "tool", self.tool
            if self.mcp_server is not None:
                yield "tool", f"{self.mcp_server}/{self.tool}"
        for instance in self.lineage:
            yield "instance", instance
        yield from (("session", name) for name in self._sessions())

    def _sessions(self) -> Iterator[str]:
        """The session as its source names it, and by the ids that `sessions` may have it under."""
        if self.session is not None:
            yield self.session
            if self.lineage:
                yield session_key(TENANT, scope_of(self.lineage[0]), self.session).session_id
        elif self.trace_id is not None:
            yield self.trace_id
            yield trace_key(TENANT, self.trace_id).session_id


def parse_key(scope: str, target: str | None) -> Key:
    """A scope and its target as people write them.

    Raises:
        ConfigError: no such scope, a target is missing, or there is one where none belongs.
    """
    known = next((one for one in SCOPES if one == scope), None)
    if known is None:
        message = f"no scope {scope!r}: expected one of {', '.join(SCOPES)}"
        raise ConfigError(message)
    if known == "platform":
        if target:
            message = f"the platform has no id, but {target!r} was given: leave it out to stop everything"
            raise ConfigError(message)
        return known, ""
    if not target or len(target) > TARGET_CHARS_MAX:
        message = f"which {scope}? Say its id after the scope, of {TARGET_CHARS_MAX} characters at most"
        raise ConfigError(message)
    if known == "model" and "/" not in target:
        message = f"a model is named with its provider, such as openai/{target}"
        raise ConfigError(message)
    return known, target
