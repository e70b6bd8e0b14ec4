"""A manifest that grants whatever is asked: where it is the policies alone that are tried out."""

from headgate_control.manifests.grant import Grant
from headgate_control.manifests.rulings import GRANTED, Ruling
from headgate_control.manifests.spec import API_VERSION, ManifestFile
from headgate_control.request import Request

EVERYTHING = "everything"


class Everything(Grant):
    """Grants every request; no file says this, and no instance is started under it."""

    __slots__ = ()

    def ruling(self, request: Request) -> Ruling:  # noqa: ARG002 - whatever it is
        """Granted."""
        return GRANTED


def everything() -> Grant:
    """The manifest."""
    file = {"apiVersion": API_VERSION, "kind": "AgentManifest", "metadata": {"name": EVERYTHING}}
    return Everything((ManifestFile.model_validate(file),))
