"""Subjects: the names that tokens, certificates and a Collector's stamp give to who sent something.

A subject has the shape of a SPIFFE id, `spiffe://TRUST-DOMAIN/KIND/NAME`. The kinds `collector`, `gateway`,
`runtime`, `control` and `provider` are Headgate's own parts and name their role; any other kind, and any
other shape, is a client's.
"""

from collections.abc import Mapping

from headgate_processors.receiver.port import Role

_SCHEME = "spiffe://"
_ROLES: Mapping[str, Role] = {
    "collector": "collector",
    "gateway": "gateway",
    "runtime": "runtime",
    "control": "control",
    "provider": "provider",
}


def role_of_subject(subject: str) -> Role:
    """The role that a verified subject has."""
    if not subject.startswith(_SCHEME):
        return "client"
    domain, *path = subject.removeprefix(_SCHEME).split("/")
    is_whole = bool(domain) and len(path) > 1 and all(path)
    return _ROLES.get(path[0], "client") if is_whole else "client"
