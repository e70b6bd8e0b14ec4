"""`headgate views`."""

import typer


def register(app: typer.Typer) -> None: ...
