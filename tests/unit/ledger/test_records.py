"""The record of what was paid: claimed once, chained by attempts, and never guessed at."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_seedream.exceptions import SeedreamLedgerError
from airflow_provider_seedream.ledger.records import (
    Ledger,
    Record,
    file_stem,
    finished,
    record_file,
    record_key,
)
from airflow_provider_seedream.model.commands import program
from tests.unit.stores import NoBucket, Versioned, answer_lost, attached_store, refused, repeated
from tests.unit.values import TASK_ID, generation, record, submission

RACERS = 16
KEY_FACTS: dict[str, Any] = {
    "dag_id": "watches",
    "run_id": "scheduled__2026-02-25T00:00:00+00:00",
    "task_id": "submit",
    "destination": "s3://bucket/watches",
    "name": None,
    "fingerprint": "f" * 64,
}


class TestTheKey:
    """A changed key would find no record of what was paid before, and pay again."""

    def test_it_is_pinned(self) -> None:
        assert record_key(**KEY_FACTS) == "adf15f1f4fd485ceb73cfddb376c8f76693b9ef9be07ac53280f2eb573e044b2"
        assert (
            record_key(**{**KEY_FACTS, "name": "hero"})
            == "5c696dd6aae1a259b979fec56d88dc22522dfb6bb8990d91621e95dcee904385"
        )

    @pytest.mark.parametrize("field", list(KEY_FACTS))
    def test_everything_in_it_makes_another_request(self, field: str) -> None:
        assert record_key(**{**KEY_FACTS, field: "other"}) != record_key(**KEY_FACTS)

    def test_no_name_is_not_a_name(self) -> None:
        assert record_key(**{**KEY_FACTS, "name": "None"}) != record_key(**KEY_FACTS)

    def test_the_key_of_an_installation_with_a_name_is_its_own(self) -> None:
        keys = {record_key(**KEY_FACTS, installation=name) for name in (None, "prod-eu", "prod-us")}
        assert len(keys) == 3
        content: dict[str, Any] = KEY_FACTS | {"reuse": "content"}
        assert record_key(**content, installation="prod-eu") == record_key(**content)

    def test_the_file_of_a_record_is_pinned(self) -> None:
        assert [record_file("k", attempt) for attempt in (1, 2)] == [
            "_seedream/ledger/k.json",
            "_seedream/ledger/k.2.json",
        ]


class TestClaims:
    def test_of_racing_tries_one_wins(self, destination: str) -> None:
        start = Barrier(RACERS)

        def race(number: int) -> bool:
            ledger = Ledger(destination)
            start.wait()
            return ledger.claim(record(claim=f"try {number}"))

        with ThreadPoolExecutor(RACERS) as pool:
            won = list(pool.map(race, range(RACERS)))
        assert won.count(True) == 1
        latest = Ledger(destination).latest("a" * 64)
        assert latest is not None
        assert latest.claim == f"try {won.index(True)}"

    @pytest.mark.parametrize("trouble", [repeated, answer_lost])
    def test_a_put_that_reached_the_store_twice_is_the_winners(self, trouble: Any) -> None:
        uri, store = attached_store()
        store.trouble("pipe", trouble)
        assert Ledger(uri).claim(record(claim="mine"))
        assert not Ledger(uri).claim(record(claim="theirs"))

    def test_a_store_that_refuses_is_an_error_that_says_nothing_was_paid(self) -> None:
        uri, store = attached_store()
        store.trouble("pipe", refused)
        with pytest.raises(SeedreamLedgerError, match="403 Forbidden") as failed:
            Ledger(uri).claim(record())
        assert failed.value.paid == "no"

    def test_a_freed_claim_can_be_claimed_again(self, destination: str) -> None:
        ledger = Ledger(destination)
        ledger.claim(record(claim="first"))
        ledger.free(record(claim="first"))
        assert ledger.latest("a" * 64) is None
        assert ledger.claim(record(claim="second"))

    @pytest.mark.parametrize("trouble", [refused, answer_lost])
    @pytest.mark.parametrize(("operation", "number"), [("cat", 0), ("rm", 0), ("rm", 1), ("rm", 2)])
    def test_a_store_that_stumbles_once_frees_it_all_the_same(
        self, operation: str, number: int, trouble: Any
    ) -> None:
        uri, store = attached_store()
        ledger, mine = Ledger(uri), record(name="hero")
        ledger.check_store()
        ledger.reserve_name("hero", mine.key)
        ledger.note_spending(mine.spending)
        ledger.claim(mine)
        store.trouble(operation, *[lambda act: act()] * number, trouble)
        ledger.free(mine)
        assert (ledger.latest(mine.key), ledger.spent_by_task(mine.made_by)) == (None, [])
        assert ledger.reserve_name("hero", "another key")

    def test_another_try_that_claims_it_after_a_delete_whose_answer_was_lost_keeps_it(self) -> None:
        uri, store = attached_store()
        ledger, mine, theirs = Ledger(uri), record(claim="mine"), record(claim="theirs")
        ledger.check_store()
        ledger.claim(mine)

        def overtaken(act: Any) -> None:
            act()
            assert ledger.claim(theirs)
            refused(act)

        store.trouble("rm", lambda act: act(), overtaken)  # the note of what was spent goes first
        ledger.free(mine)
        assert ledger.latest(mine.key) == theirs


class TestAProcessThatIsStoppedWhileItGivesAClaimBack:
    """On a store that compares and swaps. On a disk `tests/guarantees/test_sleepers.py` stops a process."""

    @pytest.fixture
    def swapping(self) -> tuple[Ledger, Versioned]:
        store = Versioned()
        uri, _ = attached_store(store)
        ledger = Ledger(uri)
        ledger.check_store()
        return ledger, store

    def test_a_later_attempt_that_began_meanwhile_is_found(self, swapping: tuple[Ledger, Versioned]) -> None:
        ledger, store = swapping
        mine, later = record(claim="mine"), record(attempt=2, claim="later")
        paid = replace(later, outcome="submitted", seedream_task_id=TASK_ID)
        ledger.claim(mine)

        def stopped(act: Any) -> Any:
            assert ledger.claim(later)
            assert ledger.attempts(mine.key) == [mine, later]  # as a try sees it before its POST
            assert ledger.advance(later, paid)
            return act()

        store.trouble("rm", stopped)  # of its spending, after it has read the claim
        ledger.free(mine)
        assert (ledger.latest(mine.key), ledger.read(mine.file)) == (paid, None)

    def test_a_claim_that_another_try_has_made_there_meanwhile_stays(
        self, swapping: tuple[Ledger, Versioned]
    ) -> None:
        ledger, store = swapping
        mine, theirs = record(claim="mine"), record(claim="theirs")
        paid = replace(theirs, outcome="submitted", seedream_task_id=TASK_ID)
        ledger.claim(mine)

        def stopped(act: Any) -> Any:
            Ledger(ledger.folder.base).free(mine)  # a person
            assert ledger.claim(theirs)
            assert ledger.advance(theirs, paid)
            return act()

        store.trouble("rm", stopped)  # of its spending, after it has read the claim
        ledger.free(mine)
        assert ledger.latest(mine.key) == paid

    def test_what_is_free_is_claimed_by_one_of_racing_tries(self, swapping: tuple[Ledger, Versioned]) -> None:
        ledger, _ = swapping
        ledger.claim(record(claim="mine"))
        ledger.free(record(claim="mine"))
        barrier = Barrier(RACERS)

        def race(number: int) -> bool:
            barrier.wait()
            return Ledger(ledger.folder.base).claim(record(claim=f"racer {number}"))

        with ThreadPoolExecutor(RACERS) as pool:
            won = list(pool.map(race, range(RACERS)))
        latest = ledger.latest(record().key)
        assert won.count(True) == 1
        assert latest == record(claim=f"racer {won.index(True)}")

    def test_what_is_free_is_not_claimed_before_a_later_attempt(
        self, swapping: tuple[Ledger, Versioned]
    ) -> None:
        ledger, _ = swapping
        mine, later = record(claim="mine"), record(attempt=2, claim="later")
        ledger.claim(mine)
        ledger.claim(later)
        ledger.free(mine)
        assert not ledger.claim(record(claim="another"))
        assert ledger.latest(mine.key) == later

    def test_an_id_that_comes_after_all_takes_its_place_again(
        self, swapping: tuple[Ledger, Versioned]
    ) -> None:
        ledger, _ = swapping
        mine = record(claim="mine")
        paid = replace(mine, outcome="submitted", seedream_task_id=TASK_ID)
        ledger.claim(mine)
        Ledger(ledger.folder.base).free(mine)
        assert ledger.advance(mine, paid)
        assert ledger.latest(mine.key) == paid


class TestTheChainOfAttempts:
    def test_no_record_is_none(self, destination: str) -> None:
        assert Ledger(destination).latest("a" * 64) is None

    def test_the_latest_attempt_is_found(self, destination: str) -> None:
        ledger = Ledger(destination)
        for attempt in (1, 2, 3):
            ledger.claim(record(attempt=attempt, claim=f"c{attempt}"))
        latest = ledger.latest("a" * 64)
        assert latest is not None
        assert latest.attempt == 3

    def test_requests_do_not_see_each_other(self, destination: str) -> None:
        ledger = Ledger(destination)
        ledger.claim(record())
        assert ledger.latest("b" * 64) is None

    def test_a_claim_on_the_next_attempt_is_raced_for_too(self, destination: str) -> None:
        ledger = Ledger(destination)
        assert ledger.claim(record(attempt=2, claim="one"))
        assert not ledger.claim(record(attempt=2, claim="two"))

    @pytest.mark.parametrize(
        ("outcome", "refunded", "is_open"),
        [
            ("failed", True, True),
            ("failed", False, False),
            ("intent", False, False),
            ("unknown", False, False),
            ("landed", False, False),
        ],
    )
    def test_only_a_refund_opens_the_next_attempt(self, outcome: str, refunded: bool, is_open: bool) -> None:
        assert (
            record(outcome=outcome, refunded=refunded, seedream_task_id=TASK_ID).is_open_for_next is is_open
        )

    def test_an_end_is_written_with_the_id(self) -> None:
        ended = finished(
            record(), generation(), "failed", at="2026-02-25T12:05:00Z", refunded=True, detail="tired"
        )
        assert (ended.outcome, ended.refunded, ended.detail, ended.seedream_task_id) == (
            "failed",
            True,
            "tired",
            TASK_ID,
        )
        assert (ended.claim, ended.credits) == (record().claim, 10)


class TestReadingBack:
    @pytest.mark.parametrize(
        "value",
        [
            record(),
            record(
                outcome="submitted",
                seedream_task_id=TASK_ID,
                wallet_balance="150.00",
                name="Größe",
                detail="🦊",
            ),
        ],
    )
    def test_a_record_survives_its_file(self, destination: str, value: Record) -> None:
        ledger = Ledger(destination)
        ledger.claim(value)
        assert ledger.read(value.file) == value

    def test_it_is_readable_json(self, tmp_path: Path) -> None:
        ledger = Ledger(f"file://{tmp_path}")
        ledger.claim(record())
        text = (tmp_path / record().file).read_text()
        assert json.loads(text)["submission"]["prompt"] == "a leather watch"
        assert text.startswith('{\n  "schema_version": 1,\n') and text.endswith("}\n")

    @pytest.mark.parametrize(
        "data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", b'{"schema_version": 2}', b"<html>"]
    )
    def test_a_record_that_cannot_be_understood_is_an_error_and_not_nothing(
        self, destination: str, data: bytes
    ) -> None:
        ledger = Ledger(destination)
        ledger.folder.replace(record().file, data)
        with pytest.raises(SeedreamLedgerError, match="cannot be understood"):
            ledger.latest("a" * 64)

    @pytest.mark.parametrize(
        "change",
        [
            {"schema_version": "1"},
            {"added_later": 1},
            {"outcome": "paid"},
            {"outcome": None},
            {"outcome": "submitted", "seedream_task_id": None},
            {"outcome": "landed", "seedream_task_id": "../x"},
            {"submission": None},
            {"made_by": []},
            {"embed_metadata": "yes"},
            {"embed_metadata": 1},
            {"max_image_bytes": "1"},
            {"max_image_bytes": -1},
        ],
    )
    def test_a_record_outside_the_schema_is_an_error(self, destination: str, change: dict[str, Any]) -> None:
        ledger = Ledger(destination)
        ledger.folder.replace(record().file, json.dumps({**asdict(record()), **change}).encode())
        with pytest.raises(SeedreamLedgerError, match="cannot be understood"):
            ledger.latest("a" * 64)

    @pytest.mark.parametrize("field", ["key", "outcome", "submission", "made_by", "settles_at", "credits"])
    def test_a_record_that_lacks_a_field_is_an_error(self, destination: str, field: str) -> None:
        fields = asdict(record())
        del fields[field]
        ledger = Ledger(destination)
        ledger.folder.replace(record().file, json.dumps(fields).encode())
        with pytest.raises(SeedreamLedgerError, match=field):
            ledger.latest("a" * 64)

    def test_a_later_attempt_that_cannot_be_read_is_an_error_too(self) -> None:
        uri, store = attached_store()
        ledger = Ledger(uri)
        ledger.claim(record())
        store.trouble("cat", lambda act: act(), refused)
        with pytest.raises(SeedreamLedgerError, match="Cannot read"):
            ledger.latest("a" * 64)


class TestSaving:
    def test_a_store_that_stumbles_once_gets_the_id_all_the_same(self) -> None:
        uri, store = attached_store()
        ledger = Ledger(uri)
        ledger.claim(record())
        store.trouble("pipe", refused)
        assert ledger.advance(record(), replace(record(), outcome="submitted", seedream_task_id=TASK_ID))
        latest = ledger.latest("a" * 64)
        assert latest is not None
        assert latest.seedream_task_id == TASK_ID

    def test_a_store_that_stays_away_is_an_error_that_names_the_record(self) -> None:
        uri, store = attached_store()
        ledger = Ledger(uri)
        ledger.claim(record())
        store.trouble("pipe", refused, refused)  # the second time by the plain way
        with pytest.raises(SeedreamLedgerError, match=record().file):
            ledger.advance(record(), replace(record(), outcome="unknown"), attempts=1)


class TestNames:
    def test_a_name_belongs_to_one_request(self, destination: str) -> None:
        ledger = Ledger(destination)
        assert ledger.reserve_name("hero", "key 1")
        assert ledger.reserve_name("hero", "key 1")
        assert not ledger.reserve_name("hero", "key 2")

    def test_of_racing_requests_one_gets_it(self, destination: str) -> None:
        start = Barrier(RACERS)

        def race(number: int) -> bool:
            start.wait()
            return Ledger(destination).reserve_name("hero", f"key {number}")

        with ThreadPoolExecutor(RACERS) as pool:
            assert list(pool.map(race, range(RACERS))).count(True) == 1

    def test_a_freed_claim_gives_its_name_back(self, destination: str) -> None:
        ledger, mine = Ledger(destination), record(name="hero")
        ledger.reserve_name("hero", mine.key)
        ledger.claim(mine)
        ledger.free(mine)
        assert ledger.reserve_name("hero", "another key")

    def test_the_name_of_another_request_is_not_given_back(self, destination: str) -> None:
        ledger = Ledger(destination)
        ledger.reserve_name("hero", "another key")
        ledger.release_name(record(name="hero"))
        assert not ledger.reserve_name("hero", "a third key")

    def test_another_take_has_a_name_of_its_own(self, destination: str) -> None:
        ledger = Ledger(destination)
        second = record(name="hero", submission=submission(take=2).describe())
        ledger.reserve_name("hero", "key 1")
        ledger.release_name(second)
        assert not ledger.reserve_name("hero", "key 2")

    @pytest.mark.parametrize(
        ("name", "take", "stem"),
        [(None, 1, None), (None, 2, None), ("hero", 1, "hero"), ("hero", 2, "hero_take2")],
    )
    def test_a_further_take_is_told_by_its_name(self, name: str | None, take: int, stem: str | None) -> None:
        assert file_stem(name, take) == stem

    def test_the_budget_and_the_name_are_given_back_before_the_claim(self) -> None:
        """Whoever waits for the claim must not lose the name it then reserves."""
        uri, store = attached_store()
        ledger, mine = Ledger(uri), record(name="hero")
        ledger.reserve_name("hero", mine.key)
        ledger.note_spending(mine.spending)
        ledger.claim(mine)
        seen: list[bool] = []
        see = lambda act: (act(), seen.append(ledger.latest(mine.key) is not None))  # noqa: E731
        store.trouble("rm", see, see)
        ledger.free(mine)
        assert seen == [True, True]

    def test_a_name_that_cannot_be_given_back_does_not_keep_the_claim(self) -> None:
        uri, store = attached_store()
        ledger, mine = Ledger(uri), record(name="hero")
        ledger.reserve_name("hero", mine.key)
        ledger.claim(mine)
        store.trouble("rm", lambda act: act(), refused)  # the note of what was spent goes first
        with pytest.raises(SeedreamLedgerError):
            ledger.free(mine, attempts=1)
        assert ledger.latest(mine.key) is None


def test_a_bucket_that_does_not_exist_is_told_with_what_to_do() -> None:
    uri, _ = attached_store(NoBucket())
    with pytest.raises(
        SeedreamLedgerError, match=rf"^BUCKET MISSING: .*{uri}.* Paid: no\. Create the bucket, or correct"
    ) as told:
        Ledger(uri).check_store()
    assert isinstance(told.value, AirflowFailException)
    assert told.value.commands == [f"{program()} check {uri}"]
