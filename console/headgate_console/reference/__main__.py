"""`python -m headgate_console.reference FOLDER`: write the generated pages of the reference."""

import sys
from pathlib import Path

from headgate_console.reference.collector import collector_page
from headgate_console.reference.commands import commands_page
from headgate_console.reference.manifest import manifest_schema_page
from headgate_console.reference.metrics import metrics_page
from headgate_console.reference.settings import schema_page, settings_page
from headgate_console.reference.tables import tables_page

PAGES = {
    "settings.md": settings_page,
    "settings.schema.json": schema_page,
    "tables.md": tables_page,
    "commands.md": commands_page,
    "collector.md": collector_page,
    "metrics.md": metrics_page,
    "manifest.schema.json": manifest_schema_page,
}


def main() -> None:
    """Write every page."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
