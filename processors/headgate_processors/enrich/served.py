"""The registry of a file together with what control serves: its instances and its directory, as they are now."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import Field

from headgate_processors.credentials.watched import WatchedFile
from headgate_processors.documents import Document, read_document
from headgate_processors.enrich._registry_file import Instance, RegistryFile, Repo, Resource, User, Workflow
from headgate_processors.enrich.identity import FileRegistry, Identity
from headgate_processors.errors import ConfigError

LOOK_NS = 50_000_000


class Registered(Document):
    """What control writes: the record of each instance, and what its directory knows, by their ids."""

    version: int = 1
    instances: Mapping[str, Instance] = Field(default_factory=dict)
    users: Mapping[str, User] = Field(default_factory=dict)
    workflows: Mapping[str, Workflow] = Field(default_factory=dict)
    repos: Mapping[str, Repo] = Field(default_factory=dict)
    resources: Mapping[str, Resource] = Field(default_factory=dict)

    def under(self, base: RegistryFile) -> RegistryFile:
        """The registry of a file, with what it does not say itself."""
        sections = ("instances", "users", "workflows", "repos", "resources")
        return base.model_copy(update={name: {**getattr(self, name), **getattr(base, name)} for name in sections})


class ServedRegistry:
    """A `Registry` that follows control's file; it looks for another one every `LOOK_NS` at most.

    A file that cannot be read changes nothing: who was known stays known.
    """

    def __init__(self, path: Path, base: RegistryFile, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._path, self._base, self._clock = path, base, clock
        self._file = WatchedFile(path, Registered.model_validate_json, absent=Registered())
        self._seen: Registered | None = None
        self._looked_ns = 0
        self._registry = FileRegistry(base)

    def __reduce__(self) -> tuple[type["ServedRegistry"], tuple[Path, RegistryFile]]:
        """Another process looks at the file for itself."""
        return ServedRegistry, (self._path, self._base)

    @classmethod
    def load(cls, served: Path, file: Path | None) -> "ServedRegistry":
        """The registry of `file`, if there is one, with what control serves.

        Raises:
            ConfigError: the file is missing or wrong.
        """
        return cls(served, read_document(file, RegistryFile) if file is not None else RegistryFile())

    def resolve(
        self, resource: Mapping[str, object], *, agent_name: str | None, subject: str | None = None
    ) -> Identity:
        """As `Registry.resolve`."""
        now = self._clock()
        if now - self._looked_ns >= LOOK_NS or self._seen is None:
            self._looked_ns = now
            self._look()
        return self._registry.resolve(resource, agent_name=agent_name, subject=subject)

    def _look(self) -> None:
        try:
            found = self._file.value()
        except ConfigError:
            found = self._seen or Registered()
        if found is not self._seen:
            self._seen, self._registry = found, FileRegistry(found.under(self._base))
