"""What is asked of control, in AuthZEN's words: a subject wants to do an action to a resource, in a context."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from headgate_control.manifests.globs import settled_path

ActionName = Literal[
    "model.call",
    "model.list",
    "tools/call",
    "resources/read",
    "net.connect",
    "proc.exec",
    "file.read",
    "file.write",
    "memory.read",
    "memory.write",
    "credential.use",
    "artifact.export",
    "agent.send",
    "instance.launch",
]


_PATHS: frozenset[ActionName] = frozenset({"file.read", "file.write", "artifact.export"})
_NOTHING: Mapping[str, object] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Who asks: `agent_instance` and its id; `properties` are what its record says."""

    type: str
    id: str
    properties: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What it is done to: `model` as `provider/model`, `tool`, `mcp_server`, `host` as `name:port`, `command`, …

    `properties` are what the enforcement point knows of it, such as the `server` of a tool.
    """

    type: str
    id: str
    properties: Mapping[str, object] = field(default_factory=dict)

    def text(self, name: str) -> str | None:
        """A property as text."""
        value = self.properties.get(name)
        return value if isinstance(value, str) else None

    def as_tool(self) -> "Resource":
        """The same with the server of a tool as a property, also where its id says it: `server/tool`."""
        if "server" not in self.properties:
            server, _, tool = self.id.partition("/")
            return replace(self, id=tool, properties={**self.properties, "server": server}) if server and tool else self
        own = self.id.removeprefix(f"{self.text('server')}/")
        return replace(self, id=own) if own and self.text("server") is not None else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question; `context` has what else is known, such as the `input` of a tool call."""

    subject: Subject
    action: ActionName
    resource: Resource
    context: Mapping[str, object] = field(default_factory=dict)

    @property
    def named(self) -> str:
        """What stops, policies and the log call the resource: the same for all that are the same.

        A tool of an MCP server is `server/tool`, a host in small letters, a path without `.`, `..` and doubled `/`.
        """
        name, server = self.resource.id, self.resource.text("server")
        if self.action == "tools/call":
            return name if server is None else f"{server}/{name}"
        if self.action == "net.connect":
            host, colon, port = name.rpartition(":")
            return f"{host.lower().removesuffix('.')}{colon}{port}"
        if self.action in _PATHS:
            settled = settled_path(name)
            return name if settled is None else settled.removeprefix("./") or "."
        return name

    @property
    def arguments(self) -> Mapping[str, object]:
        """The arguments of a tool call; empty when it has none."""
        found = self.context.get("input")
        return found if isinstance(found, Mapping) else _NOTHING
