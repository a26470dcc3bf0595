"""``resolve --by-wallet``: a record goes only if the wallet proves that its request was not charged,
counted at the server.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from tests.cli.conftest import Buy, Run
from tests.cli.test_reconcile import aged, path_of
from tests.unit.values import submission

Lose = Callable[..., str]


def ended(record: str, *, minutes: float = 10) -> str:
    """A request of some minutes ago: its POST must have ended, by the store's clock as well."""
    aged(record, minutes=minutes)
    at = time.time() - 60 * minutes
    os.utime(path_of(record), (at, at))
    return record


@pytest.fixture
def judged(run: Run) -> Callable[..., Any]:
    """Runs the command for one record: its verdict."""

    def judged(record: str, *more: str) -> Any:
        ended = run("resolve", record, "--by-wallet", "--yes", "-o", "json", *more)
        assert ended.code in (0, 1), ended.err
        [one] = ended.json["requests"]
        assert (ended.code == 0) is one["settled"]
        assert one["settled"] is (not path_of(record).exists())
        return one

    return judged


def test_a_wallet_that_stood_still_takes_the_record_away_and_its_task_may_send_again(
    judged: Callable[..., Any], lose: Lose, buy: Buy, emulator: Emulator
) -> None:
    record = ended(lose("[drop*1]"))
    assert judged(record)["verdict"] == "not_charged"
    buy("a watch [drop*1]")
    assert (emulator.books.posts_received, emulator.books.posts) == (2, 1)


def test_a_wallet_that_lost_the_price_says_paid_and_changes_nothing(
    judged: Callable[..., Any], lose: Lose, run: Run, emulator: Emulator
) -> None:
    record = ended(lose("[drop-after-accept]"))
    said = judged(record)
    assert (said["verdict"], "--paid ID" in said["what_now"]) == ("charged", True)
    task_id = emulator.books.submissions[0].seedream_task_id
    assert run("resolve", record, "--paid", task_id, "--yes").code == 0


@pytest.mark.parametrize("trouble", ["[drop-after-accept]", "[drop*1]"])
def test_the_requests_of_other_folders_are_counted_and_without_them_it_never_guesses(
    trouble: str, judged: Callable[..., Any], lose: Lose, buy: Buy, destination: str, tmp_path: Path
) -> None:
    lost = ended(lose(trouble), minutes=20)
    path_of(destination).rename(tmp_path / "first")
    record = f"file://{tmp_path}/first{lost.removeprefix(destination)}"
    ended(buy("a shoe", num_images=3).record or "", minutes=10)
    # its look is the last one before which all is quiet again
    ended(buy("another shoe").record or "", minutes=1)
    assert judged(record)["verdict"] == "unclear"
    said = judged(record, "--also", destination)
    assert said["verdict"] == ("charged" if "accept" in trouble else "not_charged"), said["why"]


def test_a_folder_that_is_named_in_two_ways_is_counted_once(
    judged: Callable[..., Any], lose: Lose, buy: Buy, run: Run, destination: str
) -> None:
    record = ended(lose("[drop-after-accept]"), minutes=20)
    ended(buy("a shoe").record or "", minutes=10)
    path = destination.removeprefix("file://")
    assert judged(record, "--also", path)["verdict"] == "charged", (
        "counted twice, the shoe explains its charge as well"
    )
    spent = run("spending", destination, path, f"local://{path}", "-o", "json").json["total"]
    assert (spent["requests"], spent["paid"]) == (2, 10)


def test_other_users_and_top_ups_leave_it_open(
    judged: Callable[..., Any], lose: Lose, emulator: Emulator
) -> None:
    record = ended(lose("[drop*1]"))
    SeedreamHook(max_attempts=1).submit(submission(prompt="a stranger's", num_images=2))
    assert judged(record)["verdict"] == "unclear"
    emulator.configure(balance_credits=emulator.balance_credits + 500)
    assert judged(record)["verdict"] == "unclear"


def test_a_request_that_may_be_on_its_way_is_left(judged: Callable[..., Any], lose: Lose) -> None:
    said = judged(lose("[drop*1]"))
    assert "still be on its way" in said["why"]
    assert said["what_now"] == "Nothing was changed. Run this command again after that."


def test_a_file_that_cannot_be_read_proves_nothing(judged: Callable[..., Any], lose: Lose, buy: Buy) -> None:
    hidden = buy("another").record or ""
    record = ended(lose("[drop*1]"))
    path_of(hidden).write_text("{")
    assert "may hide another request" in judged(record)["why"]


def test_all_of_a_folder_are_judged_and_what_is_not_proved_is_left(
    run: Run, lose: Lose, buy: Buy, destination: str
) -> None:
    unpaid = ended(lose("[drop*1]"), minutes=30)
    ended(buy("a watch between").record or "", minutes=20)
    paid = ended(lose("[drop-after-accept]"), minutes=10)
    done = run("resolve", "--all", destination, "--by-wallet", "--yes", "-o", "json")
    verdicts = {one["record"]: (one["verdict"], one["settled"]) for one in done.json["requests"]}
    assert verdicts == {unpaid: ("not_charged", True), paid: ("charged", False)}
    assert (done.code, path_of(unpaid).exists(), path_of(paid).exists()) == (1, False, True)


def test_without_a_yes_nothing_is_changed_where_nobody_can_be_asked(run: Run, lose: Lose) -> None:
    record = ended(lose("[drop*1]"))
    left = run("resolve", record, "--by-wallet")
    assert (left.code, path_of(record).exists()) == (2, True)
    assert "The wallet stood still" in left.err
    assert "This holds if the folders named here are all that this key pays for" in left.err


@pytest.mark.parametrize("more", [["--paid", "x"], ["--not-paid"]])
def test_two_ways_at_once_are_a_wrong_call(more: list[str], run: Run, lose: Lose) -> None:
    record = lose("[drop*1]")
    assert run("resolve", record, "--by-wallet", *more).code == 2
    assert run("resolve", record, "--not-paid", "--also", "file:///x").code == 2
    assert path_of(record).exists()
