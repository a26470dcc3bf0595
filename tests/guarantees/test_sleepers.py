"""G1, G2: a worker that is stopped (a paused machine, SIGSTOP) and wakes when others have gone on: it never
writes over what they found out, and never sends what is no longer its to send. Real processes, really
stopped.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_seedream.cli.definition import main
from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.ledger.claims import READ_AGAIN_SECONDS
from tests.airflow.runner import Runner
from tests.guarantees.child import start_child, submit_task
from tests.guarantees.conftest import Connect, images, records
from tests.guarantees.test_g2_unknown_posts import let_time_pass


@contextmanager
def stopped_before(
    event: str, folder: Path, work: Callable[[], Any], *, naming: str = ""
) -> Iterator[Callable[[], bool]]:
    """A forked worker that stops itself at the first such act after its claim. Gives what wakes it: whether
    it then succeeded.

    :param naming: a text of the first argument of the act.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sys.addaudithook(_stop_once(event, folder, naming))
            code = 0 if work().state == "success" else 2
        finally:
            os._exit(code)
    ended: list[int] = []
    stopped: list[float] = []

    def wake() -> bool:
        while time.monotonic() - stopped[0] <= READ_AGAIN_SECONDS:
            # `let_time_pass` passes for the store, not for the worker
            time.sleep(0.05)
        os.kill(child, signal.SIGCONT)
        ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return ended == [0]

    try:
        _, status = os.waitpid(child, os.WUNTRACED)
        assert os.WIFSTOPPED(status), f"ended with {status} before it was stopped"
        stopped.append(time.monotonic())
        yield wake
    finally:
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _stop_once(event: str, folder: Path, naming: str) -> Callable[[str, tuple[Any, ...]], None]:
    stops = iter([None])

    def hook(happened: str, arguments: tuple[Any, ...]) -> None:
        if happened == event and naming in str(arguments[0]) and any(folder.glob("_seedream/ledger/*.json")):
            for _ in stops:
                os.kill(os.getpid(), signal.SIGSTOP)

    return hook


def resolve(folder: Path, *how: str) -> None:
    """What a person does about the one record of a folder."""
    [file] = folder.glob("_seedream/ledger/*.json")
    with pytest.raises(SystemExit) as ended:
        main(["resolve", f"file://{file}", *how, "--yes"])
    assert ended.value.code == 0


class TestAPersonStoppedWhileTheySayNotPaid:
    """Between the check and the delete, on a disk. On other stores: `tests/unit/ledger/test_records.py`
    and `tests/stores`.
    """

    @pytest.mark.parametrize(
        ("event", "naming"),
        [("os.rename", "/ledger/"), ("os.remove", "/ledger/")],
        ids=["before-it-is-written", "before-the-delete"],
    )
    def test_a_later_attempt_or_a_new_claim_is_paid_once(
        self, event: str, naming: str, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        work = lambda: Runner().run(  # noqa: E731
            submit_task(prompt="a watch", destination=destination, on_unknown_submit="resubmit")
        )

        def says_not_paid() -> SimpleNamespace:
            resolve(folder, "--not-paid")
            return SimpleNamespace(state="success")

        with stopped_before("http.client.connect", folder, work):
            let_time_pass(folder)
        with stopped_before(event, folder, says_not_paid, naming=naming) as wake:
            work()  # pays behind it, or cannot lock the file and fails
            wake()
        assert work().state == "success"
        assert (emulator.books.posts, emulator.books.credits_charged) == (1, 10)


def late_news(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in folder.glob("_seedream/late/*.json")]


@pytest.mark.parametrize("act", ["http.client.connect", "http.client.send"])
class TestAWorkerStoppedBetweenClaimAndPost:
    def test_a_worker_stopped_between_claim_and_post_does_not_send_once_a_person_has_freed_its_claim_and_another_paid(
        self, act: str, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        work = lambda: Runner().run(submit_task(prompt="a watch", destination=destination))  # noqa: E731
        with stopped_before(act, folder, work) as wake:
            let_time_pass(folder)
            resolve(folder, "--not-paid")
            paid = work()
            before = records(folder)
            assert wake()
        assert paid.state == "success"
        assert (emulator.books.posts, emulator.books.credits_charged) == (1, 10)
        assert (records(folder), late_news(folder)) == (before, [])

    def test_a_worker_stopped_between_claim_and_post_does_not_send_once_another_has_resubmitted(
        self, act: str, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        work = lambda: Runner().run(  # noqa: E731
            submit_task(prompt="a watch", destination=destination, on_unknown_submit="resubmit")
        )
        with stopped_before(act, folder, work) as wake:
            let_time_pass(folder)
            paid = work()
            assert wake()
        assert paid.state == "success"
        assert (emulator.books.posts, emulator.books.credits_charged) == (1, 10)


class TestAWorkerStoppedInItsPost:
    @pytest.fixture
    def impatient(self, emulator: Emulator, connect: Connect) -> Emulator:
        connect(emulator, request_timeout_seconds=1)
        return emulator

    def test_a_worker_stopped_in_its_post_leaves_a_record_that_a_person_has_resolved(
        self, impatient: Emulator, destination: str, folder: Path
    ) -> None:
        """Its answer is lost: it would have written `unknown`, and with it the id would be gone."""
        options = {"prompt": "a watch [stall-after-accept:30*1]", "destination": destination}
        with start_child(**options) as child:
            assert impatient.books.wait_until(lambda books: books.posts == 1, timeout_seconds=60)
            child.send_signal(signal.SIGSTOP)
            let_time_pass(folder)
            resolve(folder, "--paid", impatient.books.submissions[0].seedream_task_id)
            landed = Runner().run(submit_task(**options, wait=True, deferrable=False, poke_interval=0.05))
            before = records(folder)
            child.send_signal(signal.SIGCONT)
        assert (landed.state, child.returncode, before[0]["outcome"]) == ("success", 0, "landed")
        assert (records(folder), late_news(folder), len(images(folder))) == (before, [], 1)
        assert impatient.books.posts_received == 1

    def test_a_worker_stopped_in_its_post_whose_post_was_paid_after_all_tells_it_beside_the_record_of_another(
        self, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        options = {"prompt": "a watch [stall-after-accept:1*1]", "destination": destination, "name": "hero"}
        with start_child(**options) as child:
            assert emulator.books.wait_until(lambda books: books.posts == 1, timeout_seconds=60)
            child.send_signal(signal.SIGSTOP)
            let_time_pass(folder)
            resolve(folder, "--not-paid")  # a person's mistake
            other = Runner().run(submit_task(**options))
            before = records(folder)
            child.send_signal(signal.SIGCONT)
        assert (other.state, child.returncode) == ("success", 0)
        first, second = (submission.seedream_task_id for submission in emulator.books.submissions)
        assert (records(folder), before[0]["seedream_task_id"]) == (before, second)
        [news] = late_news(folder)
        assert (news["outcome"], news["seedream_task_id"], news["attempt"]) == ("submitted", first, 1)

    def test_a_worker_stopped_in_its_post_whose_claim_was_taken_away_and_not_made_again_writes_it_anew(
        self, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        options = {"prompt": "a watch [stall-after-accept:1*1]", "destination": destination}
        with start_child(**options) as child:
            assert emulator.books.wait_until(lambda books: books.posts == 1, timeout_seconds=60)
            child.send_signal(signal.SIGSTOP)
            let_time_pass(folder)
            resolve(folder, "--not-paid")
            child.send_signal(signal.SIGCONT)
        [record] = records(folder)
        assert (child.returncode, record["outcome"]) == (0, "submitted")
        assert Runner().run(submit_task(**options)).value["seedream_task_id"] == record["seedream_task_id"]
        assert emulator.books.posts == 1
