"""A link goes out exactly as the API wrote it: a store may have signed its text."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_seedream.exceptions import SeedreamLandingError
from airflow_provider_seedream.generations import GenerationStatus, ResultLinks
from airflow_provider_seedream.hooks.downloads import Downloads
from airflow_provider_seedream.hooks.link_text import Link
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.landing.land import land_images
from airflow_provider_seedream.landing.links import Links
from airflow_provider_seedream.storage import Folder
from tests.unit.servers import Answer, Server, serving
from tests.unit.values import generation, png

# What clients rewrite: escapes of letters that need none, their case, dots, slashes, empty parts, letters
# that need an escape.
AWKWARD = [
    "/a%7Eb.png?sig=x",
    "/%61%62c.png",
    "/folder%2fname%2Fend.png?X-Amz-Credential=key%2f20260225%2Fauto",
    "/a%20b+c%2B.png?name=a+b%20c",
    "/fox's%20(final)!*.png",
    "//double//slash.png",
    "/a/../b/./c.png",
    "/a.png?",
    "/a.png?&&=&x=&x=2",
    "/a;v=1,2.png?sig=a/b+c==&at=10:30@x",
    '/{a}|b^`[c]<d>".png?q={x}',
    "/100%.png?sig=50%zz",
    "/%e4%bd%a0%E5%a5%BD.png",
    "/a\\b.png",
    "?sig=no-path",
    "/~tilde/%7e.png?%7e=%7E",
]


def as_sent(target: str) -> str:
    return target if target.startswith("/") else f"/{target}"


def downloads(**options: object) -> Downloads:
    given = {
        "max_bytes": 10_000,
        "timeout_seconds": 5,
        "verify": True,
        "allow_loopback": True,
        "max_attempts": 1,
        **options,
    }
    return Downloads(**given)  # type: ignore[arg-type]


def targets(server: Server) -> list[str]:
    return [request.target for request in server.heard]


@contextlib.contextmanager
def tunnel() -> Iterator[str]:
    """A proxy that opens tunnels (CONNECT) and pipes; its URL."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            host, _, port = self.rfile.readline().split()[1].decode().rpartition(":")
            while self.rfile.readline().strip():
                pass
            with socket.create_connection((host, int(port))) as onward:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=pipe, args=(onward, self.connection))
                back.start()
                pipe(self.connection, onward)
                back.join()

    def pipe(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class TestTheRequest:
    def test_a_link_goes_out_as_it_was_written_over_http_and_a_kept_connection(self) -> None:
        with serving(Answer(body=png())) as storage, downloads() as source:
            for target in AWKWARD:
                assert source.fetch(f"{storage.url}{target}") == png()
        assert targets(storage) == [as_sent(target) for target in AWKWARD]

    def test_a_link_goes_out_as_it_was_written_over_tls(self, certificate: Path) -> None:
        with (
            serving(Answer(body=png()), certificate=certificate) as storage,
            downloads(verify=str(certificate)) as source,
        ):
            for target in AWKWARD:
                assert source.fetch(f"{storage.url}{target}") == png()
        assert targets(storage) == [as_sent(target) for target in AWKWARD]

    def test_a_link_goes_out_as_it_was_written_through_a_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with serving(Answer(body=png())) as proxy, downloads() as source:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            for target in AWKWARD:
                source.fetch(f"http://storage.example:9000{target}")
        assert targets(proxy) == [f"http://storage.example:9000{as_sent(target)}" for target in AWKWARD]

    def test_a_link_goes_out_as_it_was_written_through_a_tunnel(
        self, monkeypatch: pytest.MonkeyPatch, certificate: Path
    ) -> None:
        with serving(Answer(body=png()), certificate=certificate) as storage, tunnel() as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy)
            with downloads(verify=str(certificate)) as source:
                for target in AWKWARD:
                    assert source.fetch(f"{storage.url}{target}") == png()
        assert targets(storage) == [as_sent(target) for target in AWKWARD]

    @pytest.mark.parametrize("target", AWKWARD)
    def test_a_link_goes_out_as_it_was_written_through_redirects(self, target: str) -> None:
        with serving(Answer(body=png())) as storage:
            with serving(Answer(status=302, headers={"Location": f"{storage.url}{target}"})) as first:
                assert downloads().fetch(f"{first.url}/%7e") == png()
        assert (targets(first), targets(storage)) == (["/%7e"], [as_sent(target)])

    def test_the_link_of_a_thumbnail_goes_out_as_it_was_written(self, tmp_path: Path) -> None:
        name = "/a%7Eb%2fc.png?sig=%7e"
        with serving(Answer(body=png())) as storage, downloads() as source:
            links = ResultLinks(
                image=f"{storage.url}{name}&image", thumbnail=f"{storage.url}{name}&thumbnail"
            )
            status = GenerationStatus(status="FINISHED", progress=None, failure_reason=None, results=(links,))
            made = generation(destination=f"file://{tmp_path}", num_images=1)

            known = Links(made, SeedreamHook(), source, status)
            land_images(Folder(made.destination), made, known, embed_metadata=False, without_dead_links=False)
        assert targets(storage) == [f"{name}&image", f"{name}&thumbnail"]

    @pytest.mark.parametrize(
        ("written", "sent"),
        [
            ("/über blick.png", "/%C3%BCber%20blick.png"),
            ("/a\tb\r\nHost: x.png", "/a%09b%0D%0AHost:%20x.png"),
            ("/a.png#fragment", "/a.png"),
        ],
    )
    def test_what_no_request_line_can_hold_is_escaped(self, written: str, sent: str) -> None:
        with serving(Answer(body=png())) as storage:
            downloads().fetch(f"{storage.url}{written}")
        assert targets(storage) == [sent]

    def test_no_log_and_no_error_of_the_http_libraries_has_seen_it(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG")
        with serving(Answer(hang_up=True)) as storage:
            with pytest.raises(SeedreamLandingError, match="broke off"):
                downloads().fetch(f"{storage.url}/name?sig=s3cret")
        assert storage.url.rpartition(":")[2] in caplog.text
        assert "s3cret" not in caplog.text
        assert "/name" not in caplog.text


class TestRedirects:
    FROM = Link.parse("https://store.example/dir/a%7e.png?sig=1")

    @pytest.mark.parametrize(
        ("location", "origin", "target"),
        [
            ("https://other.example/x%2f", "https://other.example", "/x%2f"),
            ("//other.example:8443/x", "https://other.example:8443", "/x"),
            ("/x/%7e?y", "https://store.example", "/x/%7e?y"),
            ("b%7e.png", "https://store.example", "/dir/b%7e.png"),
            ("?sig=2", "https://store.example", "/dir/a%7e.png?sig=2"),
            ("../b.png", "https://store.example", "/b.png"),
            # UTF-8, as http.client reads it
            ("/gr\u00c3\u00bc\u00c3\u009f.png", "https://store.example", "/gr%C3%BC%C3%9F.png"),
            ("/gr\u00fc.png", "https://store.example", "/gr%FC.png"),  # latin-1: the byte is what was sent
            ("https://b\u00c3\u00bccher.example/x", "https://xn--bcher-kva.example", "/x"),
            (" /x y ", "https://store.example", "/x%20y"),
        ],
    )
    def test_redirects_go_where_other_clients_go(self, location: str, origin: str, target: str) -> None:
        assert self.FROM.redirected(location) == Link(origin=origin, target=target)

    @pytest.mark.parametrize(
        "location", ["http://other.example/x", "file:///etc/passwd", "ftp://x/y", "javascript:x", "data:,x"]
    )
    def test_redirects_never_leave_https(self, location: str) -> None:
        with pytest.raises(SeedreamLandingError, match="refused"):
            self.FROM.redirected(location)

    def test_raw_utf8_on_the_wire_is_followed(self) -> None:
        wire = "/grüß dich.png?sig=%7e".encode().decode("latin-1")
        with serving(Answer(status=302, headers={"Location": wire})) as first:
            with pytest.raises(SeedreamLandingError, match="more than 5 times"):
                downloads().fetch(f"{first.url}/")
        assert set(targets(first)[1:]) == {"/gr%C3%BC%C3%9F%20dich.png?sig=%7e"}


class TestWhatIsNoLink:
    @pytest.mark.parametrize(
        "text",
        [
            "https://good.example\\@evil.example/x",
            "https://me:pw@host/x",
            "https://ho st/x",
            "https://[half/x",
            "ftp://host/x",
            "x",
            "",
        ],
    )
    def test_what_is_no_link_is_refused_without_a_request(self, text: str) -> None:
        with pytest.raises(SeedreamLandingError, match="no plain http"):
            downloads().fetch(text)
