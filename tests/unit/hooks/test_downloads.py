"""Downloads: which targets are refused before they are contacted, and what a broken body means."""

from __future__ import annotations

import gzip
import os
import tracemalloc

import pytest

from airflow_provider_seedream.exceptions import SeedreamLandingError
from airflow_provider_seedream.hooks.downloads import Downloads
from airflow_provider_seedream.hooks.settings import USER_AGENT
from airflow_provider_seedream.hooks.targets import refuse_target
from tests.unit.servers import Answer, serving
from tests.unit.values import png


def downloads(*, max_bytes: int = 10_000, max_attempts: int = 1) -> Downloads:
    return Downloads(
        max_bytes=max_bytes, timeout_seconds=5, verify=True, allow_loopback=True, max_attempts=max_attempts
    )


class TestTargets:
    @pytest.mark.parametrize(
        "link",
        [
            "file:///etc/passwd",
            "ftp://host/x",
            "gopher://host/x",
            "//host/x",
            "http:///x",
            "https://user:pw@host/x",
            "http://10.0.0.1/x",
            "http://192.168.1.1/x",
            "http://172.16.0.1/x",
            "http://169.254.169.254/latest",
            "http://0.0.0.0/x",
            "http://100.64.0.1/x",
            "http://[fe80::1]/x",
            "http://[fd00::1]/x",
            "http://[::ffff:10.0.0.1]/x",
            "http://[::]/x",
        ],
    )
    def test_what_is_no_http_link_to_a_public_host_is_refused(self, link: str) -> None:
        for allow_loopback in (False, True):
            with pytest.raises(SeedreamLandingError, match="refused"):
                refuse_target(link, allow_loopback=allow_loopback, proxied=False)

    @pytest.mark.parametrize(
        "link", ["http://127.0.0.1/x", "http://localhost/x", "http://[::1]/x", "http://127.9.9.9/x"]
    )
    def test_loopback_is_refused_unless_the_api_is_there_too(self, link: str) -> None:
        refuse_target(link, allow_loopback=True, proxied=False)
        with pytest.raises(SeedreamLandingError, match="no public address"):
            refuse_target(link, allow_loopback=False, proxied=False)

    @pytest.mark.parametrize(
        "link", ["https://8.8.8.8/x?sig=1", "HTTP://1.1.1.1", "https://[2606:4700::1]/x"]
    )
    def test_a_public_host_is_not(self, link: str) -> None:
        refuse_target(link, allow_loopback=False, proxied=False)

    def test_a_refusal_does_not_repeat_the_link(self) -> None:
        with pytest.raises(SeedreamLandingError) as refused:
            refuse_target("http://10.0.0.1/x?X-Amz-Signature=s3cret", allow_loopback=False, proxied=False)
        assert "s3cret" not in str(refused.value)


class TestRedirects:
    def test_one_to_another_public_host_is_followed(self) -> None:
        with (
            serving(Answer(body=png())) as target,
            serving(Answer(status=302, headers={"Location": f"{target.url}/x"})) as first,
        ):
            assert downloads().fetch(first.url) == png()
        assert target.authorizations() == [None]

    @pytest.mark.parametrize(
        "location",
        ["file:///etc/passwd", "ftp://host/x", "http://10.0.0.1/x", "//169.254.169.254/x", "gopher://x"],
    )
    def test_one_to_anywhere_else_is_refused(self, location: str) -> None:
        with serving(Answer(status=302, headers={"Location": location})) as first:
            with pytest.raises(SeedreamLandingError, match="refused"):
                downloads(max_attempts=3).fetch(first.url)
        assert len(first.heard) == 1

    def test_one_in_a_circle_ends(self) -> None:
        with serving(Answer(status=302, headers={"Location": "/again"})) as first:
            with pytest.raises(SeedreamLandingError, match="more than 5 times"):
                downloads().fetch(first.url)
        assert len(first.heard) == 6


class TestBodies:
    def test_it_says_who_it_is_and_takes_the_bytes_as_they_are(self) -> None:
        with serving(Answer(body=png())) as storage:
            downloads().fetch(storage.url)
        assert storage.heard[0].headers["user-agent"] == USER_AGENT
        assert storage.heard[0].headers["accept-encoding"] == "identity"

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
    def test_a_link_that_seems_expired_is_told_and_not_tried_again(self, status: int) -> None:
        with serving(Answer(status=status)) as storage:
            with pytest.raises(SeedreamLandingError) as stale:
                downloads(max_attempts=3).fetch(f"{storage.url}/x?sig=s3cret")
        assert stale.value.stale_link
        assert "s3cret" not in str(stale.value)
        assert len(storage.heard) == 1

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(status=500),
            Answer(status=503),
            Answer(status=206, body=b"x"),
            Answer(body=b"x", headers={"Content-Length": "99"}),
            Answer(hang_up=True),
        ],
        ids=["500", "503", "a part", "a cut body", "no answer"],
    )
    def test_trouble_on_the_way_is_tried_again(self, answer: Answer) -> None:
        with serving(answer) as storage:
            with pytest.raises(SeedreamLandingError) as failed:
                downloads(max_attempts=2).fetch(f"{storage.url}/x?sig=s3cret")
        assert type(failed.value) is SeedreamLandingError
        assert (failed.value.stale_link, len(storage.heard)) == (False, 2)
        assert "s3cret" not in str(failed.value)

    @pytest.mark.parametrize(
        ("coding", "sent"),
        [
            ("gzip", gzip.compress(png(), mtime=0)),
            ("x-gzip", gzip.compress(png(), mtime=0)),
            ("GZIP", gzip.compress(png(), mtime=0)),
            ("aws-chunked,gzip", gzip.compress(png(), mtime=0)),
            ("gzip, gzip", gzip.compress(gzip.compress(png(), mtime=0))),
            ("gzip", gzip.compress(png()[:30], mtime=0) + gzip.compress(png()[30:], mtime=0)),
            ("gzip", gzip.compress(png(), mtime=0) + bytes(20)),
            ("gzip", png()),
            ("aws-chunked", png()),
            ("utf-8", png()),
            ("", png()),
        ],
        ids=[
            "gzip",
            "old name",
            "upper case",
            "chunked",
            "twice",
            "two members",
            "padded",
            "not done",
            "chunked alone",
            "charset",
            "none",
        ],
    )
    def test_what_a_store_compressed_is_decoded_and_other_words_change_nothing(
        self, coding: str, sent: bytes
    ) -> None:
        with serving(Answer(body=sent, headers={"Content-Encoding": coding})) as storage:
            assert downloads().fetch(storage.url) == png()

    @pytest.mark.parametrize(
        "sent",
        [gzip.compress(png(), mtime=0)[:-9], gzip.compress(png(), mtime=0)[:10] + b"\xff" * 40],
        ids=["cut", "broken"],
    )
    def test_broken_compression_is_a_broken_download(self, sent: bytes) -> None:
        with serving(Answer(body=sent, headers={"Content-Encoding": "gzip"})) as storage:
            with pytest.raises(SeedreamLandingError, match="broke off"):
                downloads(max_attempts=2).fetch(storage.url)
        assert len(storage.heard) == 2

    def test_what_is_small_on_the_wire_and_huge_inside_is_refused(self) -> None:
        bomb = gzip.compress(bytes(200_000_000))
        with serving(Answer(body=bomb, headers={"Content-Encoding": "gzip"})) as storage:
            tracemalloc.start()
            with pytest.raises(SeedreamLandingError, match="max_image_bytes=1000000"):
                downloads(max_bytes=1_000_000, max_attempts=3).fetch(storage.url)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 10_000_000
        assert len(storage.heard) == 1

    @pytest.mark.parametrize(("max_bytes", "taken"), [(5000, True), (4999, False)])
    def test_the_limit_counts_what_is_inside(self, max_bytes: int, taken: bool) -> None:
        noise = os.urandom(5000)  # longer when it is compressed
        with serving(Answer(body=gzip.compress(noise), headers={"Content-Encoding": "gzip"})) as storage:
            if taken:
                assert downloads(max_bytes=max_bytes).fetch(storage.url) == noise
            else:
                with pytest.raises(SeedreamLandingError, match="max_image_bytes=4999"):
                    downloads(max_bytes=max_bytes).fetch(storage.url)

    def test_203_is_a_success(self) -> None:
        with serving(Answer(status=203, body=png())) as storage:
            assert downloads().fetch(storage.url) == png()

    @pytest.mark.parametrize(("max_bytes", "taken"), [(100, True), (99, False)])
    def test_a_body_above_the_limit_is_refused(self, max_bytes: int, taken: bool) -> None:
        with serving(Answer(body=b"x" * 100)) as storage:
            if taken:
                assert len(downloads(max_bytes=max_bytes).fetch(storage.url)) == 100
            else:
                with pytest.raises(SeedreamLandingError, match="max_image_bytes=99"):
                    downloads(max_bytes=max_bytes, max_attempts=3).fetch(storage.url)

    @pytest.mark.parametrize(
        ("answer", "size"),
        [
            (Answer(body=b"x" * 5000), 5000),
            (Answer(body=b"x" * 10_000), 10_000),
            (Answer(body=gzip.compress(b"x" * 5000), headers={"Content-Encoding": "gzip"}), 10_000),
        ],
        ids=["known", "as large as allowed", "compressed, so it may grow"],
    )
    def test_memory_is_asked_for_before_the_body_is_read(self, answer: Answer, size: int) -> None:
        asked: list[int] = []
        with serving(answer) as storage:
            source = Downloads(
                max_bytes=10_000, timeout_seconds=5, verify=True, allow_loopback=True, hold=asked.append
            )
            source.fetch(storage.url)
        assert asked == [size]
