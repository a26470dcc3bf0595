"""The hook over real sockets: what it sends, to whom, how often, and what comes back."""

from __future__ import annotations

import base64
import json
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, get_args

import pytest

from airflow_provider_seedream import exceptions as errors
from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.emulator.settings import ErrorShape
from airflow_provider_seedream.generations import Wallet
from airflow_provider_seedream.hooks.resending import SubmissionBody
from airflow_provider_seedream.hooks.seedream import PEEK_AGAIN_SECONDS, SeedreamHook
from airflow_provider_seedream.hooks.settings import USER_AGENT, SeedreamSettings
from airflow_provider_seedream.model import clock
from tests.unit.api import ACCEPTED, connection_json
from tests.unit.servers import Answer, json_answer, serving
from tests.unit.values import ERROR_CLASSES, KEY, TASK_ID, edit, png, submission

AMBIGUOUS = errors.SeedreamAmbiguousSubmissionError
MiB = 1024 * 1024


def connect(monkeypatch: pytest.MonkeyPatch, url: str, **extra: Any) -> SeedreamHook:
    monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", connection_json(url, **extra))
    return SeedreamHook(max_attempts=2)


class TestSubmitting:
    def test_a_submission_is_accepted_as_the_contract_says(
        self, hook: SeedreamHook, emulator: Emulator
    ) -> None:
        accepted = hook.submit(submission(prompt='Größe 🦊 "x"', seed=7, num_images=2))
        sent = emulator.books.submissions[0]
        assert accepted.seedream_task_id == sent.seedream_task_id
        assert sent.payload == submission(prompt='Größe 🦊 "x"', seed=7, num_images=2).parameters()
        assert emulator.books.violations == ()
        assert emulator.books.credits_charged == 20

    def test_an_edit_carries_its_images(self, hook: SeedreamHook, emulator: Emulator) -> None:
        hook.submit(edit(png(40, 30), png(30, 40)))
        assert [emulator.books.submissions[0].kind, emulator.books.posts, emulator.books.violations] == [
            "edit",
            1,
            (),
        ]

    def test_the_length_is_declared_and_the_body_is_not_chunked(
        self, hook: SeedreamHook, emulator: Emulator
    ) -> None:
        hook.submit(edit(png(padding_bytes=3 * MiB)))
        request = emulator.books.requests[0]
        assert request.body_bytes == len(SubmissionBody(edit(png(padding_bytes=3 * MiB))))
        assert "content-length" in request.header_names and "transfer-encoding" not in request.header_names

    def test_the_hook_says_who_it_is(self, hook: SeedreamHook, emulator: Emulator) -> None:
        hook.submit(submission())
        hook.get_wallet()
        assert emulator.books.methods_by_user_agent == {USER_AGENT: {"POST": 1, "GET": 1}}

    def test_ten_inputs_of_ten_megabytes_pass_through_a_small_window(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        image = png(padding_bytes=10 * MiB - 1000)
        big = edit(*[image] * 10)
        with serving(json_answer(ACCEPTED)) as server:
            hook = connect(monkeypatch, server.url)
            tracemalloc.start()
            hook.submit(big)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert server.heard[0].body_bytes > 139_000_000
        assert peak < 12 * MiB

    def test_an_edit_encodes_each_byte_of_its_images_once(self, hook: SeedreamHook) -> None:
        sent = edit(png(padding_bytes=2 * MiB), png(padding_bytes=MiB))
        with encoding_counted() as encoded:
            hook.submission_seconds(sent)  # what the ledger notes before the POST
            hook.submit(sent)
        assert sum(encoded) == sum(len(source.data) for source in sent.sources)

    def test_a_slow_upload_gets_more_time_than_a_small_request(self, hook: SeedreamHook) -> None:
        small, big = (
            hook.submission_seconds(submission()),
            hook.submission_seconds(edit(png(padding_bytes=9 * MiB))),
        )
        assert big - small == pytest.approx(12.58 + 125.8, abs=1)


@contextmanager
def encoding_counted() -> Iterator[list[int]]:
    """The lengths of all that this thread passes to base64, as Python's profiler sees them."""
    lengths: list[int] = []

    def see(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code is base64.b64encode.__code__:
            lengths.append(len(frame.f_locals["s"]))

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        yield lengths
    finally:
        sys.setprofile(before)


class Hurried(SeedreamSettings):
    """A connection with little time for uploads of any size."""

    def upload_seconds(self, body_bytes: int) -> float:
        return 0.3


REFUSED = [301, 302, 307, 308, 400, 401, 402, 403, 404, 413, 422, 429]


class TestWhetherAPostIsSentAgain:
    @pytest.mark.parametrize("status", REFUSED)
    def test_a_refusal_bought_nothing_and_is_not_repeated(
        self, monkeypatch: pytest.MonkeyPatch, status: int
    ) -> None:
        with serving(Answer(status=status, headers={"Location": "/elsewhere/"})) as server:
            with pytest.raises(errors.SeedreamError) as refused:
                connect(monkeypatch, server.url).submit(submission())
        assert type(refused.value) is ERROR_CLASSES[status]
        assert refused.value.paid == "no"
        assert [request.target for request in server.heard] == ["/v1/images/seedream/v5/lite/generate/"]

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(status=303, headers={"Location": "/elsewhere/"}),
            Answer(status=408),
            Answer(status=500),
            Answer(status=502, body=b"<html>bad gateway</html>"),
            Answer(status=503, headers={"Retry-After": "1"}),
            Answer(status=504),
            Answer(status=200, body=b""),
            Answer(status=200, body=b"<html>"),
            Answer(status=200, body=b"{}"),
            Answer(status=202, body=b'{"task_id": null}'),
            Answer(status=204, body=b""),
            Answer(hang_up=True),
            Answer(body=b"{", headers={"Content-Length": "1000"}),
            Answer(headers={"Content-Encoding": "gzip"}),
        ],
        ids=lambda answer: f"{answer.status} {answer.body[:20]!r}{' hang up' if answer.hang_up else ''}",
    )
    def test_what_may_have_been_accepted_is_never_sent_again(
        self, monkeypatch: pytest.MonkeyPatch, answer: Answer
    ) -> None:
        with serving(answer) as server:
            with pytest.raises(AMBIGUOUS) as unknown:
                connect(monkeypatch, server.url).submit(submission())
        assert unknown.value.paid == "unknown"
        assert len(server.heard) == 1

    @pytest.mark.parametrize(
        "word",
        [
            "drop",
            "reset",
            "drop-after-accept",
            "reset-after-accept",
            "no-id",
            "html-after-accept",
            "error-after-accept",
        ],
    )
    def test_a_broken_connection_after_the_body_began_is_never_sent_again(
        self, hook: SeedreamHook, emulator: Emulator, word: str
    ) -> None:
        with pytest.raises(AMBIGUOUS):
            hook.submit(submission(prompt=f"a fox [{word}]"))
        assert emulator.books.posts_received == 1

    def test_a_read_timeout_is_never_sent_again(
        self, monkeypatch: pytest.MonkeyPatch, emulator: Emulator
    ) -> None:
        hook = connect(monkeypatch, emulator.url, request_timeout_seconds=0.3)
        with pytest.raises(AMBIGUOUS, match="ReadTimeout"):
            hook.submit(submission(prompt="a fox [stall-after-accept:2]"))
        assert (emulator.books.posts_received, emulator.books.posts) == (1, 1)

    def test_an_upload_that_takes_too_long_is_broken_off_and_never_sent_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Every piece goes within its own timeout; only all together are too slow."""
        with serving(Answer(body=json.dumps(ACCEPTED).encode(), read_seconds=0.02)) as server:
            hook = connect(monkeypatch, server.url)
            hook.settings = Hurried.from_connection(hook.get_connection(hook.seedream_conn_id))
            with pytest.raises(AMBIGUOUS, match=r"upload took longer than 0\.3 s") as unknown:
                hook.submit(edit(png(padding_bytes=9 * MiB)))
        assert unknown.value.paid == "unknown"
        assert (server.connections, len(server.heard)) == (1, 1)

    def test_a_refused_connection_is_tried_again_and_bought_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with serving(Answer()) as gone:
            pass
        with pytest.raises(errors.SeedreamConnectionError, match="could not be sent") as unsent:
            connect(monkeypatch, gone.url).submit(submission())
        assert unsent.value.paid == "no"

    def test_a_connection_that_fails_before_anything_is_sent_is_opened_again(
        self, monkeypatch: pytest.MonkeyPatch, certificate: Path
    ) -> None:
        with serving(json_answer(ACCEPTED), certificate=certificate) as server:
            server.broken_handshakes = 1
            assert (
                connect(monkeypatch, server.url, verify=str(certificate))
                .submit(submission())
                .seedream_task_id
                == TASK_ID
            )
        assert (server.connections, len(server.heard)) == (2, 1)

    def test_a_failed_handshake_is_tried_again_and_bought_nothing(
        self, monkeypatch: pytest.MonkeyPatch, certificate: Path
    ) -> None:
        with serving(json_answer(ACCEPTED), certificate=certificate) as server:
            with pytest.raises(errors.SeedreamConnectionError, match="SSLError"):
                connect(monkeypatch, server.url).submit(submission())
        assert (server.connections, server.heard) == (2, [])

    @pytest.mark.parametrize(
        "answer",
        [
            json_answer(
                {
                    "error": "The prompt was rejected by content moderation.",
                    "error_code": "VALIDATION_FAILED",
                },
                400,
            ),
            json_answer({"error": "Prompt rejected by the safety checker."}, 422),
            json_answer({"error": "Not allowed.", "error_code": "CONTENT_POLICY_VIOLATION"}, 403),
            json_answer({"error": "Bad request.", "prompt": ["Rejected by moderation."]}, 400),
        ],
    )
    def test_moderation_is_known_in_the_bodies_that_clients_attest(
        self, monkeypatch: pytest.MonkeyPatch, answer: Answer
    ) -> None:
        with serving(answer) as server:
            with pytest.raises(errors.SeedreamModerationError) as refused:
                connect(monkeypatch, server.url).submit(submission())
        assert (refused.value.paid, len(server.heard)) == ("no", 1)

    def test_a_key_that_may_not_do_this_is_no_moderation(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with serving(
            json_answer({"error": "Access to this resource is prohibited.", "error_code": "FORBIDDEN"}, 403)
        ) as server:
            with pytest.raises(errors.SeedreamAuthenticationError, match="prohibited"):
                connect(monkeypatch, server.url).submit(submission())

    def test_moderation_at_submit_has_a_class_of_its_own_and_costs_nothing(self, hook: SeedreamHook) -> None:
        with pytest.raises(errors.SeedreamModerationError, match="rejected by content moderation") as refused:
            hook.submit(submission(prompt="x [moderation]"))
        assert refused.value.paid == "no"


class TestAPostToNoEndpoint:
    @pytest.mark.parametrize("status", [404, 405, 410])
    @pytest.mark.parametrize(
        "body", [b'{"error": "Model retired.", "error_code": "GONE"}', b"<html>Not here</html>"]
    )
    def test_it_names_the_address_and_both_reasons_and_is_no_lost_generation(
        self, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes
    ) -> None:
        with serving(Answer(status=status, body=body)) as server:
            with pytest.raises(errors.SeedreamNotFoundError) as refused:
                connect(monkeypatch, f"{server.url}/seedream").submit(submission())
        text = str(refused.value)
        assert (
            f"There is no such endpoint: POST {server.url}/seedream/v1/images/seedream/v5/lite/generate/."
            in text
        )
        assert "host (base URL) is wrong, or the vendor no longer offers this model" in text
        assert ("Model retired" in text) == (b"html" not in body)
        assert (refused.value.paid, refused.value.status_code, len(server.heard)) == ("no", status, 1)

    def test_a_redirect_says_where_to_without_a_query(self, monkeypatch: pytest.MonkeyPatch) -> None:
        elsewhere = "https://www.api.example/v1/?token=s3cret"
        with serving(Answer(status=301, headers={"Location": elsewhere})) as server:
            with pytest.raises(
                errors.SeedreamResponseError, match=r"redirect \(301\) to https://www.api.example/v1/;"
            ) as refused:
                connect(monkeypatch, server.url).submit(submission())
        assert "s3cret" not in str(refused.value)


class TestAskingAgain:
    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    def test_a_get_is_repeated_after_a_server_error(
        self, hook: SeedreamHook, emulator: Emulator, status: int
    ) -> None:
        emulator.inject("refuse", endpoint="wallet", status=status, times=1)
        assert hook.get_wallet().balance
        assert emulator.books.wallet_calls == 2

    @pytest.mark.parametrize("kind", ["drop", "reset", "html", "bad-json", "empty"])
    def test_a_get_is_repeated_when_there_was_no_usable_answer(
        self, hook: SeedreamHook, emulator: Emulator, kind: str
    ) -> None:
        emulator.inject(kind, endpoint="wallet", times=1)
        assert hook.get_wallet().balance

    @pytest.mark.parametrize("status", [400, 401, 402, 403, 404])
    def test_a_get_that_was_refused_is_not_repeated(
        self, hook: SeedreamHook, emulator: Emulator, status: int
    ) -> None:
        emulator.inject("refuse", endpoint="wallet", status=status, times=1)
        with pytest.raises(errors.SeedreamAPIError) as refused:
            hook.get_wallet()
        assert (refused.value.status_code, emulator.books.wallet_calls) == (status, 1)

    def test_a_429_on_a_get_is_waited_out_and_counts_as_no_attempt(
        self, hook: SeedreamHook, emulator: Emulator
    ) -> None:
        emulator.inject("refuse", endpoint="wallet", status=429, retry_after_seconds=0, times=3)
        assert hook.get_wallet().balance
        assert emulator.books.wallet_calls == 4

    @pytest.mark.timeout(600)
    def test_a_429_that_asks_for_longer_than_an_hour_is_not_slept_through(
        self, hook: SeedreamHook, emulator: Emulator
    ) -> None:
        """The results live 24 h, and a worker's slot is held meanwhile: the task's retry comes back
        instead.
        """
        emulator.inject("refuse", endpoint="status", status=429, retry_after_seconds=86_400)
        with pytest.raises(errors.SeedreamRateLimitError) as refused:
            hook.get_generation(TASK_ID)
        assert (refused.value.retry_after_seconds, emulator.books.status_calls) == (86_400, 1)

    def test_with_one_attempt_a_429_is_not_waited_for(self, hook: SeedreamHook, emulator: Emulator) -> None:
        emulator.inject("rate-limited", endpoint="wallet")
        with pytest.raises(errors.SeedreamRateLimitError):
            hook.get_wallet(max_attempts=1)
        assert emulator.books.wallet_calls == 1

    def test_it_ends_after_the_last_attempt(self, hook: SeedreamHook, emulator: Emulator) -> None:
        emulator.inject("refuse", endpoint="wallet", status=503)
        with pytest.raises(errors.SeedreamServerError):
            hook.get_wallet()
        assert emulator.books.wallet_calls == 2

    def test_a_poll_is_one_call(self, hook: SeedreamHook, emulator: Emulator) -> None:
        emulator.inject("refuse", endpoint="status", status=503)
        hook.poll(TASK_ID)
        assert emulator.books.status_calls == 1

    def test_a_redirect_is_not_followed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with (
            serving(json_answer({"balance": "1"})) as elsewhere,
            serving(Answer(status=302, headers={"Location": elsewhere.url})) as server,
        ):
            with pytest.raises(errors.SeedreamResponseError, match="redirect"):
                connect(monkeypatch, server.url).get_wallet()
        assert elsewhere.heard == []


class TestEveryShapeOfError:
    @pytest.mark.parametrize("shape", get_args(ErrorShape))
    @pytest.mark.parametrize(
        ("status", "cls"),
        [
            (400, errors.SeedreamBadRequestError),
            (401, errors.SeedreamAuthenticationError),
            (402, errors.SeedreamInsufficientCreditsError),
            (429, errors.SeedreamRateLimitError),
        ],
    )
    def test_the_class_follows_the_status(
        self,
        hook: SeedreamHook,
        emulator: Emulator,
        shape: ErrorShape,
        status: int,
        cls: type[errors.SeedreamError],
    ) -> None:
        emulator.inject("refuse", status=status, shape=shape)
        with pytest.raises(cls) as refused:
            hook.submit(submission())
        assert type(refused.value) is cls

    def test_a_key_that_comes_back_in_an_error_is_not_repeated(self, hook: SeedreamHook) -> None:
        with pytest.raises(errors.SeedreamAuthenticationError) as refused:
            hook.submit(submission(prompt="x [echo-key]"))
        assert KEY not in str(refused.value)


class TestTheRateLimit:
    def limit(self, monkeypatch: pytest.MonkeyPatch, emulator: Emulator, **extra: Any) -> float:
        return connect(monkeypatch, emulator.url, **extra).requests_per_minute

    def test_the_rate_limit_of_the_connection_comes_first(
        self, monkeypatch: pytest.MonkeyPatch, emulator: Emulator
    ) -> None:
        emulator.configure(rate_limit_per_minute=60)
        assert self.limit(monkeypatch, emulator, requests_per_minute=2.5) == 2.5
        assert emulator.books.wallet_calls == 0

    def test_the_rate_limit_is_else_the_wallets(
        self, monkeypatch: pytest.MonkeyPatch, emulator: Emulator
    ) -> None:
        emulator.configure(rate_limit_per_minute=60)
        assert self.limit(monkeypatch, emulator) == 60

    def test_a_wallet_that_was_read_is_not_asked_again(self, hook: SeedreamHook, emulator: Emulator) -> None:
        emulator.configure(rate_limit_per_minute=60)
        hook.peek_balance()
        assert (hook.requests_per_minute, hook.requests_per_minute, emulator.books.wallet_calls) == (
            60,
            60,
            1,
        )

    @pytest.mark.parametrize("fault", ["drop", "bad-json", "rate-limited"])
    def test_the_rate_limit_is_else_the_documented_default(
        self, hook: SeedreamHook, emulator: Emulator, fault: str
    ) -> None:
        emulator.inject(fault, endpoint="wallet")
        assert hook.requests_per_minute == 3
        assert emulator.books.wallet_calls == 1

    def test_a_wallet_that_did_not_answer_is_asked_again_but_not_for_each_request(
        self, hook: SeedreamHook, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        emulator.configure(rate_limit_per_minute=60)
        emulator.inject("refuse", endpoint="wallet", status=503, times=1)
        assert [hook.requests_per_minute for _ in range(3)] == [3, 3, 3]
        assert emulator.books.wallet_calls == 1
        later = clock.now_epoch() + PEEK_AGAIN_SECONDS
        monkeypatch.setattr(clock, "now_epoch", lambda: later)
        assert [hook.requests_per_minute for _ in range(3)] == [60, 60, 60]
        assert emulator.books.wallet_calls == 2

    def test_what_any_later_answer_of_the_wallet_says_holds_from_then_on(
        self, hook: SeedreamHook, emulator: Emulator
    ) -> None:
        emulator.configure(rate_limit_per_minute=60)
        emulator.inject("refuse", endpoint="wallet", status=503, times=1)
        assert hook.requests_per_minute == 3
        hook.peek_balance()
        assert hook.requests_per_minute == 60
        emulator.configure(rate_limit_per_minute=90)
        hook.peek_balance()
        assert (hook.requests_per_minute, emulator.books.wallet_calls) == (90, 3)
        emulator.inject("refuse", endpoint="wallet", status=503, times=1)
        hook.peek_balance()
        assert (hook.requests_per_minute, emulator.books.wallet_calls) == (90, 4)

    @pytest.mark.parametrize("limit", [None, 0, -1, "60"])
    def test_a_limit_that_is_none_is_the_documented_default(
        self, monkeypatch: pytest.MonkeyPatch, limit: Any
    ) -> None:
        with serving(json_answer({"balance": "1", "rate_limit": limit})) as server:
            assert connect(monkeypatch, server.url).requests_per_minute == 3


class TestTheWallet:
    def test_it_is_read(self, hook: SeedreamHook, emulator: Emulator) -> None:
        emulator.configure(rate_limit_per_minute=60)
        assert hook.get_wallet() == Wallet(balance="100000.00", rate_limit=60)

    def test_a_peek_is_one_short_call_that_may_fail(self, hook: SeedreamHook, emulator: Emulator) -> None:
        assert hook.peek_balance() == "100000.00"
        emulator.inject("refuse", endpoint="wallet", status=503)
        assert hook.peek_balance() is None
        assert emulator.books.wallet_calls == 2

    def test_the_connection_test_says_balance_and_rate_limit_and_spends_nothing(
        self, hook: SeedreamHook, emulator: Emulator
    ) -> None:
        emulator.configure(rate_limit_per_minute=60)
        assert hook.test_connection() == (
            True,
            "The key works. Balance: 100000.00 credits; rate limit: 60 requests per minute.",
        )
        assert [request.method for request in emulator.books.requests] == ["GET"]

    def test_a_rate_limit_may_be_absent(self, hook: SeedreamHook, emulator: Emulator) -> None:
        emulator.configure(wallet_shows_rate_limit=False)
        assert hook.test_connection()[1].endswith("rate limit: not reported.")

    @pytest.mark.parametrize(
        ("connection", "says"),
        [
            ({"password": "wrong"}, "401"),
            ({"password": ""}, "no password"),
            ({"password": "a\nb"}, "characters that no API key has"),
            ({"verify": "/no/such/ca.pem"}, ""),
            ({"request_timeout_seconds": "soon"}, "request_timeout_seconds"),
        ],
    )
    def test_a_connection_that_does_not_work_says_why(
        self, monkeypatch: pytest.MonkeyPatch, emulator: Emulator, connection: dict[str, Any], says: str
    ) -> None:
        hook = connect(monkeypatch, emulator.url, **connection)
        works, text = hook.test_connection()
        if says:
            assert not works
        assert says in text

    def test_a_missing_connection_says_so(self) -> None:
        works, text = SeedreamHook("nowhere").test_connection()
        assert not works
        assert "nowhere" in text

    def test_nobody_listening_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with serving(Answer()) as gone:
            pass
        works, text = connect(monkeypatch, gone.url).test_connection()
        assert not works
        assert "ConnectionError" in text
