"""When a claim's POST must have ended: by the store's dates, whatever the clocks of two workers say."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from airflow_provider_seedream.ledger.records import Ledger
from airflow_provider_seedream.ledger.settling import GRAIN_SECONDS, Settling
from airflow_provider_seedream.model.clock import Clock, to_iso
from tests.unit.stores import ObjectStore, attached_store
from tests.unit.values import record

DAY = 86400.0
LONGEST = 140.0


@dataclass(slots=True)
class Sleeps:
    """A clock whose sleeps pass at once."""

    steady: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.steady += seconds

    @property
    def clock(self) -> Clock:
        return Clock(now_epoch=lambda: 0.0, steady_seconds=lambda: self.steady, sleep=self.sleep)


def claimed(writer_is_off_by: float = 0.0) -> dict[str, str]:
    """What a worker writes whose clock is off by so many seconds."""
    now = time.time() + writer_is_off_by
    return {"intent_at": to_iso(now), "settles_at": to_iso(now + LONGEST)}


@pytest.mark.parametrize("off", [0.0, 300.0, -300.0, DAY, -DAY])
class TestAWriterWhoseClockIsOff:
    def test_a_fresh_claim_is_under_way(self, off: float, destination: str) -> None:
        ledger, mine = Ledger(destination), record(**claimed(off))
        ledger.claim(mine)
        assert LONGEST - 60 < Settling(ledger, Sleeps().clock).seconds_left(mine) <= LONGEST + GRAIN_SECONDS

    def test_an_old_one_has_ended(self, off: float, tmp_path: Path) -> None:
        ledger, mine = Ledger(f"file://{tmp_path}"), record(**claimed(off))
        ledger.claim(mine)
        then = time.time() - LONGEST - 10
        os.utime(tmp_path / mine.file, (then, then))
        assert Settling(ledger, Sleeps().clock).seconds_left(mine) < 0


class TestAStoreWhoseDatesAreOf:
    def test_the_future_holds_nobody_up_for_longer_than_a_post_may_take(self, tmp_path: Path) -> None:
        ledger, mine = Ledger(f"file://{tmp_path}"), record(**claimed())
        ledger.claim(mine)
        os.utime(tmp_path / mine.file, (time.time() + DAY, time.time() + DAY))
        assert Settling(ledger, Sleeps().clock).seconds_left(mine) <= LONGEST + GRAIN_SECONDS

    def test_no_time_at_all_has_a_claim_watched_for_as_long_as_a_post_may_take(self) -> None:
        class Undated(ObjectStore):
            def modified(self, path: str) -> None:
                raise NotImplementedError

        uri, _ = attached_store(Undated())
        ledger, mine, sleeps = Ledger(uri), record(**claimed(-DAY)), Sleeps()
        ledger.claim(mine)
        settling = Settling(ledger, sleeps.clock)
        settling.wait(mine)
        assert settling.seconds_left(mine) <= 0
        assert sum(sleeps.slept) == pytest.approx(LONGEST + GRAIN_SECONDS)

    def test_an_answer_ends_the_wait(self) -> None:
        uri, store = attached_store()
        ledger, mine, sleeps = Ledger(uri), record(**claimed()), Sleeps()
        ledger.claim(mine)
        store.trouble("cat", *[lambda act: act()] * 3, lambda act: record(outcome="unknown").to_json())
        Settling(ledger, sleeps.clock).wait(mine)
        assert 0 < sum(sleeps.slept) < 10


class TestTheStoresClock:
    def test_the_stores_clock_dates_a_file_without_leaving_more_than_one(self, tmp_path: Path) -> None:
        ledger = Ledger(f"file://{tmp_path}")
        ledger.claim(record())
        ages = [ledger.age_seconds(record()) for _ in range(3)]
        assert all(age is not None and 0 <= age < 5 for age in ages)
        assert sorted(path.name for path in (tmp_path / "_seedream").iterdir()) == ["ledger", "now"]

    def test_the_stores_clock_that_cannot_be_asked_is_no_error(self) -> None:
        uri, store = attached_store()
        ledger = Ledger(uri)
        ledger.claim(record())

        def full(act: object) -> None:
            raise OSError("disk full")

        store.trouble("pipe", full)
        assert ledger.age_seconds(record()) is None
