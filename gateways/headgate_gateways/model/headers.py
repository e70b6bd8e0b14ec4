"""Headers that pass, on the way there and back: what belongs to a connection, a credential or us does not."""

from collections.abc import Iterable, Mapping

from multidict import CIMultiDict, CIMultiDictProxy

_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_NOT_THERE = _HOP | {
    "host",
    "content-length",
    "content-encoding",
    "accept-encoding",
    "authorization",
    "x-api-key",
    "api-key",
    "cookie",
    "forwarded",
    "via",
    "expect",
}
_NOT_BACK = _HOP | {"set-cookie", "content-encoding", "alt-svc", "server", "date"}
_REQUEST_IDS = ("x-request-id", "request-id", "apim-request-id")
REQUEST_ID_CHARS_MAX = 256
_OURS = ("x-headgate-", "headgate-", "x-forwarded-", "x-real-ip")


def forwarded(headers: "CIMultiDictProxy[str]", credentials: Mapping[str, str]) -> "CIMultiDict[str]":
    """What the upstream gets: the client's own headers, with the gateway's credentials in place of its.

    The answer is asked for without compression, so that it can be metered as it passes.
    """
    passed = _passed(headers, _NOT_THERE)
    passed["accept-encoding"] = "identity"
    passed.update(credentials)
    return passed


def returned(headers: "CIMultiDictProxy[str]", secrets: Iterable[str] = ()) -> "CIMultiDict[str]":
    """What the client gets; a header that has a secret in it is none of it."""
    passed, hidden = _passed(headers, _NOT_BACK), tuple(secrets)
    return CIMultiDict((name, value) for name, value in passed.items() if not any(one in value for one in hidden))


def request_id_of(headers: "CIMultiDictProxy[str]") -> str | None:
    """The id by which a provider knows a request; what is no text is none."""
    found = next((value for name in _REQUEST_IDS if (value := headers.get(name))), None)
    return found[:REQUEST_ID_CHARS_MAX] if found is not None and found.isprintable() else None


def _passed(headers: "CIMultiDictProxy[str]", left_out: Iterable[str]) -> "CIMultiDict[str]":
    named = {word.strip().lower() for value in headers.getall("connection", []) for word in value.split(",")}
    dropped = {*left_out, *named}
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if name.lower() not in dropped and not name.lower().startswith(_OURS)
    )
