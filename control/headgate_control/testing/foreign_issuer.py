"""An identity provider on this machine, as OpenID Connect has them: discovery, keys, and tokens of CI jobs."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from headgate_control.identity.issuer_keys import DISCOVERY
from headgate_processors.credentials.issuer import public_jwk

JOIN_S = 10.0


class LocalIssuer:
    """An identity provider on this machine: discovery, keys, and tokens."""

    def __init__(self, *, at_unix_nano: int) -> None:
        self.end_s = at_unix_nano // 1_000_000_000 + 10 * 86_400
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.answers: dict[str, object] = {}
        self.asked: list[str] = []
        issuer = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """Answer one request."""
                issuer.asked.append(self.path)
                self.send_response(200 if self.path in issuer.answers else 404)
                self.end_headers()
                self.wfile.write(json.dumps(issuer.answers.get(self.path)).encode())

            def log_request(self, code: object = "-", size: object = "-") -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.name = f"http://127.0.0.1:{self.server.server_port}"
        self.answers[DISCOVERY] = {"issuer": self.name, "jwks_uri": f"{self.name}/keys"}
        self.answers["/keys"] = {"keys": [public_jwk(self.private)]}

    @classmethod
    @contextmanager
    def serving(cls, *, at_unix_nano: int) -> Iterator["LocalIssuer"]:
        """One that answers; its tokens are good from this moment for ten days."""
        made = cls(at_unix_nano=at_unix_nano)
        thread = threading.Thread(target=made.server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield made
        finally:
            made.server.shutdown()
            made.server.server_close()
            thread.join(JOIN_S)

    def token(self, **changes: Any) -> str:
        """A token of a CI job on the main branch."""
        claims = {
            "iss": self.name,
            "sub": "repo:acme/calc:ref:refs/heads/main",
            "aud": "headgate",
            "exp": self.end_s,
            "repository": "acme/calc",
            "ref": "refs/heads/main",
            **changes,
        }
        plain = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(plain, self.private, algorithm="ES256", headers={"kid": public_jwk(self.private)["kid"]})
