"""Manifests and profiles from files."""

from collections.abc import Mapping
from pathlib import Path

from headgate_control.manifests.grant import Grant, resolved
from headgate_control.manifests.spec import ManifestFile
from headgate_processors.documents import parse_document, read_document
from headgate_processors.errors import ConfigError

PROFILES_MAX = 10_000


def load_manifest(path: Path, profiles: Mapping[str, ManifestFile]) -> Grant:
    """The manifest or profile of a file with all that it inherits.

    Raises:
        ConfigError: the file is missing or wrong (it names file, line and key), or a profile is.
    """
    file = read_document(path, ManifestFile)
    try:
        return resolved(file, profiles)
    except ConfigError as error:
        message = f"{path}: {error}"
        raise ConfigError(message) from error


def parse_manifest(text: str, profiles: Mapping[str, ManifestFile], *, source: str) -> Grant:
    """As `load_manifest`, from text that `source` names in errors."""
    return resolved(parse_document(text, ManifestFile, source=source), profiles)


def load_profiles(folder: Path | None) -> dict[str, ManifestFile]:
    """Every profile of a folder, by name; none where there is no folder.

    Raises:
        ConfigError: a file is wrong, or two profiles have one name.
    """
    found: dict[str, ManifestFile] = {}
    places: dict[str, Path] = {}
    paths = sorted(folder.glob("*.yaml")) if folder is not None and folder.is_dir() else []
    if len(paths) > PROFILES_MAX:
        message = f"{folder}: {len(paths)} files; {PROFILES_MAX} profiles are allowed"
        raise ConfigError(message)
    for path in paths:
        file = read_document(path, ManifestFile)
        if file.kind != "AgentProfile":
            continue
        name = file.metadata.name
        if name in found:
            message = f"{path}: profile {name!r} stands in {places[name]} already: give one of them another name"
            raise ConfigError(message)
        found[name], places[name] = file, path
    return found
