"""Small real servers that say what a test wants and keep what they heard: an HTTP(S) origin and a proxy."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One request as it arrived; ``target`` is a path, or for a proxy an absolute URL or host and port."""

    method: str
    target: str
    headers: dict[str, str]
    body_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What to say. ``hang_up`` says nothing and closes; it happens before the body is read. ``drip_seconds``
    before each byte.

    ``read_seconds`` before each 64 kB of the request's body. ``early``: answers and closes before the body is
    read; with ``early_seconds`` it closes only so much later, and reads nothing. ``interim`` goes before the
    answer, as it stands, so many times, after a pause each.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False
    drip_seconds: float = 0
    read_seconds: float = 0
    early: bool = False
    early_seconds: float = 0
    interim: bytes = b""
    interim_times: int = 1
    interim_seconds: float = 0


def json_answer(value: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(
        status=status,
        body=json.dumps(value).encode(),
        headers={"Content-Type": "application/json", **headers},
    )


@dataclass(slots=True)
class Server:
    """A server on 127.0.0.1 that answers everything alike. ``connections`` counts those that were opened."""

    answer: Answer
    url: str = ""
    heard: list[Heard] = field(default_factory=list)
    connections: int = 0
    broken_handshakes: int = 0  # so many TLS connections end before anything can be sent

    def authorizations(self) -> list[str | None]:
        return [request.headers.get("authorization") for request in self.heard]


@contextmanager
def serving(answer: Answer, *, certificate: Path | None = None) -> Iterator[Server]:
    """Serve until the block ends; over TLS with a certificate and key in one PEM file."""
    server = Server(answer)
    handler = type("Handler", (_Handler,), {"server_state": server})
    http = _HTTPServer(("127.0.0.1", 0), handler)
    http.server_state = server
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        http.tls = context
    server.url = f"{'https' if certificate else 'http'}://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def write_certificate(path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key: it is its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "unit test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    return path


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    tls: ssl.SSLContext | None = None
    server_state: Server

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        # Else an early answer may wait for the acknowledgement of a TLS ticket before it, and is lost when
        # the server closes.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server_state.connections += 1
        return connection, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls and self.server_state.broken_handshakes:
            self.server_state.broken_handshakes -= 1
            return
        if self.tls:  # here, in the connection's own thread, where a failed handshake harms nobody
            try:
                request = self.tls.wrap_socket(request, server_side=True)
            except OSError:
                return
        super().finish_request(request, client_address)
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server_state: Server

    def handle_any(self) -> None:
        answer, length = self.server_state.answer, int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server_state.heard.append(
            Heard(
                method=self.command, target=self.requestline.split(" ")[1], headers=headers, body_bytes=length
            )
        )
        self.close_connection = True
        if answer.hang_up:
            return
        buffer, left = (
            bytearray(64 * 1024 if answer.read_seconds else 1024 * 1024),
            0 if answer.early else length,
        )
        while left > 0 and (count := self.rfile.readinto(memoryview(buffer)[: min(left, len(buffer))])):
            left -= count
            time.sleep(answer.read_seconds)
        for _ in range(answer.interim_times):
            time.sleep(answer.interim_seconds)
            self.wfile.write(answer.interim)
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        for drop in (
            [answer.body[at : at + 1] for at in range(len(answer.body))]
            if answer.drip_seconds
            else [answer.body]
        ):
            time.sleep(answer.drip_seconds)
            self.wfile.write(drop)
        time.sleep(answer.early_seconds)

    do_GET = do_POST = do_CONNECT = handle_any

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""
