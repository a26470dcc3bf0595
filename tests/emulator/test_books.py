"""The books: what arrived, what was paid, who sent it; readable from another thread and as JSON."""

from __future__ import annotations

import json
import threading

import pytest
import requests

from airflow_provider_seedream.emulator import Books, Emulator
from airflow_provider_seedream.emulator.books import Violation
from tests.emulator.client import Client, get


def test_a_request_is_noted_without_its_query_or_secrets(client: Client, emulator: Emulator) -> None:
    get(client.link())
    text = json.dumps(emulator.books.to_dict())
    assert emulator.key not in text
    assert "X-Amz-Signature" not in text


def test_a_request_is_noted_with_what_it_was_answered(client: Client, emulator: Emulator) -> None:
    client.post({"prompt": "a"}, headers={"Authorization": "Bearer wrong"})
    [request] = emulator.books.requests
    assert (request.method, request.area, request.authorized, request.status) == (
        "POST",
        "generate",
        False,
        401,
    )
    assert request.body_bytes == len(b'{"prompt": "a"}')
    assert "content-type" in request.header_names


def test_the_counters_tell_received_from_accepted(client: Client, emulator: Emulator) -> None:
    client.submit()
    client.post({"prompt": ""})
    client.wallet()
    assert emulator.books.counters() == {
        "posts": 1,
        "posts_received": 2,
        "status_calls": 0,
        "wallet_calls": 1,
        "downloads": 0,
        "thumbnail_downloads": 0,
        "credits_charged": 10,
        "credits_refunded": 0,
        "violations": 1,
    }


def test_methods_are_told_apart_by_user_agent(client: Client, emulator: Emulator) -> None:
    task_id = client.submit()
    client.status(task_id, headers={**client.headers, "User-Agent": "the-triggerer/1"})
    assert emulator.books.methods_by_user_agent["the-triggerer/1"] == {"GET": 1}


def test_a_submission_is_noted_with_its_payload(client: Client, emulator: Emulator) -> None:
    task_id = client.submit("a fox", num_images=2, seed=7, image_size="square")
    [submission] = emulator.books.submissions
    assert (submission.seedream_task_id, submission.credits) == (task_id, 20)
    assert submission.payload == {
        "prompt": "a fox",
        "image_size": "square",
        "num_images": 2,
        "seed": 7,
        "enable_safety_checker": True,
    }


def test_waiting_ends_when_the_books_say_so() -> None:
    books = Books()
    note = threading.Timer(0.05, lambda: books.violated(Violation(at=0, rule="r", detail="d")))
    note.start()
    assert books.wait_until(lambda seen: len(seen.violations) == 1)


def test_waiting_gives_up_after_its_time() -> None:
    assert not Books().wait_until(lambda books: books.posts > 0, timeout_seconds=0.01)


def test_a_reset_starts_a_new_account(client: Client, emulator: Emulator) -> None:
    task_id = client.submit()
    emulator.inject("refuse")
    emulator.clock.advance(1000)
    emulator.reset()
    assert (emulator.balance_credits, emulator.books.counters()["posts_received"]) == (1000, 0)
    assert emulator.clock.ahead_seconds == 0
    assert client.status(task_id).status_code == 404
    client.submit()


def test_a_disconnect_in_the_middle_leaves_no_traceback(
    client: Client, emulator: Emulator, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    client.submit("[stall:0.1]")
    with pytest.raises(requests.ReadTimeout):
        client.post({"prompt": "[stall:2] again"}, timeout=0.02)
    assert emulator.books.wait_until(lambda books: all(request.status for request in books.requests))
    assert "Traceback" not in "".join(capfd.readouterr()) + caplog.text
