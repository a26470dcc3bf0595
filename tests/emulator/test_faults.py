"""Every kind of fault, spelled as a magic word in a prompt, seen from the client and in the books."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.emulator.kinds import KINDS
from tests.emulator.client import Client, data_uri, get, picture

_TESTED: set[str] = set()


def check(*kinds: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Name the kinds a test exercises; the last test of this module wants them all."""
    _TESTED.update(kinds)
    return lambda test: test


def lost(call: Callable[[], object]) -> bool:
    """Whether the connection ended without an answer."""
    try:
        call()
    except requests.ConnectionError:
        return True
    return False


class TestRefusedAtSubmit:
    def charged(self, emulator: Emulator) -> bool:
        return emulator.books.posts > 0 or emulator.books.credits_charged > 0

    @check("refuse")
    @pytest.mark.parametrize("status", [400, 401, 402, 404, 413, 429, 500, 503])
    def test_any_status_can_refuse_and_costs_nothing(
        self, client: Client, emulator: Emulator, status: int
    ) -> None:
        assert client.post({"prompt": f"[refuse:{status}]"}).status_code == status
        assert not self.charged(emulator)

    @check("rate-limited")
    def test_a_429_says_when_to_come_back(self, client: Client, emulator: Emulator) -> None:
        answer = client.post({"prompt": "[rate-limited:7*1]"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
        assert answer.json()["error"] == "Request was throttled. Expected available in 7 seconds."
        assert not self.charged(emulator)
        client.submit("[rate-limited:7*1]")

    @check("moderation")
    def test_moderation_refuses_with_400(self, client: Client, emulator: Emulator) -> None:
        answer = client.post({"prompt": "[moderation]"})
        assert (answer.status_code, answer.json()["error_code"]) == (400, "VALIDATION_FAILED")
        assert not self.charged(emulator)

    @check("echo-key")
    def test_a_401_can_repeat_the_key_it_got(self, client: Client, emulator: Emulator) -> None:
        answer = client.post({"prompt": "[echo-key]"})
        assert answer.status_code == 401
        assert emulator.key in answer.text

    @check("drop", "reset")
    @pytest.mark.parametrize("kind", ["drop", "reset"])
    def test_a_connection_can_end_before_anything_was_accepted(
        self, client: Client, emulator: Emulator, kind: str
    ) -> None:
        assert lost(lambda: client.post({"prompt": f"[{kind}]"}))
        assert not self.charged(emulator)
        assert emulator.books.posts_received == 1

    @check("early-answer")
    @pytest.mark.parametrize("status", [401, 402, 413, 429])
    def test_an_answer_can_come_before_the_body_was_read(
        self, client: Client, emulator: Emulator, status: int
    ) -> None:
        emulator.inject("early-answer", status=status, times=1)
        answer = client.post(None, json=None, data=bytes(3_000_000))
        assert (answer.status_code, answer.headers["Connection"]) == (status, "close")
        assert not self.charged(emulator)
        assert client.post({"prompt": "[early-answer]"}).status_code == 200  # it reads no prompt

    @check("html", "bad-json", "empty")
    def test_a_200_can_carry_something_else_than_json(self, client: Client, emulator: Emulator) -> None:
        assert client.post({"prompt": "[html]"}).text.startswith("<!DOCTYPE html>")
        assert client.post({"prompt": "[empty]"}).content == b""
        with pytest.raises(requests.JSONDecodeError):
            client.post({"prompt": "[bad-json]"}).json()
        assert not self.charged(emulator)

    @check("stall")
    def test_a_stall_only_delays(self, client: Client, emulator: Emulator) -> None:
        assert client.post({"prompt": "[stall:0.2]"}).elapsed.total_seconds() >= 0.2
        assert emulator.books.posts == 1


def said_to(emulator: Emulator, request: str, body: str = "") -> str:
    """Everything the API says on one connection, 1xx answers included, which most clients hide."""
    with socket.create_connection(
        ("127.0.0.1", int(emulator.url.rpartition(":")[2])), timeout=10
    ) as connection:
        head = (
            f"{request} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {emulator.key}\r\nConnection: close\r\n"
        )
        connection.sendall(
            f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


class TestInterimAnswers:
    @check("interim")
    def test_a_1xx_comes_before_the_real_answer(self, client: Client, emulator: Emulator) -> None:
        submitted = said_to(
            emulator, "POST /v1/images/seedream/v5/lite/generate/", '{"prompt": "[interim:102]"}'
        )
        assert re.findall(r"HTTP/1.1 (\d+)", submitted) == ["102", "200"]
        assert '"task_id"' in submitted
        emulator.inject("interim", endpoint="wallet", count=2)
        assert re.findall(r"HTTP/1.1 (\d+)", said_to(emulator, "GET /account/user/wallet/")) == [
            "103",
            "103",
            "200",
        ]


class TestAcceptedAndThenTrouble:
    @check("drop-after-accept", "reset-after-accept")
    @pytest.mark.parametrize("kind", ["drop-after-accept", "reset-after-accept"])
    def test_a_connection_lost_after_acceptance_was_paid_for(
        self, client: Client, emulator: Emulator, kind: str
    ) -> None:
        assert lost(lambda: client.post({"prompt": f"[{kind}]"}))
        assert (emulator.books.posts, emulator.books.credits_charged) == (1, 10)

    @check("stall-after-accept")
    def test_a_client_that_gives_up_waiting_has_paid(self, client: Client, emulator: Emulator) -> None:
        with pytest.raises(requests.ReadTimeout):
            client.post({"prompt": "[stall-after-accept:5]"}, timeout=0.2)
        assert emulator.books.posts == 1

    @check("error-after-accept")
    def test_a_502_after_acceptance_was_paid_for(self, client: Client, emulator: Emulator) -> None:
        assert client.post({"prompt": "[error-after-accept]"}).status_code == 502
        assert client.post({"prompt": "[error-after-accept:504]"}).status_code == 504
        assert emulator.books.posts == 2

    @check("no-id", "html-after-accept")
    def test_a_200_without_an_id_was_paid_for(self, client: Client, emulator: Emulator) -> None:
        assert "task_id" not in client.post({"prompt": "[no-id]"}).json()
        assert "<html>" in client.post({"prompt": "[html-after-accept]"}).text
        assert emulator.books.posts == 2

    def test_an_edit_meets_the_same_words(self, client: Client, emulator: Emulator) -> None:
        body = {"prompt": "[drop-after-accept]", "image_urls": [data_uri()]}
        assert lost(lambda: client.post(body, "edit"))
        assert emulator.books.submissions[0].kind == "edit"


class TestCourses:
    @check("fail", "safety")
    def test_failed_comes_with_a_reason(self, client: Client) -> None:
        assert "could not process" in client.finished("[fail]")["failure_reason"]
        assert "safety" in client.finished("[safety]")["failure_reason"]

    @check("finished-failed")
    def test_finished_can_be_a_failure(self, client: Client, emulator: Emulator) -> None:
        body = client.finished("[finished-failed]")
        assert (body["status"], body["results"][0]["asset"]) == ("FINISHED", None)
        assert body["failure_reason"]
        assert emulator.books.credits_refunded == 0

    @check("never-ends")
    def test_a_job_can_go_on_for_ever(self, client: Client, emulator: Emulator) -> None:
        task_id = client.submit("[never-ends]")
        emulator.clock.advance(23 * 3600)
        assert client.status(task_id).json() == {
            "status": "IN_PROGRESS",
            "progress": 99,
            "failure_reason": None,
            "results": [],
        }

    @check("takes", "late-assets")
    def test_times_can_be_chosen(self, client: Client, emulator: Emulator) -> None:
        task_id = client.submit("[takes:100] [late-assets:50]")
        seen = []
        for seconds in (99, 2, 48, 2):
            emulator.clock.advance(seconds)
            body = client.status(task_id).json()
            seen.append((body["status"], [bool(result["asset"]) for result in body["results"]]))
        assert seen == [
            ("IN_PROGRESS", []),
            ("FINISHED", [False]),
            ("FINISHED", [False]),
            ("FINISHED", [True]),
        ]

    @check("null-assets", "one-null")
    def test_assets_can_stay_null_for_ever(self, client: Client) -> None:
        assert [bool(r["asset"]) for r in client.finished("[null-assets]", num_images=2)["results"]] == [
            False,
            False,
        ]
        assert [bool(r["asset"]) for r in client.finished("[one-null]", num_images=3)["results"]] == [
            True,
            True,
            False,
        ]

    @check("partial")
    def test_fewer_results_can_come_than_were_asked_for(self, client: Client) -> None:
        assert len(client.finished("[partial:3]", num_images=4)["results"]) == 3
        assert client.finished("[partial:0]", num_images=4)["results"] == []

    @check("asset-url-only", "asset-only", "no-thumbnail")
    def test_keys_of_a_result_can_be_missing(self, client: Client) -> None:
        [result] = client.finished("[asset-url-only] [no-thumbnail]")["results"]
        assert set(result) == {"asset_url", "asset_type", "metadata"}
        assert get(result["asset_url"]).status_code == 200
        assert "asset_url" not in client.finished("[asset-only]")["results"][0]

    @check("jpeg", "webp")
    def test_images_can_be_of_another_type(self, client: Client) -> None:
        for kind in ("jpeg", "webp"):
            answer = get(client.link(f"[{kind}]"))
            assert answer.headers["Content-Type"] == f"image/{kind}"
            assert picture(answer.content).format == kind.upper()


class TestStatusAnswers:
    @check("unknown-status")
    def test_a_status_word_can_be_unknown_for_a_while(self, client: Client, emulator: Emulator) -> None:
        task_id = client.submit("[unknown-status*2]")
        emulator.clock.advance(1000)
        assert [client.status(task_id).json()["status"] for _ in range(3)] == [
            "MODERATING",
            "MODERATING",
            "FINISHED",
        ]

    @check("long-header", "x-gzip")
    def test_an_unusual_answer_can_be_asked_for(self, client: Client) -> None:
        assert (
            client.finished("[long-header:9000]")["status"]
            == client.finished("[x-gzip]")["status"]
            == "FINISHED"
        )

    @check("no-progress", "zero-progress")
    def test_progress_can_be_missing_or_stay_0(self, client: Client) -> None:
        assert "progress" not in client.finished("[no-progress]")
        assert client.finished("[zero-progress]")["progress"] == 0

    def test_a_burst_of_errors_ends(self, client: Client) -> None:
        task_id = client.submit("[status/refuse:503*2]")
        assert [client.status(task_id).status_code for _ in range(3)] == [503, 503, 200]

    def test_every_answer_fault_can_strike_a_status_call(self, client: Client) -> None:
        task_id = client.submit(
            "[status/html*1] [status/bad-json*1] [status/drop*1] [status/rate-limited:9*1]"
        )
        assert "<html>" in client.status(task_id).text
        assert client.status(task_id).text == '{"status": "FINI'
        assert lost(lambda: client.status(task_id))
        assert client.status(task_id).headers["Retry-After"] == "9"
        assert client.status(task_id).json()["status"] == "PENDING"

    def test_a_stalled_status_call_times_out(self, client: Client) -> None:
        task_id = client.submit("[status/stall:5*1]")
        with pytest.raises(requests.ReadTimeout):
            client.status(task_id, timeout=0.2)
        assert client.status(task_id).status_code == 200


class TestDownloads:
    @check("truncated")
    def test_a_body_can_end_early(self, client: Client) -> None:
        link = client.link("[truncated*1]")
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
            get(link)
        picture(get(link).content)

    @check("wrong-length")
    def test_a_length_can_agree_with_half_an_image(self, client: Client) -> None:
        answer = get(client.link("[wrong-length]"))
        assert int(answer.headers["Content-Length"]) == len(answer.content)
        with pytest.raises(OSError, match="truncated"):
            picture(answer.content)

    @check("chunked-reset")
    def test_a_chunked_body_can_break_off(self, client: Client) -> None:
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            get(client.link("[chunked-reset]"))

    @check("not-an-image", "other-type")
    def test_a_content_type_can_lie(self, client: Client) -> None:
        text = get(client.link("[not-an-image]"))
        assert (text.headers["Content-Type"], text.content[:4]) == ("image/png", b"This")
        jpeg = get(client.link("[other-type]"))
        assert (jpeg.headers["Content-Type"], picture(jpeg.content).format) == ("image/png", "JPEG")

    @check("gzip", "trailing")
    def test_a_whole_image_can_come_in_unusual_ways(self, client: Client) -> None:
        packed = get(client.link("[gzip]"), headers={"Accept-Encoding": "identity"})
        assert packed.headers["Content-Encoding"] == "gzip"
        picture(packed.content)  # requests has unpacked it
        assert get(client.link("[trailing:9000]")).content[-9000:] == bytes(9000)

    @check("expired-link")
    def test_a_dead_link_stays_dead_and_a_fresh_one_works(self, client: Client, emulator: Emulator) -> None:
        task_id = client.submit("[expired-link*1]")
        emulator.clock.advance(1000)
        old, new = (client.status(task_id).json()["results"][0]["asset"] for _ in range(2))
        assert [get(old).status_code, get(old).status_code, get(new).status_code] == [403, 403, 200]

    @check("redirect")
    @pytest.mark.parametrize(
        "target", ["file:///etc/hostname", "http://10.0.0.1/x.png", "gopher://example.com:70/"]
    )
    def test_a_download_can_be_redirected_anywhere(self, client: Client, target: str) -> None:
        answer = get(client.link(f"[redirect:{target}]"))
        assert (answer.status_code, answer.headers["Location"]) == (302, target)

    @check("huge", "endless")
    def test_a_body_can_be_very_large(self, client: Client) -> None:
        huge = get(client.link("[huge:3000000]"))
        assert (len(huge.content), huge.headers["Content-Length"]) == (3_000_000, "3000000")
        endless = get(client.link("[endless:3000000]"))
        assert len(endless.content) == 3_000_000
        assert "Content-Length" not in endless.headers

    def test_a_client_that_stops_reading_does_no_harm(self, client: Client, emulator: Emulator) -> None:
        link = client.link("[huge]")
        with get(link, stream=True) as answer:
            answer.raw.read(1000)
        assert emulator.books.wait_until(lambda books: books.requests[-1].status is None)
        assert client.wallet().status_code == 200

    @check("drip")
    def test_a_body_can_drip(self, client: Client) -> None:
        link = client.link("[drip:0.3]")
        start = time.monotonic()
        picture(get(link).content)
        assert time.monotonic() - start >= 0.3

    def test_answer_faults_strike_downloads_too(self, client: Client) -> None:
        link = client.link("[download/html*1] [download/empty*1] [download/refuse:500*1] [download/reset*1]")
        assert "<html>" in get(link).text
        assert get(link).content == b""
        assert get(link).status_code == 500
        assert lost(lambda: get(link))
        picture(get(link).content)

    def test_a_thumbnail_has_faults_of_its_own(self, client: Client) -> None:
        [result] = client.finished("[thumbnail/refuse:404]")["results"]
        assert (get(result["thumbnail"]).status_code, get(result["asset"]).status_code) == (404, 200)


def test_every_kind_is_tested_here() -> None:
    assert set(KINDS) == _TESTED


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_documented_for_users(kind: str) -> None:
    manual = Path(__file__).parents[2] / "docs" / "testing-your-dags.md"
    assert f"`[{kind}" in manual.read_text(encoding="utf-8")
