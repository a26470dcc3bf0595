"""``resolve --all`` as people and scripts start it: a process of its own, in a terminal and behind a pipe."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_provider_seedream.emulator import Emulator
from tests.cli.conftest import Buy, Ended, Run, run_warm
from tests.cli.test_as_a_process import OURS, in_terminal

Lose = Callable[..., str]


Piped = Callable[..., Ended]


@pytest.fixture
def piped(run: Run, monkeypatch: pytest.MonkeyPatch) -> Piped:
    """Runs the command in this process, with these lines as its standard input."""

    def piped(destination: str, *lines: str, output: str = "json") -> Ended:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        return run("resolve", "--all", destination, "-o", output)

    return piped


def path_of(record: str) -> Path:
    return Path(record.removeprefix("file://"))


def changed(record: str, **fields: str) -> None:
    path_of(record).write_text(json.dumps(json.loads(path_of(record).read_text()) | fields))


@pytest.fixture
def three(lose: Lose, emulator: Emulator) -> tuple[list[str], str]:
    """Three unknown records in the order of their requests, and the id of the first, which was paid."""
    records = [lose("[drop-after-accept]"), lose("[drop*1]", name="hero"), lose("[reset*1]")]
    for second, record in enumerate(records):
        at = datetime.now(UTC) + timedelta(seconds=second - 10)
        changed(record, intent_at=at.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return records, emulator.books.submissions[0].seedream_task_id


class TestAScript:
    def test_each_answer_settles_the_record_that_it_names_in_any_order(
        self, three: tuple[list[str], str], destination: str, emulator: Emulator
    ) -> None:
        (paid, unpaid, other), task_id = three
        lines = f"{other} not-paid\n{unpaid} not-paid\n{paid} {task_id}\n"
        ended = run_warm(OURS, "resolve", "--all", destination, "-o", "json", stdin=lines)
        assert (ended.code, ended.json["left"]) == (0, [])
        assert [(one["record"], one["outcome"], one["paid"]) for one in ended.json["resolved"]] == [
            (paid, "submitted", "yes"),
            (unpaid, "removed", "no"),
            (other, "removed", "no"),
        ]
        assert [path_of(record).exists() for record in (paid, unpaid, other)] == [True, False, False]
        assert emulator.books.posts_received == 3  # none was sent by the command

    def test_what_is_skipped_or_not_named_is_left_and_the_exit_code_says_so(
        self, piped: Piped, three: tuple[list[str], str], destination: str
    ) -> None:
        (paid, unpaid, other), _ = three
        ended = piped(destination, f"{paid} skip", f"{unpaid} not-paid")
        assert (ended.code, ended.json["left"]) == (1, [paid, other])
        assert path_of(paid).exists()

    def test_a_line_of_no_unknown_record_changes_nothing(
        self, piped: Piped, three: tuple[list[str], str], destination: str, buy: Buy
    ) -> None:
        (paid, *_), _ = three
        known = buy("another").record
        for line in (f"{known} not-paid", "not-paid", f"{paid}"):
            ended = piped(destination, f"{paid} not-paid", line)
            assert (ended.code, ended.out) == (2, "")
            assert "Nothing was changed." in ended.err
        assert path_of(paid).exists()

    def test_what_resolve_refuses_is_refused_and_left(
        self, piped: Piped, three: tuple[list[str], str], destination: str, buy: Buy
    ) -> None:
        (first, second, third), _ = three
        known = buy("another").seedream_task_id
        changed(third, outcome="intent", settles_at="2999-01-01T00:00:00Z")
        nobodys = "0b8c1f0e-5a63-4b0e-9b0c-2f6f3a1d7c11"
        ended = piped(destination, f"{first} {known}", f"{second} {nobodys}", f"{third} not-paid")
        assert (ended.code, ended.json) == (
            1,
            {"destination": destination, "resolved": [], "left": [first, second, third]},
        )
        for reason in ("belongs to another request", "does not know this id", "on its way"):
            assert reason in ended.err

    def test_a_folder_without_unknown_records_is_done_and_one_without_a_ledger_a_wrong_call(
        self, piped: Piped, buy: Buy, destination: str
    ) -> None:
        buy()
        assert piped(destination, output="table").out == "0 records resolved, 0 left.\n"
        assert piped(f"{destination}/elsewhere").code == 2

    def test_a_record_that_cannot_be_read_is_left(
        self, piped: Piped, lose: Lose, buy: Buy, destination: str
    ) -> None:
        unreadable = buy().record or ""
        path_of(unreadable).write_text("{")
        assert (piped(destination).code, piped(destination).json["left"]) == (1, [unreadable])

    def test_the_wallets_stand_side_by_side(
        self, piped: Piped, lose: Lose, destination: str, emulator: Emulator
    ) -> None:
        record = lose()
        changed(record, wallet_balance="5000.00")
        emulator.configure(balance_credits=4990)
        assert "wallet     5000.00 before the request, 4990.00 now: 10.00 less" in piped(destination).err

    def test_a_wallet_that_cannot_be_read_stops_nobody(
        self, piped: Piped, lose: Lose, destination: str, emulator: Emulator
    ) -> None:
        record = lose("[drop*1]")
        emulator.configure(key="another-key")
        ended = piped(destination, f"{record} not-paid")
        assert (ended.code, ended.json["resolved"][0]["outcome"]) == (0, "removed")
        assert "not known now" in ended.err


class TestAPerson:
    def test_is_asked_one_after_the_other_and_again_after_a_refusal(
        self, three: tuple[list[str], str], destination: str
    ) -> None:
        (paid, unpaid, other), task_id = three
        typed = ["nonsense", task_id, "y", "n", "n", "n", "y", "s"]  # the second no is to "Proceed?"
        code, shown = in_terminal(
            OURS, "resolve", "--all", destination, answer="".join(f"{line}\n" for line in typed), columns=200
        )
        assert code == 1
        assert ["1 of 3" in shown, "2 of 3" in shown, "3 of 3" in shown] == [True] * 3
        assert "does not know this id" in shown
        assert json.loads(path_of(paid).read_text())["seedream_task_id"] == task_id
        assert (path_of(unpaid).exists(), path_of(other).exists()) == (False, True)
        assert "2 records resolved, 1 left." in shown

    @pytest.mark.parametrize("end", ["q\n", "\x04"])
    def test_may_stop_and_what_was_answered_is_settled(
        self, end: str, three: tuple[list[str], str], destination: str
    ) -> None:
        (_, unpaid, other), task_id = three
        code, shown = in_terminal(
            OURS, "resolve", "--all", destination, answer=f"{task_id}\ny\n{end}", columns=200
        )
        assert code == 1
        assert "1 record resolved, 2 left." in shown
        assert (path_of(unpaid).exists(), path_of(other).exists()) == (True, True)


class TestTheCall:
    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["{record}", "--all", "{folder}"],
            ["--all", "{folder}", "--not-paid"],
            ["--all", "{folder}", "--paid", "x"],
        ],
    )
    def test_it_is_for_one_record_or_for_all(
        self, arguments: list[str], run: Run, lose: Lose, destination: str
    ) -> None:
        record = lose()
        assert run("resolve", *(one.format(record=record, folder=destination) for one in arguments)).code == 2
        assert path_of(record).exists()
