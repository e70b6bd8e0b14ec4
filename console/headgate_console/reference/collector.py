"""`collector.md`: the Collector's configurations and every variable that they read."""

from headgate_console.collector.catalogue import every_selection
from headgate_console.collector.files import variables
from headgate_console.collector.variables import BINARY, DESCRIPTIONS

HEAD = f"""\
# Collector

Configurations that `headgate collector run NAME` starts and `headgate collector config NAME` writes; one after a plus
is an overlay: `headgate collector run gateway --with kafka`. What each is for: [the guide](../guides/collector.md).
`{BINARY}` names the program, when it is neither the one that `make collector` builds nor on the `PATH`.

| configuration | what it is |
| --- | --- |
"""
VARIABLES = """
## Variables

What has no default must be set; `headgate collector run` says what is missing. It sets those of the keys, the
Collector's token and the queue itself, where `headgate collector keys` made them, unless they are set.

| variable | default | what it is | read by |
| --- | --- | --- | --- |
"""


def collector_page() -> str:
    """The page, in Markdown."""
    return HEAD + "".join(_configurations()) + VARIABLES + "".join(_variables())


def _configurations() -> list[str]:
    return [
        f"| `{one.label}` | {one.overlay.about if one.overlay else one.configuration.about} |\n"
        for one in every_selection()
    ]


def _variables() -> list[str]:
    readers: dict[str, list[str]] = {name: [] for name in DESCRIPTIONS}
    defaults: dict[str, str | None] = {}
    for selection in every_selection():
        for variable in variables(selection):
            defaults[variable.name] = variable.default
            if selection.overlay is None or selection.configuration.name not in readers[variable.name]:
                readers[variable.name].append(selection.label)
    return [
        f"| `{name}` | {_default(defaults[name])} | {about} | {', '.join(readers[name])} |\n"
        for name, about in DESCRIPTIONS.items()
    ]


def _default(default: str | None) -> str:
    if default is None:
        return "–"
    return f"`{default}`" if default else "empty"
