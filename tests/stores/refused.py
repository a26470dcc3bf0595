"""Destinations that cannot keep the ledger, as people meet them: each yields a URI whose connection is in the
environment.

S3 look-alikes that ignore ``If-None-Match`` (s3rver) or do not know it (501), sftp through Airflow's library,
and a mounted store.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.stores.processes import answers_http, free_port, running, wait_until
from tests.stores.servers import INSTALLED

S3RVER = INSTALLED / "node_modules" / ".bin" / "s3rver"
BUCKET = "watches"
_numbers = itertools.count(1)


def need(is_there: object, name: str) -> None:
    if not is_there:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            f"needs {name}; install with: bash .ci/stores.sh && make .venv/.stores"
        )


def _s3_uri(endpoint: str, key: str, environment: pytest.MonkeyPatch) -> str:
    conn_id = f"refused{next(_numbers)}"
    connection = {
        "conn_type": "aws",
        "login": key,
        "password": key,
        "extra": {"endpoint_url": endpoint, "region_name": "us-east-1"},
    }
    environment.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
    return f"s3://{conn_id}@{BUCKET}/2026"


@contextmanager
def deaf_s3(root: Path, environment: pytest.MonkeyPatch) -> Iterator[str]:
    """s3rver takes If-None-Match and ignores it."""
    need(S3RVER.exists(), "s3rver")
    port = free_port()
    options = ["-d", root, "-a", "127.0.0.1", "-p", str(port), "--silent", "--configure-bucket", BUCKET]
    with running([S3RVER, *options], root / "s3rver.log") as alive:
        endpoint = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers_http(endpoint), alive, "s3rver")
        yield _s3_uri(endpoint, "S3RVER", environment)


class _NotImplemented(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(501 if self.headers.get("If-None-Match") else 200, "NotImplemented")

    def do_GET(self) -> None:
        self._answer(404, "NoSuchKey")

    def _answer(self, status: int, code: str) -> None:
        said = (
            f"<Error><Code>{code}</Code><Message>A header you provided implies something.</Message></Error>"
        )
        body = said.encode() if status >= 400 and self.command != "HEAD" else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *args: Any) -> None:
        """Silent."""


class _DemandsEncryption(_NotImplemented):
    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(
            200 if self.headers.get("x-amz-server-side-encryption") == "aws:kms" else 403, "AccessDenied"
        )


def s3_without_conditions(root: Path, environment: pytest.MonkeyPatch) -> Any:
    """As Backblaze B2 documents it: 501 for a PUT with If-None-Match."""
    return _answering(_NotImplemented, environment)


def s3_that_demands_encryption(environment: pytest.MonkeyPatch) -> Any:
    """A bucket whose policy denies every PUT without the header. It keeps nothing."""
    return _answering(_DemandsEncryption, environment)


@contextmanager
def _answering(handler: type[BaseHTTPRequestHandler], environment: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield _s3_uri(f"http://127.0.0.1:{server.server_address[1]}", "key", environment)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def sftp(root: Path, environment: pytest.MonkeyPatch) -> Iterator[str]:
    """sshfs drops the keyword `mode`; the server is asyncssh's own."""
    try:
        import asyncssh
        from airflow.sdk.io.store import attach
        from sshfs import SSHFileSystem
    except ImportError:
        need(False, "the Python library sshfs")

    class Anybody(asyncssh.SSHServer):  # type: ignore[misc]
        def begin_auth(self, username: str) -> bool:
            return False

    async def serve() -> Any:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=Anybody,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(root)),
        )

    asyncssh.set_log_level("ERROR")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(serve(), loop).result(30)
    fs = SSHFileSystem(
        "127.0.0.1", port=server.get_port(), username="anybody", known_hosts=None, skip_instance_cache=True
    )
    conn_id = f"refused{next(_numbers)}"
    attach(protocol="sftp", conn_id=conn_id, fs=fs)
    try:
        yield f"sftp://{conn_id}@{BUCKET}/2026"
    finally:
        asyncio.run_coroutine_threadsafe(_close(server), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _close(server: Any) -> None:
    server.close()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await server.wait_closed()


@contextmanager
def mounted(root: Path, environment: pytest.MonkeyPatch) -> Iterator[str]:
    """An rclone mount knows neither hard links nor exclusive renames, whatever lies under it."""
    need(shutil.which("rclone") and os.path.exists("/dev/fuse"), "rclone and FUSE")
    store, mount = root / "store", root / "mount"
    store.mkdir()
    mount.mkdir()
    argv = ["rclone", "mount", store, mount, "--config", root / "rclone.conf", "--cache-dir", root / "cache"]
    try:
        with running([*argv, "--vfs-cache-mode", "writes"], root / "rclone.log") as alive:
            wait_until(lambda: os.path.ismount(mount), alive, "rclone mount")
            yield f"file://{mount}/2026"
    finally:
        subprocess.run(["fusermount3", "-u", "-z", mount], check=False, capture_output=True)


Refused = Callable[[Path, pytest.MonkeyPatch], Any]
# how a destination is made, and what of it must be said
REFUSED: dict[str, tuple[Refused, str]] = {
    "s3 that ignores If-None-Match": (deaf_s3, "it accepted a second create of the same file"),
    "s3 without conditional writes": (s3_without_conditions, "no conditional writes (501 Not Implemented)"),
    "sftp": (sftp, "it accepted a second create of the same file"),
    "a mounted store": (mounted, "Name the store itself"),
}
