"""G2: a POST with an unknown outcome is sent once; the task fails at once, without its retries, and says
what is at risk.
"""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamAmbiguousSubmissionError, SeedreamConnectionError
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.child import start_child, submit_task
from tests.guarantees.conftest import Build, Connect, images, records

ACCEPTED = (
    "drop-after-accept",
    "reset-after-accept",
    "stall-after-accept:30",
    "error-after-accept:502",
    "error-after-accept:500",
)
ACCEPTED_WITHOUT_ID = ("no-id", "html-after-accept")
PERHAPS_ACCEPTED = (
    "drop",
    "reset",
    "refuse:500",
    "refuse:503",
    "refuse:504",
    "refuse:408",
    "html",
    "bad-json",
    "empty",
    "stall:30",
)


@pytest.fixture
def tls() -> bool:
    """Users speak https, so this guarantee is shown over it."""
    return True


@pytest.fixture
def impatient(emulator: Emulator, connect: Connect) -> Emulator:
    """The emulator behind a connection that waits a second for an answer."""
    connect(emulator, request_timeout_seconds=1)
    return emulator


def assert_failed_at_once(outcome: Outcome, folder: Path, credits_at_risk: int) -> None:
    assert (outcome.state, outcome.tries) == ("failed", 1)
    assert isinstance(outcome.error, SeedreamAmbiguousSubmissionError)
    assert isinstance(outcome.error, AirflowFailException)
    [record] = records(folder)
    assert (record["outcome"], record["credits"]) == ("unknown", credits_at_risk)
    message = str(outcome.error)
    assert f"{credits_at_risk} credits" in message
    assert f"file://{folder}/_seedream/ledger/{record['key']}.json" in message
    assert "100000.00 before, " in message
    assert "Paid: unknown." in message


class TestAnOutcomeThatCannotBeKnown:
    @pytest.mark.parametrize("fault", ACCEPTED + ACCEPTED_WITHOUT_ID)
    def test_an_accepted_post_without_an_answer_is_never_sent_again(
        self, fault: str, impatient: Emulator, build: Build, folder: Path
    ) -> None:
        outcome = Runner().run(build(prompt=f"a watch [{fault}]", num_images=2, retries=3).submit)
        assert_failed_at_once(outcome, folder, 20)
        assert (impatient.books.posts, impatient.books.posts_received, impatient.books.credits_charged) == (
            1,
            1,
            20,
        )

    @pytest.mark.parametrize("fault", PERHAPS_ACCEPTED)
    def test_an_answer_that_does_not_say_is_taken_for_perhaps_paid(
        self, fault: str, impatient: Emulator, build: Build, folder: Path
    ) -> None:
        outcome = Runner().run(build(prompt=f"a watch [{fault}]", retries=3).submit)
        assert_failed_at_once(outcome, folder, 10)
        assert impatient.books.posts_received == 1

    def test_an_operator_that_waits_fails_the_same(
        self, impatient: Emulator, build: Build, folder: Path, deferrable: bool
    ) -> None:
        task = build(prompt="a watch [drop-after-accept]", wait=True, deferrable=deferrable, retries=3).submit
        assert_failed_at_once(Runner().run(task), folder, 10)
        assert (impatient.books.posts, impatient.books.status_calls, images(folder)) == (1, 0, [])

    def test_a_wallet_that_cannot_be_read_keeps_nobody_from_submitting(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        emulator.inject("refuse", endpoint="wallet", status=500)
        outcome = Runner().run(build(prompt="a watch [drop-after-accept]").submit)
        assert outcome.state == "failed"
        assert "Wallet:" not in str(outcome.error)
        assert records(folder)[0]["wallet_balance"] is None

    def test_a_clear_is_told_the_same_and_sends_nothing(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        runner, task = Runner(), build(prompt="a watch [no-id*1]", retries=3).submit
        runner.run(task)
        runner.clear(task)
        outcome = runner.run(task)
        assert (outcome.state, outcome.tries) == ("failed", 2)
        assert isinstance(outcome.error, SeedreamAmbiguousSubmissionError)
        assert (emulator.books.posts_received, len(records(folder))) == (1, 1)


class TestPayingAgainOnPurpose:
    def test_resubmit_pays_again_in_the_next_try(
        self, emulator: Emulator, build: Build, folder: Path
    ) -> None:
        chain = build(prompt="a watch [drop-after-accept*1]", on_unknown_submit="resubmit", retries=3)
        runner = Runner()
        outcome = runner.run(chain.submit)
        assert (outcome.state, outcome.tries) == ("success", 2)
        assert (emulator.books.posts, emulator.books.credits_charged) == (2, 20)
        first, second = sorted(records(folder), key=lambda record: int(record["attempt"]))
        assert (first["outcome"], second["outcome"]) == ("unknown", "submitted")
        assert (
            outcome.value["seedream_task_id"]
            == second["seedream_task_id"]
            == emulator.books.submissions[1].seedream_task_id
        )
        assert runner.run(chain.land).state == "success"

    def test_resubmit_never_sends_twice_in_one_try(self, emulator: Emulator, build: Build) -> None:
        outcome = Runner().run(
            build(prompt="a watch [drop-after-accept]", on_unknown_submit="resubmit", retries=0).submit
        )
        assert (outcome.state, emulator.books.posts_received) == ("failed", 1)

    def test_one_who_has_looked_can_change_the_task_and_clear_it(
        self, emulator: Emulator, build: Build
    ) -> None:
        runner, prompt = Runner(), "a watch [no-id*1]"
        careful, paying = (
            build(prompt=prompt).submit,
            build(prompt=prompt, on_unknown_submit="resubmit").submit,
        )
        assert runner.run(careful).state == "failed"
        runner.clear(paying)
        assert runner.run(paying).state == "success"
        assert emulator.books.posts == 2

    def test_a_resubmitted_request_is_found_again_like_any_other(
        self, emulator: Emulator, build: Build
    ) -> None:
        runner, task = (
            Runner(),
            build(prompt="a watch [no-id*1]", on_unknown_submit="resubmit", retries=1).submit,
        )
        paid = runner.run(task).value
        runner.clear(task)
        assert runner.run(task).value == paid
        assert emulator.books.posts == 2


class TestAPostThatSurelyWasNotSent:
    def test_a_refused_connection_leaves_no_trace_and_a_later_try_submits(
        self,
        emulator: Emulator,
        connect: Connect,
        build: Build,
        folder: Path,
        unused_port: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        runner, task = Runner(), build(retries=1).submit
        there = json.loads(emulator.airflow_connection_json())
        monkeypatch.setenv(
            "AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(there | {"host": f"http://127.0.0.1:{unused_port}"})
        )
        outcome = runner.run(task, until="up_for_retry")
        assert (outcome.state, type(outcome.error)) == ("up_for_retry", SeedreamConnectionError)
        assert records(folder) == []
        connect(emulator)
        assert runner.run(task).state == "success"
        assert emulator.books.posts == 1


class TestAWorkerThatIsKilledBetweenPostAndRecord:
    """A real process, killed with SIGKILL when the server has accepted its POST and not yet answered."""

    @pytest.fixture
    def killed(self, emulator: Emulator, destination: str) -> dict[str, Any]:
        options = {"prompt": "a watch [stall-after-accept:30*1]", "destination": destination, "retries": 3}
        child = start_child(**options)
        try:
            assert emulator.books.wait_until(lambda books: books.posts == 1, timeout_seconds=60)
        finally:
            child.kill()
        assert child.wait() == -signal.SIGKILL
        return options

    def test_the_next_try_fails_at_once_or_pays_again_on_request(
        self, killed: dict[str, Any], emulator: Emulator, folder: Path
    ) -> None:
        [record] = records(folder)
        assert (record["outcome"], record["seedream_task_id"], record["wallet_balance"]) == (
            "intent",
            None,
            "100000.00",
        )
        let_time_pass(folder)
        outcome = Runner().run(submit_task(**killed))
        assert (outcome.state, outcome.tries) == ("failed", 1)
        assert isinstance(outcome.error, SeedreamAmbiguousSubmissionError)
        assert f"{record['key']}.json" in str(outcome.error)
        assert "10 credits" in str(outcome.error)
        assert emulator.books.posts_received == 1
        assert Runner().run(submit_task(**killed, on_unknown_submit="resubmit")).state == "success"
        assert (emulator.books.posts, emulator.books.credits_charged) == (2, 20)


class TestAPostThatIsStillInFlight:
    def test_another_try_waits_for_its_record_and_attaches(
        self, emulator: Emulator, destination: str
    ) -> None:
        options = {"prompt": "a watch [stall-after-accept:2*1]", "destination": destination}
        with start_child(**options) as child:
            assert emulator.books.wait_until(lambda books: books.posts == 1, timeout_seconds=60)
            outcome = Runner().run(submit_task(**options))
        assert (outcome.state, child.returncode) == ("success", 0)
        assert outcome.value["seedream_task_id"] == emulator.books.submissions[0].seedream_task_id
        assert (emulator.books.posts, emulator.books.posts_received) == (1, 1)

    def test_a_try_that_is_refused_late_does_not_remove_the_record_of_another(
        self, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        """A person deletes the record of a POST that hangs and lets the task pay; then the first POST ends
        with a 402.
        """
        emulator.configure(balance_credits=10)
        emulator.inject("stall", seconds=8, endpoint="generate", times=1)  # in which the other pays
        options = {"prompt": "a watch", "destination": destination}
        with start_child(**options) as hanging:
            assert emulator.books.wait_until(lambda books: books.posts_received == 1, timeout_seconds=60)
            while emulator.faults.active:  # until its body has come: before that the POST would be held back
                time.sleep(0.01)
            [record] = folder.glob("_seedream/ledger/*.json")
            record.unlink()
            paid = Runner().run(submit_task(**options))
        assert (paid.state, hanging.returncode) == ("success", 1)
        emulator.configure(balance_credits=1000)
        assert Runner().run(submit_task(**options)).value == paid.value
        assert (emulator.books.posts, emulator.books.credits_charged) == (1, 10)


def let_time_pass(folder: Path, **amount: float) -> None:
    """Make the records older, as if the next try came later: by default an hour. The store's date is what
    tells.
    """
    earlier_by = timedelta(**(amount or {"hours": 1}))
    for file in folder.glob("_seedream/ledger/*.json"):
        record = json.loads(file.read_text())
        for name in ("intent_at", "settles_at"):
            record[name] = (
                (datetime.fromisoformat(record[name]) - earlier_by).isoformat().replace("+00:00", "Z")
            )
        file.write_text(json.dumps(record))
        then = time.time() - earlier_by.total_seconds()
        os.utime(file, (then, then))
