"""What a preparer is made of: files and folders, named in a value that can be handed to another process."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from headgate_processors.dialects.content import ContentIndex, ContentReader
from headgate_processors.dialects.normalise import Normaliser
from headgate_processors.dialects.table import load_dialects
from headgate_processors.enrich.actions import ActionRules
from headgate_processors.enrich.hashing import HashKey
from headgate_processors.enrich.identity import FileRegistry, Registry
from headgate_processors.enrich.redact import RedactionRules, Redactor
from headgate_processors.enrich.served import ServedRegistry
from headgate_processors.otlp import decode, decode_together
from headgate_processors.workers.local import LocalPreparer


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparerConfig:
    """Where the rules are: `folder` has the key of hashes; None means the packaged rules alone, or nobody known.

    `served` is where control writes who it has registered.
    """

    folder: Path
    registry: Path | None = None
    served: Path | None = None
    dialects: Path | None = None
    redaction: Path | None = None
    actions: Path | None = None

    def written(self) -> dict[str, str | None]:
        """The configuration as JSON holds it, with paths that hold in any working folder."""
        named = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: None if path is None else str(path.resolve()) for name, path in named.items()}

    @classmethod
    def read(cls, written: Mapping[str, str | None]) -> Self:
        """What `written` gave."""
        return cls(**{name: None if text is None else Path(text) for name, text in written.items()})  # type: ignore[arg-type]


def build_preparer(config: PreparerConfig) -> LocalPreparer:
    """A preparer of this process, with the Python decoder.

    Raises:
        ConfigError: the registry, a table, a rule or the key is wrong.
    """
    normaliser = build_normaliser(
        config.folder,
        registry=build_registry(config.registry, config.served),
        dialects=config.dialects,
        redaction=config.redaction,
        actions=config.actions,
    )
    return LocalPreparer(decoder=decode, group_decoder=decode_together, normaliser=normaliser)


def build_registry(file: Path | None, served: Path | None) -> Registry:
    """Who is known: those of a file, those that control serves, or nobody.

    Raises:
        ConfigError: the file is missing or wrong.
    """
    if served is not None:
        return ServedRegistry.load(served, file)
    return FileRegistry.load(file) if file is not None else FileRegistry.empty()


def build_normaliser(
    folder: Path,
    *,
    registry: Registry,
    dialects: Path | None = None,
    redaction: Path | None = None,
    actions: Path | None = None,
) -> Normaliser:
    """A normaliser with the packaged tables and a site's own, hashing with the key of `folder`.

    Raises:
        ConfigError: a table or the key is wrong.
    """
    book = load_dialects(dialects)
    rules = RedactionRules.load(redaction)
    reader = ContentReader(
        key=HashKey.load_or_create(folder), redactor=Redactor(rules), actions=ActionRules.load(actions)
    )
    return Normaliser(
        book=book,
        index=ContentIndex(book.content),
        reader=reader,
        secrets=Redactor(rules.only("secret")),
        registry=registry,
    )
