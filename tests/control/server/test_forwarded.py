"""Checks by proxies that send a GET without a body, as nginx and Traefik do."""

import asyncio
import http.client
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

NGINX = {"x-original-uri": "/repos?token=t", "x-original-method": "DELETE", "x-forwarded-host": "api.example.com"}
TRAEFIK = {
    "x-forwarded-method": "GET",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "api.example.com",
    "x-forwarded-uri": "/repos",
    "x-forwarded-for": "192.0.2.1",
}
TOOL = "action=tools/call&resource_id=github/"


def get(site: Any, headers: dict[str, str], query: str = "", *, token: str | None = None) -> tuple[int, Any, Any]:
    """Status, decision id and answer of the GET that a proxy sends: no body, and no word of one."""

    def sent(address: str) -> tuple[int, Any, Any]:
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
        with closing(connection):
            shown = {"authorization": f"Bearer {token or site.key}", "connection": "close", **headers}
            connection.request("GET", f"/access/v1/check?{query}" if query else "/access/v1/check", headers=shown)
            response = connection.getresponse()
            return response.status, response.getheader("x-headgate-decision-id"), orjson.loads(response.read())

    async def go() -> tuple[int, Any, Any]:
        async with site.served() as address:
            return await asyncio.to_thread(sent, address)

    return asyncio.run(go())


def row(site: Any) -> dict[str, Any]:
    """The last row of the log."""
    found: dict[str, Any] = orjson.loads(next(site.decisions.glob("*.jsonl")).read_bytes().splitlines()[-1])["body"]
    return found


@pytest.mark.parametrize(
    ("headers", "resource"),
    [
        (NGINX, "api.example.com:80"),
        (TRAEFIK, "api.example.com:443"),
        ({**TRAEFIK, "x-forwarded-port": "8443"}, "api.example.com:8443"),
        ({"x-original-url": "https://API.example.com:444/a?b"}, "api.example.com:444"),
    ],
)
def test_a_request_that_names_no_action_is_about_where_it_goes(
    site: Any, headers: dict[str, str], resource: str
) -> None:
    """With the headers that each proxy sets; the manifest grants no network."""
    status, decision_id, answer = get(site, headers)
    found = row(site)
    assert (403, "manifest", answer["context"]["evaluation_id"]) == (status, answer["context"]["code"], decision_id)
    assert (site.instance, "net.connect", "host", resource) == (
        found["instance_id"],
        found["action"],
        found["resource_type"],
        found["resource_id"],
    )


@pytest.mark.parametrize(("tool", "status"), [("search", 200), ("delete", 403), ("merge", 403)])
def test_what_the_proxy_asks_stands_in_the_query_or_for_a_gateway_in_headers(site: Any, tool: str, status: int) -> None:
    """The status says it, and the row is the same."""
    asked = {"x-headgate-action": "tools/call", "x-headgate-resource-id": f"github/{tool}"}
    by_query = get(site, {**NGINX, "x-headgate-session": "s1"}, TOOL + tool)[0]
    first = row(site)
    named = {**asked, "x-headgate-subject": site.instance, "x-headgate-session": "s1"}
    by_headers = get(site, named, token="gateway-token")[0]
    own = ("decision_id", "time_unix_nano", "latency_ns")
    assert (status, status) == (by_query, by_headers)
    assert [{name: value for name, value in one.items() if name not in own} for one in (first, row(site))] == [
        {**{name: value for name, value in first.items() if name not in own}, "resource_id": f"github/{tool}"}
    ] * 2


def test_an_agent_cannot_say_what_it_asks_in_headers_of_its_own(site: Any) -> None:
    """They pass through a proxy that sets others: it is asked about where it goes all the same."""
    forged = {"x-headgate-action": "tools/call", "x-headgate-resource-id": "github/search", **TRAEFIK}
    assert (403, "net.connect") == (get(site, forged)[0], row(site)["action"])


@pytest.mark.parametrize(
    ("headers", "asked", "status", "expected"),
    [
        ({}, ("", None), 400, "where it goes is missing"),
        ({}, ("", "guess"), 401, "show a token"),
        ({}, ("", "gateway-token"), 400, "who asks is missing"),
        ({}, ("verb=x", None), 400, "'verb' is none of action"),
        ({}, (TOOL + "a&action=net.connect", None), 400, "action: stands 2 times"),
        ({}, ("action=fly&resource_type=bird&resource_id=x", None), 400, "'fly' is none of"),
        ({}, ("action=tools/call", None), 400, "resource.id: expected text"),
        ({}, (TOOL + "search&subject=ai-2", None), 403, "about itself alone"),
        ({"x-forwarded-host": "a, b"}, ("", None), 400, "where it goes cannot be read"),
        ({"x-forwarded-host": "u@a:80"}, ("", None), 400, "where it goes cannot be read"),
        ({"x-original-url": "http://a/", "x-forwarded-host": "b"}, ("", None), 400, "where it goes stands twice"),
        ({"x-forwarded-host": "a:99999"}, ("", None), 400, "where it goes cannot be read"),
        ({"x-original-url": "http://[a/"}, ("", None), 400, "x-original-url"),
    ],
)
def test_a_check_that_cannot_be_understood_lets_nothing_pass(
    site: Any, headers: dict[str, str], asked: tuple[str, str | None], status: int, expected: str
) -> None:
    """No answer is a 2xx, and each says what is wrong; nothing is logged."""
    found, _, answer = get(site, headers, asked[0], token=asked[1])
    assert (status, 0) == (found, site.log.anchor().number)
    assert expected in answer["error"]
