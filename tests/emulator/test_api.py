"""The undisturbed API: endpoints, keys, credits, states over time, expiry, rate limit."""

from __future__ import annotations

import email.utils
import http.client
import re
import uuid
from contextlib import closing

import pytest
import requests

from airflow_provider_seedream.emulator import Emulator, Settings
from tests.emulator.client import Client, data_uri, get, picture


def exact_status(emulator: Emulator, target: str) -> int:
    """What a request for exactly this text at the storage is answered."""
    with closing(
        http.client.HTTPConnection(emulator.storage_url.removeprefix("http://"), timeout=10)
    ) as connection:
        connection.putrequest("GET", target)
        connection.endheaders()
        return connection.getresponse().status


class TestSubmitting:
    def test_a_submission_answers_with_a_uuid_and_an_instant(self, client: Client) -> None:
        body = client.post({"prompt": "a fox"}).json()
        assert set(body) == {"task_id", "created_at"}
        assert uuid.UUID(body["task_id"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["created_at"])

    def test_any_2xx_can_accept(self, client: Client, emulator: Emulator) -> None:
        emulator.configure(submit_status=202)
        assert client.post({"prompt": "a fox"}).status_code == 202

    def test_an_answer_takes_as_long_as_people_wait_for_it(self, client: Client, emulator: Emulator) -> None:
        emulator.configure(latency_seconds=[0.2, 0.25])
        assert 0.2 <= client.wallet().elapsed.total_seconds() < 60
        assert (Settings().latency_seconds, Settings.fast().latency_seconds) == ((0.3, 1.0), (0.0, 0.0))

    def test_an_edit_is_accepted_with_its_sources(self, client: Client, emulator: Emulator) -> None:
        answer = client.post(
            {"prompt": "darker", "image_urls": [data_uri(), data_uri(30, 30, "JPEG")]}, "edit"
        )
        assert answer.status_code == 200
        [submission] = emulator.books.submissions
        assert [source["media_type"] for source in submission.payload["image_urls"]] == [
            "image/png",
            "image/jpeg",
        ]

    @pytest.mark.parametrize("kind", ["generate", "edit"])
    def test_without_the_trailing_slash_there_is_nothing(
        self, client: Client, emulator: Emulator, kind: str
    ) -> None:
        url = f"{emulator.url}/v1/images/seedream/v5/lite/{kind}"
        assert requests.post(url, json={"prompt": "a"}, headers=client.headers, timeout=5).status_code == 404
        assert [violation.rule for violation in emulator.books.violations] == ["no_trailing_slash"]

    def test_a_path_the_vendor_lacks_is_a_violation(self, client: Client, emulator: Emulator) -> None:
        url = f"{emulator.url}/v1/generation-requests/"
        assert requests.get(url, headers=client.headers, timeout=5).status_code == 404
        assert [violation.rule for violation in emulator.books.violations] == ["unknown_path"]

    def test_a_method_the_vendor_lacks_is_a_violation(self, client: Client, emulator: Emulator) -> None:
        url = f"{emulator.url}/v1/generation-request/{client.submit()}/status/"
        assert requests.delete(url, headers=client.headers, timeout=5).status_code == 405
        assert requests.head(url, headers=client.headers, timeout=5).status_code == 405
        assert {violation.rule for violation in emulator.books.violations} == {"method_not_allowed"}

    def test_a_body_above_the_limit_is_refused_before_it_is_read(
        self, client: Client, emulator: Emulator
    ) -> None:
        emulator.configure(max_body_bytes=1000)
        assert client.post({"prompt": "a" * 2000}).status_code == 413
        assert emulator.books.posts == 0


class TestKeys:
    @pytest.mark.parametrize(
        ("authorization", "code"),
        [
            ("Bearer wrong", "INVALID_API_KEY"),
            ("Bearer seedream-emulator-expired-key", "API_KEY_EXPIRED"),
            ("Bearer seedream-emulator-revoked-key", "API_KEY_REVOKED"),
            ("Token seedream-emulator-key", "INVALID_API_KEY"),
            ("", "INVALID_API_KEY"),
        ],
    )
    def test_a_key_that_is_not_good_gets_401(self, client: Client, authorization: str, code: str) -> None:
        answer = client.post({"prompt": "a"}, headers={"Authorization": authorization})
        assert (answer.status_code, answer.json()["error_code"]) == (401, code)

    def test_another_scheme_than_bearer_is_a_violation(self, client: Client, emulator: Emulator) -> None:
        client.post({"prompt": "a"}, headers={"Authorization": f"Token {emulator.key}"})
        assert [violation.rule for violation in emulator.books.violations] == ["no_bearer"]

    def test_a_key_in_the_url_is_a_violation(self, client: Client, emulator: Emulator) -> None:
        client.post({"prompt": "a"}, params={"key": emulator.key})
        assert [violation.rule for violation in emulator.books.violations] == ["key_in_url"]


class TestCredits:
    def test_ten_credits_an_image_are_taken_at_submit(self, client: Client, emulator: Emulator) -> None:
        client.submit(num_images=3)
        assert client.wallet().json() == {"balance": "970.00"}
        assert emulator.books.credits_charged == 30

    def test_a_wallet_too_low_gets_402_and_keeps_what_it_has(
        self, client: Client, emulator: Emulator
    ) -> None:
        emulator.configure(balance_credits=19)
        answer = client.post({"prompt": "a", "num_images": 2})
        assert (answer.status_code, answer.json()["error_code"]) == (402, "INSUFFICIENT_CREDITS")
        assert (emulator.balance_credits, emulator.books.posts) == (19, 0)

    def test_another_price_can_be_charged_and_is_refunded(self, client: Client, emulator: Emulator) -> None:
        emulator.configure(credits_per_image=30)
        client.finished("[fail]", num_images=2)
        client.submit(num_images=3)
        assert client.wallet().json() == {"balance": "910.00"}
        assert (emulator.books.credits_charged, emulator.books.credits_refunded) == (150, 60)

    def test_a_failed_generation_is_refunded_once(self, client: Client, emulator: Emulator) -> None:
        body = client.finished("[fail]", num_images=2)
        assert (body["status"], body["results"], body["progress"]) == ("FAILED", [], 0)
        assert [client.wallet().json()["balance"] for _ in range(2)] == ["1000.00"] * 2
        assert emulator.books.credits_refunded == 20

    def test_the_wallet_tells_the_rate_limit_unless_told_not_to(
        self, client: Client, emulator: Emulator
    ) -> None:
        emulator.configure(rate_limit_per_minute=60)
        assert client.wallet().json()["rate_limit"] == 60
        emulator.configure(wallet_shows_rate_limit=False)
        assert "rate_limit" not in client.wallet().json()


class TestStatesOverTime:
    def test_a_generation_waits_works_finishes_and_settles(self, client: Client, emulator: Emulator) -> None:
        task_id = client.submit(num_images=2)  # 45 s, then 6 s until the last asset
        seen = []
        for seconds in (0, 20, 25.5, 3, 3):
            emulator.clock.advance(seconds)
            body = client.status(task_id).json()
            seen.append((body["status"], [bool(result["asset"]) for result in body["results"]]))
        assert seen == [
            ("PENDING", []),
            ("IN_PROGRESS", []),
            ("FINISHED", [False, False]),
            ("FINISHED", [True, False]),
            ("FINISHED", [True, True]),
        ]

    def test_the_largest_size_takes_longer(self, client: Client, emulator: Emulator) -> None:
        task_id = client.submit(image_size="auto_3K")
        emulator.clock.advance(40)
        assert client.status(task_id).json()["status"] == "IN_PROGRESS"

    def test_speed_shortens_jobs(self, client: Client, emulator: Emulator) -> None:
        emulator.configure(speed=10.0)
        task_id = client.submit()
        emulator.clock.advance(4)
        assert client.status(task_id).json()["results"][0]["asset"]

    def test_a_result_has_the_fields_of_the_contract(self, client: Client) -> None:
        [result] = client.finished()["results"]
        assert set(result) == {"asset", "asset_url", "asset_type", "thumbnail", "metadata"}
        assert result["asset_type"] == "IMAGE"

    def test_an_edit_gives_edited_images(self, client: Client, emulator: Emulator) -> None:
        task_id = client.post({"prompt": "darker", "image_urls": [data_uri()]}, "edit").json()["task_id"]
        emulator.clock.advance(100)
        [result] = client.status(task_id).json()["results"]
        assert result["asset_type"] == "EDITED_IMAGE"
        assert picture(get(result["asset"]).content).size == (256, 256)

    def test_an_unknown_task_gets_404(self, client: Client) -> None:
        assert client.status(str(uuid.uuid4())).status_code == 404

    def test_results_are_gone_after_24_hours(self, client: Client, emulator: Emulator) -> None:
        task_id = client.submit()
        emulator.clock.advance(24 * 3600 - 60)
        link = client.status(task_id).json()["results"][0]["asset"]
        emulator.clock.advance(60)
        assert client.status(task_id).status_code == 404
        assert get(link).status_code == 404

    def test_the_answer_for_expired_results_can_be_chosen(self, client: Client, emulator: Emulator) -> None:
        emulator.configure(expired_status=410, error_shape="nested")
        task_id = client.submit()
        emulator.clock.advance(24 * 3600)
        answer = client.status(task_id)
        assert (answer.status_code, answer.json()["error"]["code"]) == (410, "not_found")

    def test_expired_results_can_stay_finished_without_links(
        self, client: Client, emulator: Emulator
    ) -> None:
        emulator.configure(expired_status=200)
        task_id = client.submit(num_images=2)
        emulator.clock.advance(24 * 3600)
        body = client.status(task_id).json()
        assert (body["status"], [result["asset"] for result in body["results"]]) == ("FINISHED", [None, None])
        assert client.status(str(uuid.uuid4())).status_code == 404

    def test_quirks_add_unknown_keys_and_drop_progress_now_and_then(
        self, client: Client, emulator: Emulator
    ) -> None:
        emulator.configure(quirks=True)
        task_id = client.submit()
        bodies = [client.status(task_id).json() for _ in range(12)]
        assert 0 < sum("request_id" in body for body in bodies) < 12
        assert 0 < sum("progress" in body for body in bodies) < 12


class TestRateLimit:
    def test_the_fourth_submission_of_a_minute_is_refused_and_not_charged(
        self, client: Client, emulator: Emulator
    ) -> None:
        emulator.configure(rate_limit_per_minute=3)
        statuses = [client.post({"prompt": "a"}).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        assert emulator.books.posts == 3

    def test_a_minute_later_the_next_may_pass(self, client: Client, emulator: Emulator) -> None:
        emulator.configure(rate_limit_per_minute=1)
        client.submit()
        wait = int(client.post({"prompt": "a"}).headers["Retry-After"])
        assert 0 < wait <= 60
        emulator.clock.advance(wait)
        client.submit()

    def test_retry_after_can_be_a_date_or_absent(self, client: Client, emulator: Emulator) -> None:
        emulator.configure(rate_limit_per_minute=1, retry_after="date")
        client.submit()
        assert email.utils.parsedate_to_datetime(client.post({"prompt": "a"}).headers["Retry-After"])
        emulator.configure(retry_after="none")
        refused = client.post({"prompt": "a"})
        assert "Retry-After" not in refused.headers
        assert re.fullmatch(
            r"Request was throttled\. Expected available in \d+ seconds?\.", refused.json()["error"]
        )

    @pytest.mark.parametrize(("counts", "expected"), [(False, [200, 200]), (True, [200, 429])])
    def test_status_calls_count_only_if_told_so(
        self, client: Client, emulator: Emulator, counts: bool, expected: list[int]
    ) -> None:
        task_id = client.submit()
        emulator.configure(rate_limit_per_minute=1, status_counts=counts)
        assert [client.status(task_id).status_code for _ in range(2)] == expected


class TestStorage:
    def test_a_link_gives_a_whole_png_of_the_right_type_and_length(self, client: Client) -> None:
        answer = get(client.link(image_size="landscape_16_9"))
        assert answer.headers["Content-Type"] == "image/png"
        assert int(answer.headers["Content-Length"]) == len(answer.content)
        assert picture(answer.content).size == (356, 200)

    def test_storage_is_another_origin(self, client: Client, emulator: Emulator) -> None:
        assert client.link().startswith(emulator.storage_url + "/")
        assert emulator.storage_url != emulator.url

    def test_a_thumbnail_is_small(self, client: Client, emulator: Emulator) -> None:
        emulator.configure(image_scale=1.0)
        thumbnail = client.finished(image_size="landscape_4_3")["results"][0]["thumbnail"]
        assert picture(get(thumbnail).content).size == (256, 192)
        assert (emulator.books.thumbnail_downloads, emulator.books.downloads) == (1, 0)

    def test_an_authorization_header_is_refused_and_noted(self, client: Client, emulator: Emulator) -> None:
        assert get(client.link(), headers=client.headers).status_code == 400
        assert [violation.rule for violation in emulator.books.violations] == ["authorization_at_storage"]
        assert len(emulator.books.key_leaks) == 1

    def test_a_key_in_a_link_is_noted(self, client: Client, emulator: Emulator) -> None:
        get(f"{client.link()}&key={emulator.key}")
        assert [violation.rule for violation in emulator.books.violations] == ["key_at_storage"]

    def test_a_link_dies_after_an_hour_and_a_status_call_gives_a_fresh_one(
        self, client: Client, emulator: Emulator
    ) -> None:
        task_id = client.submit()
        emulator.clock.advance(100)
        old = client.status(task_id).json()["results"][0]["asset"]
        emulator.clock.advance(3600)
        new = client.status(task_id).json()["results"][0]["asset"]
        assert (get(old).status_code, get(new).status_code) == (403, 200)

    @pytest.mark.parametrize("spoil", [lambda link: link.split("?")[0], lambda link: link[:-1] + "x"])
    def test_a_link_without_a_good_signature_is_refused(self, client: Client, spoil: object) -> None:
        assert callable(spoil)
        assert get(spoil(client.link())).status_code == 403

    def test_no_two_results_have_one_file_name(self, client: Client) -> None:
        names = [
            result[kind].split("?")[0].rpartition("/")[2]
            for result in client.finished(num_images=2)["results"]
            for kind in ("asset", "thumbnail")
        ]
        names += [client.link().split("?")[0].rpartition("/")[2]]
        assert len(set(names)) == 5

    def test_an_escaped_link_works_in_its_exact_text_alone(self, client: Client, emulator: Emulator) -> None:
        emulator.configure(link_names="escaped")
        link = client.link()
        target = link.removeprefix(emulator.storage_url)
        rewritten = requests.Request("GET", link).prepare().path_url
        assert target != rewritten
        assert (exact_status(emulator, target), exact_status(emulator, rewritten)) == (200, 403)

    def test_an_object_that_is_not_there_is_404(self, client: Client, emulator: Emulator) -> None:
        link = client.link()
        path = link.split("?")[0].removeprefix(emulator.storage_url).replace("/image-0-", "/image-5-")
        signed = emulator._world.signer.sign(path, emulator.clock.now(), 60)
        assert get(emulator.storage_url + signed).status_code == 404
