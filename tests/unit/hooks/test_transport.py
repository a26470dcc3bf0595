"""Answers that come in ways urllib3 and http.client do not read by themselves: too early, or behind
interim ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_seedream import exceptions as errors
from airflow_provider_seedream.generations import GenerationStatus
from airflow_provider_seedream.hooks.downloads import Downloads
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.hooks.transport import session_through
from tests.unit.api import ACCEPTED, IN_PROGRESS, Poll, connection_json, poll_as_a_trigger, poll_as_a_worker
from tests.unit.servers import Answer, json_answer, serving
from tests.unit.values import TASK_ID, edit, png, submission

KB, MB = 1000, 1000 * 1000
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
INTERIM = {
    "102": PROCESSING,
    "103": EARLY_HINTS,
    "100, 102, 103, 103": CONTINUE + PROCESSING + EARLY_HINTS * 2,
}
Connect = Callable[..., SeedreamHook]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> Connect:
    """A hook for a server's URL that trusts the test's certificate."""

    def connect(url: str, **extra: Any) -> SeedreamHook:
        monkeypatch.setenv(
            "AIRFLOW_CONN_SEEDREAM_DEFAULT", connection_json(url, verify=str(certificate), **extra)
        )
        return SeedreamHook(max_attempts=1)

    return connect


def edit_of(body_bytes: int) -> Any:
    return edit(*[png(padding_bytes=min(body_bytes * 3 // 4, 9 * MB))] * max(1, body_bytes // (12 * MB)))


class TestAnAnswerBeforeTheBodyIsRead:
    @pytest.mark.parametrize(
        ("status", "body_bytes", "cls"),
        [
            (401, 1200 * KB, errors.SeedreamAuthenticationError),
            (402, 14 * MB, errors.SeedreamInsufficientCreditsError),
            (413, 120 * MB, errors.SeedreamBadRequestError),
            (429, 14 * MB, errors.SeedreamRateLimitError),
        ],
    )
    @pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])
    def test_a_refusal_is_read_and_nothing_is_paid(
        self,
        connect: Connect,
        certificate: Path,
        tls: bool,
        status: int,
        body_bytes: int,
        cls: type[errors.SeedreamError],
    ) -> None:
        refusal = json_answer({"error": "Not like this."}, status, Connection="close")
        with serving(
            Answer(**{**_fields(refusal), "early": True}), certificate=certificate if tls else None
        ) as server:
            with pytest.raises(cls, match="Not like this") as refused:
                connect(server.url).submit(edit_of(body_bytes))
        assert (refused.value.paid, len(server.heard)) == ("no", 1)

    def test_a_refusal_whose_words_were_cut_is_one_by_its_status(
        self, connect: Connect, certificate: Path
    ) -> None:
        cut = Answer(status=413, headers={"Content-Length": "1000"}, early=True)
        with serving(cut, certificate=certificate) as server:
            with pytest.raises(errors.SeedreamBadRequestError, match="answered 413") as refused:
                connect(server.url).submit(edit_of(1200 * KB))
        assert refused.value.paid == "no"

    def test_an_early_id_is_read_as_well(self, connect: Connect, certificate: Path) -> None:
        answer = Answer(body=json.dumps(ACCEPTED).encode(), early=True)
        with serving(answer, certificate=certificate) as server:
            assert connect(server.url).submit(edit_of(14 * MB)).seedream_task_id == TASK_ID

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(hang_up=True),
            Answer(early=True, status=503),
            Answer(early=True, body=json.dumps(ACCEPTED).encode(), headers={"Content-Length": "1000"}),
        ],
        ids=["none", "503", "half an acceptance"],
    )
    def test_without_a_readable_refusal_it_stays_unknown(
        self, connect: Connect, certificate: Path, answer: Answer
    ) -> None:
        with serving(answer, certificate=certificate) as server:
            with pytest.raises(errors.SeedreamAmbiguousSubmissionError) as unknown:
                connect(server.url).submit(edit_of(1200 * KB))
        assert (unknown.value.paid, len(server.heard)) == ("unknown", 1)

    @pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])
    def test_it_is_read_from_a_server_that_stops_reading_but_does_not_close(
        self, certificate: Path, tls: bool
    ) -> None:
        answer = Answer(status=413, body=b"too large", early=True, early_seconds=2)
        with serving(answer, certificate=certificate if tls else None) as server, session_through() as client:
            body = (b"x" * MB for _ in range(40))
            found = client.post(server.url, data=body, timeout=(0.3, 5), verify=str(certificate))
        assert (found.status_code, found.content) == (413, b"too large")


class TestInterimAnswers:
    @pytest.mark.parametrize("interim", INTERIM.values(), ids=INTERIM)
    @pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])
    def test_an_accepted_post_keeps_its_id(
        self, connect: Connect, certificate: Path, interim: bytes, tls: bool
    ) -> None:
        answer = Answer(body=json.dumps(ACCEPTED).encode(), interim=interim)
        with serving(answer, certificate=certificate if tls else None) as server:
            assert connect(server.url).submit(submission()).seedream_task_id == TASK_ID

    @pytest.mark.parametrize("poll", [poll_as_a_worker, poll_as_a_trigger], ids=["worker", "triggerer"])
    @pytest.mark.parametrize("interim", INTERIM.values(), ids=INTERIM)
    def test_a_status_call_and_the_wallet_are_read(
        self, connect: Connect, poll: Poll, interim: bytes
    ) -> None:
        with serving(
            Answer(body=json.dumps({**IN_PROGRESS, "balance": "7.00"}).encode(), interim=interim)
        ) as server:
            hook = connect(server.url)
            assert isinstance(poll(), GenerationStatus)
            assert hook.get_wallet().balance == "7.00"

    @pytest.mark.parametrize("interim", INTERIM.values(), ids=INTERIM)
    def test_a_download_is_read_behind_interim_answers(self, certificate: Path, interim: bytes) -> None:
        with serving(Answer(body=png(), interim=interim), certificate=certificate) as storage:
            source = Downloads(
                max_bytes=MB, timeout_seconds=5, verify=str(certificate), allow_loopback=True, max_attempts=1
            )
            assert source.fetch(f"{storage.url}/1.png") == png()

    def test_they_are_read_from_a_proxy_as_well(
        self, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with serving(Answer(body=json.dumps(ACCEPTED).encode(), interim=EARLY_HINTS)) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            assert connect("http://api.seedream.example").submit(submission()).seedream_task_id == TASK_ID

    @pytest.mark.parametrize(
        "answer", [Answer(status=101), Answer(interim=PROCESSING * 200)], ids=["101", "no end of them"]
    )
    def test_what_is_no_answer_leaves_a_post_unknown(self, connect: Connect, answer: Answer) -> None:
        with serving(answer) as server:
            with pytest.raises(errors.SeedreamAmbiguousSubmissionError):
                connect(server.url).submit(submission())

    def test_they_do_not_prolong_the_wait(self) -> None:
        """One every 0.1 s, each within the timeout of 0.3 s: without a limit for all together it would
        read for 20 s.
        """
        with (
            serving(Answer(interim=EARLY_HINTS, interim_times=99, interim_seconds=0.1)) as server,
            session_through() as client,
        ):
            with pytest.raises(requests.ReadTimeout):
                client.get(server.url, timeout=0.3)
            assert len(server.heard) == 1

    def test_the_body_behind_them_has_the_usual_time(self) -> None:
        late = Answer(interim=EARLY_HINTS, interim_seconds=1.5, body=b"ok", drip_seconds=1.5)
        with serving(late) as server, session_through() as client:
            assert client.get(server.url, timeout=2.5).content == b"ok"


class TestAnAnswerThatDrips:
    """Each byte comes in time. Other tries take the POST for ended after `submission_seconds`, and may pay
    again.
    """

    @pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])
    def test_its_head_has_the_time_of_one_read(self, connect: Connect, certificate: Path, tls: bool) -> None:
        lines = Answer(interim=b"X", interim_times=60, interim_seconds=0.1)  # of no end
        with serving(lines, certificate=certificate if tls else None) as server:
            with pytest.raises(errors.SeedreamAmbiguousSubmissionError, match="Read timed out"):
                connect(server.url, request_timeout_seconds=0.3).submit(submission())

    @pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])
    def test_its_body_is_there_before_others_take_the_post_for_ended(
        self, connect: Connect, certificate: Path, tls: bool
    ) -> None:
        dripping = Answer(body=b" " * 100 + json.dumps(ACCEPTED).encode(), drip_seconds=0.05)
        with serving(dripping, certificate=certificate if tls else None) as server:
            with pytest.raises(errors.SeedreamAmbiguousSubmissionError, match="took longer"):
                connect(server.url, request_timeout_seconds=0.3).submit(submission())

    def test_a_refusal_is_one_by_its_status(self, connect: Connect) -> None:
        with serving(Answer(status=402, body=b" " * 200, drip_seconds=0.05)) as server:
            with pytest.raises(errors.SeedreamInsufficientCreditsError):
                connect(server.url, request_timeout_seconds=0.3).submit(submission())


def _fields(answer: Answer) -> dict[str, Any]:
    return {name: getattr(answer, name) for name in ("status", "body", "headers")}
