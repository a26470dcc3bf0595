"""G17: a table of thousands of rows in one task, paced, killed twice with POSTs under way and taken up again.

The emulator and the worker are processes of their own; everything is counted by the server.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_seedream.tasks.wait_options import MAX_POSTS_AT_ONCE
from tests.guarantees.batch_child import Ended, Worker, start_batch

ROWS = 5000
PER_MINUTE = 2000
IN_FLIGHT = 100
LATENCY_SECONDS = 0.3  # so that a dozen POSTs are under way at the key's rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An emulator in another process."""

    url: str
    connection: str

    def books(self) -> dict[str, Any]:
        return dict(requests.get(f"{self.url}/__admin/books", timeout=60).json())

    def counters(self) -> dict[str, int]:
        return dict(requests.get(f"{self.url}/__admin/counters", timeout=60).json())

    def wait_for_posts(self, number: int, worker: Worker) -> None:
        while self.counters()["posts"] < number:
            assert worker.process.poll() is None, "the worker ended too early"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    settings = [
        "--fast",
        "--rate-limit",
        str(PER_MINUTE),
        "--balance",
        "1000000",
        "--set",
        "flat_images=true",
    ]
    settings += ["--set", f"latency_seconds={LATENCY_SECONDS}"]
    command = [sys.executable, "-m", "airflow_provider_seedream.emulator", *settings]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    hello = json.loads(process.stdout.readline())
    connection = json.loads(hello["AIRFLOW_CONN_SEEDREAM_DEFAULT"]) | {
        "extra": {"requests_per_minute": PER_MINUTE}
    }
    yield Server(url=hello["url"], connection=json.dumps(connection))
    process.terminate()
    process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """What two killed workers, their successor and one more left behind; and a fifth of it as a measure.

    :param under_way: rows whose outcome was unknown after each kill.
    """

    books: dict[str, Any]
    folder: Path
    under_way: list[int]
    second: Ended
    third: Ended
    posts_of_third: int
    small: Ended
    small_again: Ended

    @property
    def posts(self) -> list[dict[str, Any]]:
        return [request for request in self.books["requests"] if request["method"] == "POST"]

    @property
    def accepted(self) -> Counter[str]:
        return Counter(entry["prompt"] for entry in self.books["submissions"])

    @property
    def results(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "results.jsonl").read_text().splitlines()]


def table(path: Path, rows: int, word: str) -> str:
    path.write_text(
        "".join(json.dumps({"prompt": f"{word} {row}", "sku": f"S{row}"}) + "\n" for row in range(rows))
    )
    return path.as_uri()


@pytest.fixture(scope="module")
def campaign(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    folder = tmp_path_factory.mktemp("campaign")
    given = {
        "destination": (folder / "out").as_uri(),
        "max_in_flight": IN_FLIGHT,
        "poke_interval": 0.3,
        "on_error": "continue",
    }
    small_given = given | {"destination": (folder / "small").as_uri()}
    requested = table(folder / "requests.jsonl", ROWS, "watch")
    under_way = []
    for posts in (ROWS // 3, 2 * ROWS // 3):
        worker = start_batch(folder, server.connection, requests=requested, **given)
        server.wait_for_posts(posts, worker)
        worker.kill()
        under_way.append(let_the_claims_settle(folder / "out"))
    second = start_batch(folder, server.connection, requests=requested, **given).wait()
    books = server.books()
    third = start_batch(folder, server.connection, requests=requested, **given).wait()
    posts_of_third = server.counters()["posts_received"] - sum(
        request["method"] == "POST" for request in books["requests"]
    )
    requests.patch(f"{server.url}/__admin/settings", json={"rate_limit_per_minute": 0}, timeout=60)
    small_table = table(folder / "small.jsonl", ROWS // 5, "clock")
    small, small_again = (
        start_batch(folder, server.connection, requests=small_table, **small_given).wait() for _ in range(2)
    )
    print(
        f"{under_way} under way at the kills, last try {second.seconds:.0f} s, a third with nothing to do "
        f"{third.seconds:.1f} s"
    )
    print(
        f"peak {second.peak_bytes / 2**20:.0f} MiB for {ROWS} rows, {small.peak_bytes / 2**20:.0f} for "
        f"{ROWS // 5}"
    )
    return Campaign(
        books=books,
        folder=folder / "out",
        under_way=under_way,
        second=second,
        third=third,
        posts_of_third=posts_of_third,
        small=small,
        small_again=small_again,
    )


def let_the_claims_settle(folder: Path) -> int:
    """What time would do: the POSTs of a dead process are no longer in flight. Returns how many claims
    there were.
    """
    settled = 0
    for path in folder.glob("_seedream/ledger/*.json"):
        record = json.loads(path.read_text())
        if record["outcome"] == "intent":
            settled += record["settles_at"] > "2026-01-02"
            path.write_text(json.dumps(record | {"settles_at": "2026-01-01T00:00:00Z"}))
    return settled


@pytest.mark.slow
@pytest.mark.timeout(2400)
class TestATableOfThousandsOfRows:
    def test_every_row_is_accepted_once_and_no_more_are_unknown_than_were_under_way(
        self, campaign: Campaign
    ) -> None:
        assert (campaign.second.state, campaign.second.error) == ("success", None)
        statuses = Counter(line["status"] for line in campaign.results)
        assert statuses["landed"] + statuses["unknown"] == ROWS
        assert statuses["unknown"] == sum(campaign.under_way)
        assert 1 < max(campaign.under_way) <= MAX_POSTS_AT_ONCE
        assert all(
            "It was sent at" in line["detail"] for line in campaign.results if line["status"] == "unknown"
        )
        assert set(campaign.accepted.values()) == {1}
        assert ROWS - statuses["unknown"] <= len(campaign.accepted) <= ROWS

    def test_the_results_have_every_row_in_its_order_and_reconcile(self, campaign: Campaign) -> None:
        value = campaign.second.value or {}
        assert [line["sku"] for line in campaign.results] == [f"S{row}" for row in range(ROWS)]
        assert (value["rows"], sum(value["count"].values())) == (ROWS, ROWS)
        charged = campaign.books["counters"]["credits_charged"]
        unknown = sum(campaign.under_way)
        # an unknown row counts as spent, whether or not it was accepted
        assert 0 <= value["credits"] - charged <= 10 * unknown

    def test_no_more_than_the_limit_are_in_flight(self, campaign: Campaign) -> None:
        flying = most = 0
        for request in campaign.books["requests"]:
            if request["status"] == 200:
                flying += (request["method"] == "POST") - (request["area"] == "download")
            most = max(most, flying)
        assert 4 < most <= IN_FLIGHT

    def test_fewer_than_one_percent_of_the_requests_are_refused_for_their_rate(
        self, campaign: Campaign
    ) -> None:
        refused = [request for request in campaign.posts if request["status"] == 429]
        print(f"{len(refused)} of {len(campaign.posts)} POSTs met a 429")
        assert len(refused) < 0.01 * len(campaign.posts)

    def test_a_try_with_nothing_left_to_do_sends_nothing_and_is_not_paced(self, campaign: Campaign) -> None:
        assert (campaign.third.state, campaign.posts_of_third) == ("success", 0)
        assert campaign.third.seconds < 60 * ROWS / PER_MINUTE, "as many turns would take longer"

    def test_memory_does_not_know_how_long_the_table_is(self, campaign: Campaign) -> None:
        assert campaign.small.state == "success"
        assert campaign.second.peak_bytes < 1.2 * campaign.small.peak_bytes
        # reading alone: 135 and 131 MiB measured
        assert campaign.third.peak_bytes < 1.1 * campaign.small_again.peak_bytes
