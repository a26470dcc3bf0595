"""A real HTTP server that notes who contacted it: the target of a redirect, a proxy, or an API that says
odd things.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """One request as it arrived; of a proxied one `target` is the whole URL."""

    method: str
    target: str
    headers: Mapping[str, str]


@dataclass(slots=True)
class Witness:
    """Answers every request with `body` (or what `bodies` has for its path), or passes it on when it is a
    forwarding proxy.
    """

    body: bytes = b""
    bodies: dict[str, bytes] = field(default_factory=dict)
    forwards_to: str | None = None
    contacts: list[Contact] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        witness = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                sent = self.rfile.read(length)
                witness.contacts.append(
                    Contact(method=self.command, target=self.path, headers=dict(self.headers))
                )
                status, headers, body = witness.answer(self.command, self.path, dict(self.headers), sent)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *arguments: Any) -> None:
                """Quiet: the contacts are the record."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        assert self._server
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        assert self._server
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(
        self, method: str, target: str, headers: dict[str, str], sent: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(target)
        if self.forwards_to is None:
            return 200, {}, self.bodies.get(parts.path, self.body)
        connection = http.client.HTTPConnection(urlsplit(self.forwards_to).netloc, timeout=10)
        connection.request(
            method,
            parts.path,
            sent,
            {name: value for name, value in headers.items() if name.lower() != "host"},
        )
        answer = connection.getresponse()
        return answer.status, {"Content-Type": answer.headers.get("Content-Type", "")}, answer.read()
