"""G1, G2: workers whose clocks differ by minutes or by a day pay once, and none takes a healthy POST of
another for lost.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamAmbiguousSubmissionError
from airflow_provider_seedream.hooks.resending import PostWithheld
from airflow_provider_seedream.hooks.seedream import FIRST_BYTE_SECONDS, SeedreamHook
from airflow_provider_seedream.ledger.records import Ledger
from airflow_provider_seedream.ledger.submit import OnUnknownSubmit, Request, Submitted, Submitter
from airflow_provider_seedream.model.clock import Clock
from airflow_provider_seedream.model.task_ref import TaskRef
from tests.guarantees.conftest import records
from tests.unit.values import submission

DAY = 86400.0
MADE_BY = TaskRef(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1)


def clock(off: float) -> Clock:
    """A worker's clock that is off by so many seconds."""
    return Clock(now_epoch=lambda: time.time() + off)


def submit(destination: str, prompt: str, at: Clock, on_unknown: OnUnknownSubmit = "fail") -> Submitted:
    """What a worker with this clock does."""
    request = Request(
        submission=submission(prompt=prompt), destination=destination, name=None, made_by=MADE_BY
    )
    return Submitter(SeedreamHook(), Ledger(destination), on_unknown, clock=at).submit_row(request)


@pytest.mark.parametrize("on_unknown", ["fail", "resubmit"])
@pytest.mark.parametrize("off", [300.0, -300.0, DAY, -DAY])
class TestTwoWorkersWhoseClocksDiffer:
    def test_one_waits_for_the_healthy_post_of_the_other(
        self, off: float, on_unknown: OnUnknownSubmit, emulator: Emulator, destination: str
    ) -> None:
        work = partial(submit, destination, "a watch [stall-after-accept:0.7*1]", on_unknown=on_unknown)
        with ThreadPoolExecutor(1) as other:
            first = other.submit(work, at=clock(0))
            assert emulator.books.wait_until(lambda books: books.posts == 1, timeout_seconds=60)
            second = work(at=clock(off))
        # The first worker reads the wallet and adds the billed credits after the id: the second one may come
        # in between.
        paid = [replace(one.generation, billed_credits=None) for one in (first.result(), second)]
        assert paid[0] == paid[1]
        assert (emulator.books.posts_received, first.result().is_new, second.is_new) == (1, True, False)

    def test_a_post_that_died_is_found_unknown_at_once(
        self, off: float, on_unknown: OnUnknownSubmit, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        emulator.inject("drop-after-accept", endpoint="generate", times=1)
        with pytest.raises(SeedreamAmbiguousSubmissionError):
            submit(destination, "a watch", clock(off))
        [file] = folder.glob("_seedream/ledger/*.json")
        file.write_text(file.read_text().replace('"unknown"', '"intent"'))  # as a kill leaves it
        then = time.time() - 1000
        os.utime(file, (then, then))
        if on_unknown == "fail":
            with pytest.raises(SeedreamAmbiguousSubmissionError, match="no answer is recorded"):
                submit(destination, "a watch", clock(0))
        else:
            submit(destination, "a watch", clock(0), on_unknown)
        assert emulator.books.posts_received == {"fail": 1, "resubmit": 2}[on_unknown]


class TestAClockThatJumpsBetweenClaimAndPost:
    """As after a pause of the machine: its steady clock may stand still and its wall clock jump, or the
    other way round.
    """

    @pytest.mark.parametrize("which", ["wall", "steady"])
    def test_the_post_is_held_back_and_the_record_looked_at_again(
        self, which: str, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        jumped = {"wall": 0.0, "steady": 0.0}

        class Hook(SeedreamHook):
            def submit(self, *args: Any, before_first_byte: Any = None, **kwargs: Any) -> Any:
                if not any(jumped.values()):
                    jumped[which] = FIRST_BYTE_SECONDS + 1
                return super().submit(*args, before_first_byte=before_first_byte, **kwargs)

        at = Clock(
            now_epoch=lambda: time.time() + jumped["wall"],
            steady_seconds=lambda: time.monotonic() + jumped["steady"],
        )
        request = Request(submission=submission(), destination=destination, name=None, made_by=MADE_BY)
        submitter = Submitter(Hook(), Ledger(destination), "fail", clock=at)
        assert submitter.submit_row(request).is_new
        assert (emulator.books.posts, submitter.posts, len(records(folder))) == (1, 1, 1)

    def test_what_is_held_back_sends_not_a_byte_of_the_body(self, emulator: Emulator) -> None:
        def withhold() -> None:
            raise PostWithheld("too late")

        with pytest.raises(PostWithheld, match="too late"):
            SeedreamHook().submit(submission(), before_first_byte=withhold)
        assert (emulator.books.posts, emulator.books.credits_charged) == (0, 0)
