"""`settings.md` and the JSON Schema of `headgate.yaml`."""

import json

from headgate_console.settings import Loaded, Settings, described, json_schema

HEAD = """\
# Settings

Flags win over the environment, the environment over `headgate.yaml` (or the file named by `--config` or
`HEADGATE_CONFIG`), that over the defaults. In the environment a setting is `HEADGATE_` and its name in capitals, with
`__` for the dot: `sessions.idle_gap` is `HEADGATE_SESSIONS__IDLE_GAP`. Variables that begin with
`HEADGATE_COLLECTOR_` belong to the Collector's configuration. An unknown name is an error that names the nearest
known one. `headgate config show` says what is in force and where each value comes from; `headgate config validate`
checks; [settings.schema.json](settings.schema.json) is for editors.

Lengths of time are written `30 min`, `90s` or `1h30m`, sizes `64 MiB`, addresses `HOST:PORT`.

| setting | default | what it is |
| --- | --- | --- |
"""


def settings_page() -> str:
    """The page, in Markdown."""
    rows = described(Loaded(settings=Settings.model_construct(), origins={}))
    return HEAD + "".join(f"| `{row['setting']}` | {_shown(row['default'])} | {row['doc']} |\n" for row in rows)


def _shown(value: object) -> str:
    return "–" if value is None else f"`{value if isinstance(value, str) else json.dumps(value)}`"


def schema_page() -> str:
    """The JSON Schema."""
    return json.dumps(json_schema(), indent=2) + "\n"
