"""``/__admin/``: what the object offers, offered to another process."""

from __future__ import annotations

import pytest

from airflow_provider_seedream.emulator import Emulator
from tests.emulator.client import Client


def test_the_books_can_be_read(client: Client) -> None:
    client.submit("a fox")
    books = client.admin("GET", "books").json()
    assert books["counters"]["posts"] == 1
    assert books["submissions"][0]["prompt"] == "a fox"
    assert client.admin("GET", "counters").json()["balance_credits"] == 990


def test_faults_can_be_injected_listed_and_cleared(client: Client) -> None:
    faults = [{"kind": "refuse", "status": 500}, {"kind": "fail", "times": 1}]
    assert client.admin("POST", "faults", faults).json() == faults
    assert client.post({"prompt": "a"}).status_code == 500
    assert client.admin("DELETE", "faults").json() == []
    client.submit()


def test_the_clock_can_be_advanced(client: Client) -> None:
    task_id = client.submit()
    assert client.admin("POST", "clock/advance", {"seconds": 100}).json()["ahead_seconds"] == 100
    assert client.admin("GET", "clock").json()["iso"].endswith("Z")
    assert client.status(task_id).json()["status"] == "FINISHED"


def test_settings_can_be_read_and_changed(client: Client, emulator: Emulator) -> None:
    answer = client.admin("PATCH", "settings", {"balance_credits": 5, "late_assets_seconds": [0, 1]})
    assert answer.json()["balance_credits"] == 5
    assert emulator.settings.late_assets_seconds == (0.0, 1.0)
    assert client.admin("GET", "settings").json() == answer.json()
    assert client.post({"prompt": "a"}).status_code == 402


def test_a_reset_empties_the_books(client: Client) -> None:
    client.submit()
    assert client.admin("POST", "reset").json()["posts"] == 0


def test_its_own_calls_are_not_in_the_books(client: Client, emulator: Emulator) -> None:
    client.admin("GET", "books")
    assert emulator.books.requests == ()


def test_the_index_lists_what_there_is(client: Client) -> None:
    assert "POST /__admin/faults" in client.admin("GET", "").json()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "faults", {"kind": "explode"}),
        ("POST", "faults", ["fail"]),
        ("POST", "clock/advance", {"seconds": -1}),
        ("POST", "clock/advance", {}),
        ("PATCH", "settings", {"colour": "red"}),
        ("PATCH", "settings", {"error_shape": "round"}),
        ("PATCH", "settings", {"status_counts": "yes"}),
        ("PATCH", "settings", {"seconds_per_image": [3, 1]}),
        ("PATCH", "settings", None),
    ],
)
def test_what_it_cannot_read_it_refuses_in_words(
    client: Client, method: str, path: str, body: object
) -> None:
    answer = client.admin(method, path, body)
    assert answer.status_code == 400
    assert answer.text.strip()
