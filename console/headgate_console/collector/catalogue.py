"""The configurations that Headgate ships, and which overlays each may have."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from headgate_processors.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """A file that changes a configuration: its maps are merged in, its lists replace."""

    name: str
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A file that a Collector can run with, and the overlays of which it may have one."""

    name: str
    about: str
    overlays: tuple[Overlay, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A configuration with an overlay or none."""

    configuration: Configuration
    overlay: Overlay | None = None

    @property
    def label(self) -> str:
        """`gateway`, or `gateway+kafka`."""
        return self.configuration.name + (f"+{self.overlay.name}" if self.overlay else "")

    @property
    def files(self) -> tuple[str, ...]:
        """Names of its files, in the order in which a Collector merges them."""
        names = [self.configuration.name, *([self.overlay.name] if self.overlay else [])]
        return tuple(f"{name}.yaml" for name in names)


CONFIGURATIONS: Mapping[str, Configuration] = {
    configuration.name: configuration
    for configuration in (
        Configuration(
            name="local",
            about="One machine: agents → Collector → `headgate up --behind-collector`. Queue on disk.",
            overlays=(
                Overlay(name="platform", about="Takes what Headgate's own parts send, on 4319, by their tokens."),
            ),
        ),
        Configuration(
            name="agent",
            about="Beside agents, to a gateway over TLS with a token from a file. Queue on disk.",
        ),
        Configuration(
            name="gateway",
            about="Before receivers: TLS, senders known by their tokens. Answers when the receiver has answered.",
            overlays=(
                Overlay(name="disk_queue", about="For agents that send to it directly: answers from a queue on disk."),
                Overlay(name="load_balancing", about="Several receivers: traces by trace id, the rest by resource."),
                Overlay(name="kafka", about="Into Kafka: answers when all replicas in sync have it."),
            ),
        ),
        Configuration(name="kafka_consumer", about="From Kafka to a receiver. Queue on disk."),
    )
}


def select(name: str, overlay: str | None = None) -> Selection:
    """The configuration called `name`, also written `gateway+kafka`.

    Raises:
        ConfigError: there is none of this name, or it has no such overlay.
    """
    base, _, suffix = name.partition("+")
    configuration = CONFIGURATIONS.get(base)
    if configuration is None:
        raise ConfigError(_unknown(f"{base!r} is no configuration of the Collector", base, tuple(CONFIGURATIONS)))
    wanted = overlay or suffix
    if not wanted:
        return Selection(configuration=configuration)
    overlays = {one.name: one for one in configuration.overlays}
    if wanted not in overlays:
        raise ConfigError(_unknown(f"{base} has no overlay {wanted!r}", wanted, tuple(overlays)))
    return Selection(configuration=configuration, overlay=overlays[wanted])


def every_selection() -> Iterator[Selection]:
    """Each configuration alone, then with each of its overlays."""
    for configuration in CONFIGURATIONS.values():
        yield Selection(configuration=configuration)
        for overlay in configuration.overlays:
            yield Selection(configuration=configuration, overlay=overlay)


def _unknown(problem: str, name: str, known: Sequence[str]) -> str:
    if not known:
        return f"{problem}: it has none."
    close = get_close_matches(name, known, n=1)
    return f"{problem}: did you mean {close[0]}?" if close else f"{problem}: there are {', '.join(known)}."
