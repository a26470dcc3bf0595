"""A connection that was changed, or whose key was rotated, is noticed without a restart of the web server.

The store is a server on a socket that speaks as much S3 as a read needs and takes only the keys of the
moment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from airflow_provider_seedream.gallery import stores
from airflow_provider_seedream.gallery.stores import CONNECTION_SECONDS, Store
from tests.gallery.conftest import WATCHES, Visitor
from tests.gallery.stage import Database, land

pytest.importorskip("s3fs")
pytest.importorskip("airflow.providers.amazon")

DATA = b'{"a": 1}'
REFUSED = b"<Error><Code>InvalidAccessKeyId</Code><Message>No such key.</Message></Error>"


class KeyedServer(ThreadingHTTPServer):
    """One bucket: `files` by key. `taken`: the access keys that work now; `asked`: the key of each
    request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files: dict[str, bytes] = {}
        self.taken = {"first"}
        self.asked: list[str] = []


class _Answer(BaseHTTPRequestHandler):
    server: KeyedServer

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        [key] = re.findall(r"Credential=(\w+)/", self.headers["Authorization"])
        self.server.asked.append(key)
        data = self.server.files.get(self.path.partition("?")[0].removeprefix("/bucket/"))
        status, body = (
            (403, REFUSED) if key not in self.server.taken else (404, b"") if data is None else (200, data)
        )
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"x"')
        self.send_header("Last-Modified", "Sun, 01 Mar 2026 12:00:00 GMT")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[KeyedServer]:
    with KeyedServer() as serving:
        thread = Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join(10)


@pytest.fixture
def use_key(server: KeyedServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Write a key into the connection, as an administrator does."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")

    def use(key: str) -> None:
        extra = {"endpoint_url": f"http://127.0.0.1:{server.server_port}", "region_name": "us-east-1"}
        connection = {"conn_type": "aws", "login": key, "password": "secret", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_ROTATING", json.dumps(connection))

    use("first")
    return use


URI = "s3://rotating@bucket/watches"


def read(store: Store) -> bytes | None:
    return store.ask(URI, lambda folder: folder.read("hero.json"))


class TestAStore:
    def test_a_rotated_key_costs_one_read_and_the_next_one_uses_the_new_key(
        self, server: KeyedServer, use_key: Callable[[str], None]
    ) -> None:
        server.files["watches/hero.json"] = DATA
        store = Store("s3", "rotating")
        assert read(store) == DATA
        server.taken = {"second"}
        use_key("second")
        with pytest.raises(PermissionError):
            read(store)
        assert read(store) == DATA
        assert server.asked[-1] == "second"

    def test_a_changed_connection_is_used_after_half_a_minute_though_the_old_one_works(
        self, server: KeyedServer, use_key: Callable[[str], None]
    ) -> None:
        server.files["watches/hero.json"] = DATA
        server.taken = {"first", "second"}
        now = [0.0]
        store = Store("s3", "rotating", clock=lambda: now[0])
        read(store)
        use_key("second")
        now[0] = CONNECTION_SECONDS - 1
        read(store)
        assert set(server.asked) == {"first"}
        now[0] = CONNECTION_SECONDS
        read(store)
        assert server.asked[-1] == "second"

    def test_a_connection_that_stays_the_same_keeps_its_file_system(
        self, server: KeyedServer, use_key: Callable[[str], None]
    ) -> None:
        server.files["watches/hero.json"] = DATA
        now = [0.0]
        store = Store("s3", "rotating", clock=lambda: now[0])
        file_systems = []
        for now[0] in (0.0, CONNECTION_SECONDS, 2 * CONNECTION_SECONDS):
            read(store)
            file_systems.append(store._fs())
        assert len(set(map(id, file_systems))) == 1


class TestThePage:
    def test_it_shows_the_images_again_at_the_second_visit_after_a_rotation(
        self,
        visitor: Visitor,
        database: Database,
        server: KeyedServer,
        use_key: Callable[[str], None],
        monkeypatch: pytest.MonkeyPatch,
        roots: Any,
    ) -> None:
        stores._stores.pop(("s3", "rotating"), None)
        value = land(roots, WATCHES, prompt="a leather watch")
        server.files = {f"watches/{path.name}": path.read_bytes() for path in roots.iterdir()}
        monkeypatch.setenv("AIRFLOW__SEEDREAM__GALLERY_ROOTS", URI)
        database.returned(WATCHES, {**value, "manifest": f"{URI}/hero.json"})
        client = visitor("viewer")
        assert "a leather watch" in client.get("/seedream/").text
        server.taken = {"second"}
        use_key("second")
        assert "refuses the web server" in client.get("/seedream/").text
        assert "a leather watch" in client.get("/seedream/").text
        thumbnail = client.get(f"/{WATCHES.address('thumb', 1, sha256=value['images'][0]['sha256'])}")
        assert (thumbnail.status_code, thumbnail.headers["content-type"]) == (200, "image/png")
