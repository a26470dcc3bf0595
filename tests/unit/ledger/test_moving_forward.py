"""A record only moves forward, and only from what its writer last saw; late news lies beside it, never
over it.
"""

from __future__ import annotations

import fcntl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from airflow_provider_seedream.exceptions import SeedreamLedgerError
from airflow_provider_seedream.landing.outcome import KnownRecord
from airflow_provider_seedream.ledger.records import LATE, Ledger, Record
from airflow_provider_seedream.storage import Folder
from tests.unit.stores import answer_lost, attached_store, refused
from tests.unit.values import TASK_ID, record

OTHER_ID = "11111111-2222-4333-8444-555555555555"
INTENT = record()
UNKNOWN = record(outcome="unknown")
SUBMITTED = record(outcome="submitted", seedream_task_id=TASK_ID)
LANDED = replace(SUBMITTED, outcome="landed")
OTHERS = record(outcome="submitted", seedream_task_id=OTHER_ID, claim="c2")


def late(ledger: Ledger) -> list[str]:
    return ledger.folder.list(LATE)


@pytest.fixture(params=["disk", "store"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    return Ledger(f"file://{tmp_path}" if request.param == "disk" else attached_store()[0])


class TestForward:
    @pytest.mark.parametrize(
        ("there", "seen", "new", "then"),
        [
            pytest.param(INTENT, INTENT, SUBMITTED, SUBMITTED, id="an answer"),
            pytest.param(INTENT, INTENT, UNKNOWN, UNKNOWN, id="no answer"),
            pytest.param(SUBMITTED, SUBMITTED, LANDED, LANDED, id="landed"),
            pytest.param(
                UNKNOWN, INTENT, SUBMITTED, SUBMITTED, id="an unknown outcome is completed by its own answer"
            ),
            pytest.param(
                LANDED, INTENT, SUBMITTED, LANDED, id="the answer comes when the images have landed"
            ),
            pytest.param(LANDED, INTENT, UNKNOWN, LANDED, id="no answer comes, and the images have landed"),
            pytest.param(
                LANDED, LANDED, replace(LANDED, outcome="expired"), LANDED, id="landed stays landed"
            ),
            pytest.param(None, INTENT, SUBMITTED, SUBMITTED, id="taken away and paid for: it comes back"),
        ],
    )
    def test_a_record_moves_forward_and_nothing_is_lost(
        self, there: Record | None, seen: Record, new: Record, then: Record, ledger: Ledger
    ) -> None:
        if there:
            ledger.claim(there)
        assert ledger.advance(seen, new)
        assert (ledger.latest(INTENT.key), late(ledger)) == (then, [])

    @pytest.mark.parametrize(
        ("there", "new"),
        [
            pytest.param(OTHERS, SUBMITTED, id="another POST has the record"),
            pytest.param(OTHERS, UNKNOWN, id="another POST has the record, and this one had no answer"),
            pytest.param(record(claim="c2"), SUBMITTED, id="another POST is under way"),
            pytest.param(
                replace(LANDED, seedream_task_id=OTHER_ID), SUBMITTED, id="a person named another id"
            ),
            pytest.param(None, UNKNOWN, id="a person took it away as not paid, and no answer came"),
        ],
    )
    def test_late_news_lies_beside_the_record(
        self, there: Record | None, new: Record, ledger: Ledger
    ) -> None:
        if there:
            ledger.claim(there)
        assert not ledger.advance(INTENT, new)
        assert ledger.latest(INTENT.key) == there
        assert ledger.read(new.late_file) == new

    def test_a_record_that_cannot_be_understood_is_left(self, ledger: Ledger) -> None:
        ledger.folder.replace(INTENT.file, b"{")
        with pytest.raises(SeedreamLedgerError, match="cannot be understood"):
            ledger.advance(INTENT, SUBMITTED, attempts=1)
        assert ledger.folder.read(INTENT.file) == b"{"

    def test_a_write_whose_answer_was_lost_is_its_own(self) -> None:
        uri, store = attached_store()
        ledger = Ledger(uri)
        ledger.claim(INTENT)
        store.trouble("pipe", answer_lost)
        assert ledger.advance(INTENT, SUBMITTED)
        assert (ledger.latest(INTENT.key), late(ledger)) == (SUBMITTED, [])

    def test_of_two_writers_that_saw_the_same_one_moves_the_record(self, tmp_path: Path) -> None:
        start, folder = Barrier(8), Folder(f"file://{tmp_path}")
        folder.create("file", b"seen")

        def write(number: int) -> bool:
            start.wait()
            return folder.replace_if("file", b"seen", b"%d" % number)

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(write, range(8)))
        assert won.count(True) == 1
        assert folder.read("file") == b"%d" % won.index(True)

    def test_a_file_that_a_stopped_process_has_locked_is_an_error_and_not_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("airflow_provider_seedream.storage.disk._LOCK_SECONDS", 0.1)
        (tmp_path / "file").write_bytes(b"seen")
        with (tmp_path / "file").open("r+b") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(TimeoutError, match="does not go on"):
                Folder(f"file://{tmp_path}").replace_if("file", b"seen", b"new")
        assert (tmp_path / "file").read_bytes() == b"seen"
        assert Folder(f"file://{tmp_path}").replace_if("file", b"seen", b"new")


class TestAnEnd:
    """What a sensor or a batch writes when images have landed."""

    @pytest.mark.parametrize("there", [record(claim="c2"), OTHERS])
    def test_an_end_is_not_written_into_the_record_of_another_post(self, there: Record) -> None:
        uri, _ = attached_store()
        ledger = Ledger(uri)
        ledger.claim(there)
        KnownRecord(replace(ledger.generation(SUBMITTED), record=ledger.uri(there))).note("landed")
        assert ledger.latest(there.key) == there

    @pytest.mark.parametrize("claim", ["c1", None], ids=["claim known", "a Generation of 0.2"])
    def test_an_end_completes_a_record_that_its_storage_did_not_take(self, claim: str | None) -> None:
        uri, _ = attached_store()
        ledger = Ledger(uri)
        ledger.claim(INTENT)
        KnownRecord(replace(ledger.generation(SUBMITTED), claim=claim)).note("landed")
        latest: Any = ledger.latest(INTENT.key)
        assert (latest.outcome, latest.seedream_task_id) == ("landed", TASK_ID)

    def test_an_end_that_a_storage_does_not_take_is_no_error(self) -> None:
        uri, store = attached_store()
        ledger = Ledger(uri)
        ledger.claim(SUBMITTED)
        store.trouble("pipe", refused, refused)
        KnownRecord(ledger.generation(SUBMITTED)).note("landed")
        assert ledger.latest(INTENT.key) == SUBMITTED
