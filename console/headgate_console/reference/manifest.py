"""`manifest.schema.json`: what a manifest may hold."""

import json

from headgate_control.manifests.spec import json_schema


def manifest_schema_page() -> str:
    """The JSON Schema of manifests and profiles."""
    return json.dumps(json_schema(), indent=2) + "\n"
