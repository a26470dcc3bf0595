"""The books on a disk and in an object store: racing writers never overspend together; the ledger settles
what was left behind.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_seedream.exceptions import SeedreamCapError, SeedreamInputError, SeedreamLedgerError
from airflow_provider_seedream.ledger.admission import Admission, Booking
from airflow_provider_seedream.ledger.books import BOOKS, Books, books_at
from airflow_provider_seedream.ledger.cap_rules import Passed, Refusal, admit
from airflow_provider_seedream.ledger.pages import Entry, month_of
from airflow_provider_seedream.ledger.records import Ledger
from airflow_provider_seedream.ledger.settled_books import QUIET_SECONDS
from airflow_provider_seedream.ledger.spending import Spending
from airflow_provider_seedream.model.caps import Cap
from airflow_provider_seedream.model.clock import Clock
from airflow_provider_seedream.model.task_ref import TaskRef
from tests.unit.stores import Deaf, ObjectStore, Versioned, answer_lost, attached_store, refused
from tests.unit.values import TASK_ID, record
from tools.processes import wait_until

RACERS = 12
NOON = 1_795_953_600.0  # 2026-11-29 12:00 UTC
MONTH = month_of(NOON)
DAY = "2026-11-29"
BY = TaskRef(dag_id="watches", run_id="r", task_id="submit", try_number=1)
CAP = Cap(period="day", credits=50)


def clock_at(epoch: float) -> Clock:
    """A clock that goes on by its sleeps."""
    slept: list[float] = []
    return Clock(
        now_epoch=lambda: epoch + sum(slept), steady_seconds=lambda: 7.0 + sum(slept), sleep=slept.append
    )


def admission(
    books: str | None, *, caps: tuple[Cap, ...] = (CAP,), at: float = NOON, told: Any = None, **more: Any
) -> Admission:
    settings = SimpleNamespace(caps=caps, books=books, warn_at=0.8)
    hook: Any = SimpleNamespace(settings=settings, seedream_conn_id="seedream_default")
    return Admission(hook, str(books), told=told, clock=clock_at(at), **more)


def spending(number: int = 1, *, claim: str = "a", price: int = 10) -> Spending:
    return Spending(made_by=BY, key=f"{number:064x}", attempt=1, credits=price, claim=claim)


def spent(books: str, cap: Cap = CAP) -> int:
    page = Books(books).look(MONTH)
    return page.spent(cap, DAY) if page else 0


@pytest.fixture(params=["file", "object store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}/watches" if request.param == "file" else attached_store(Versioned())[0]


@pytest.fixture
def versioned() -> tuple[str, Versioned]:
    uri, store = attached_store(Versioned())
    assert isinstance(store, Versioned)
    return uri, store


class TestAdmission:
    def test_without_caps_no_storage_is_asked(self, tmp_path: Path) -> None:
        assert admission(f"file://{tmp_path}", caps=()).admit(spending()) is None
        assert list(tmp_path.iterdir()) == []

    def test_it_admits_up_to_the_cap_and_says_who_spent_it_and_when_there_is_room(self, place: str) -> None:
        one = admission(place)
        for number in range(5):
            assert isinstance(one.admit(spending(number)), Booking)
        with pytest.raises(SeedreamCapError) as failed:
            one.admit(spending(5))
        error = failed.value
        assert isinstance(error, AirflowFailException)
        assert (error.paid, error.cap, error.room_at) == (
            "no",
            "max_credits_per_day=50",
            "2026-11-30T00:00:00Z",
        )
        assert error.spenders == {"watches/submit": 50}
        assert (
            "50 credits are spent this UTC day (watches/submit 50), and this request costs 10"
            in error.message
        )
        assert "2026-11-30 00:00 UTC" in error.on_retry
        assert spent(place) == 50

    def test_at_the_cap_of_a_label_it_says_that_the_tasks_are_those_of_any_label(
        self, tmp_path: Path
    ) -> None:
        caps = (Cap(period="day", credits=10, label="team=shop"), CAP)
        place = f"file://{tmp_path}"
        assert isinstance(admission(place, caps=caps).admit(spending(0)), Booking)
        shop = admission(place, caps=caps, labels=("team=shop",))
        assert isinstance(shop.admit(spending(1)), Booking)
        with pytest.raises(
            SeedreamCapError,
            match=r"10 credits are spent this UTC day \(with any label or none: watches/submit 20\)",
        ):
            shop.admit(spending(2))

    def test_a_request_that_fails_before_its_claim_is_taken_back(self, place: str) -> None:
        with pytest.raises(KeyError), admission(place).admitted(spending()):
            raise KeyError
        assert spent(place) == 0

    def test_a_time_limit_that_ends_a_callback_takes_the_request_back(self, place: str) -> None:
        def told(_: Passed) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            admission(place, told=told).admit(spending(price=50))
        assert spent(place) == 0

    def test_racing_threads_and_processes_spend_the_cap_exactly(self, place: str) -> None:
        """Half of the racers share books, as threads of a process do; the others have books of their own,
        as processes have.
        """
        start, shared, told = Barrier(RACERS), Books(place), list[Passed]()

        def race(racer: int) -> bool:
            books = shared if racer % 2 else Books(place)
            asked = Entry(
                key=f"{racer:064x}",
                attempt=1,
                claims=("a",),
                credits=10,
                at=int(NOON),
                destination=place,
                by="d/t",
            )
            start.wait()
            answer = books.change(MONTH, lambda page: admit(page, asked, (CAP,), warn_at=0.6))
            if isinstance(answer, Refusal):
                return False
            told.extend(answer)
            return True

        with ThreadPoolExecutor(RACERS) as racers:
            assert [*racers.map(race, range(RACERS))].count(True) == 5
        assert [one.spent_credits for one in told] == [30], "one warning for all of them"
        assert spent(place) == 50

    def test_a_connection_without_a_place_for_its_books_is_refused_by_name(self) -> None:
        with pytest.raises(SeedreamInputError, match="books"):
            admission(None).admit(spending())
        with pytest.raises(SeedreamInputError, match="Connection extra books"):
            admission("relative/path").admit(spending())

    def test_all_who_share_the_books_get_one_warning(self, place: str) -> None:
        told: list[Passed] = []
        for number in range(5):
            admission(place, told=told.append).admit(spending(number))
        assert [(one.cap, one.spent_credits) for one in told] == [(CAP, 40)]

    def test_rows_beyond_the_cap_ask_the_storage_once_a_minute(
        self, versioned: tuple[str, Versioned]
    ) -> None:
        uri, store = versioned
        one = admission(uri)
        one.admit(spending(1, price=50))
        for number in range(2, 9):
            with pytest.raises(SeedreamCapError):
                one.admit(spending(number))
            store.requests[:] = store.requests[:40]
        assert len(store.requests) <= 40
        assert not one.has_room(10)
        assert spent(uri) == 50


class TestCallsOfTheStorage:
    def test_a_process_that_wrote_last_needs_one_put(self, versioned: tuple[str, Versioned]) -> None:
        uri, store = versioned
        one = admission(uri)
        one.admit(spending(1))
        store.requests.clear()
        one.admit(spending(2))
        assert [method for method, _ in store.requests] == ["PUT"]

    def test_an_admission_costs_the_same_however_much_was_spent_before(
        self, versioned: tuple[str, Versioned]
    ) -> None:
        """This library takes a HEAD more; those of S3, GCS and Azure have the version in the answer to the
        GET.
        """
        uri, store = versioned
        one, calls = admission(uri, caps=(Cap(period="day", credits=100_000),)), []
        for number in range(300):
            one.admit(spending(number))
            if number % 100 == 99:
                store.requests.clear()
                Books(uri).change(MONTH, lambda page: (page.billed("x", 1), None))
                calls.append([method for method, _ in store.requests])
        assert calls == [["HEAD", "GET"]] * 3

    def test_threads_share_a_write(self, versioned: tuple[str, Versioned]) -> None:
        """One write is on its way; what the other fifteen ask for meanwhile is written together."""
        uri, store = versioned
        one, books = admission(uri, caps=(Cap(period="day", credits=10_000),)), books_at(uri)
        one.admit(spending(0))
        store.requests.clear()

        def when_all_wait(act: Any) -> Any:
            wait_until(
                lambda: len(books._months[MONTH].asked) == 15,
                what="fifteen threads to wait",
                timeout_seconds=60,
                every_seconds=0.01,
            )
            return act()

        store.trouble("pipe", when_all_wait)
        with ThreadPoolExecutor(16) as threads:
            assert all(threads.map(one.admit, map(spending, range(1, 17))))
        assert [method for method, _ in store.requests] == ["PUT", "PUT"]
        assert spent(uri, Cap(period="day", credits=0)) == 170


class TestAStoreThatStumbles:
    def test_a_write_whose_answer_was_lost_counts_once(self, versioned: tuple[str, Versioned]) -> None:
        uri, store = versioned
        one = admission(uri)
        one.admit(spending(1))
        store.trouble("pipe", answer_lost)
        assert one.admit(spending(2)) is not None
        assert spent(uri) == 20

    def test_a_write_that_fails_admits_nothing(self, versioned: tuple[str, Versioned]) -> None:
        uri, store = versioned
        one = admission(uri)
        one.admit(spending(1))
        store.trouble("pipe", refused)
        with pytest.raises(SeedreamLedgerError, match="books of caps"):
            one.admit(spending(2))
        assert spent(uri) == 10

    def test_a_page_that_is_none_admits_nothing(self, versioned: tuple[str, Versioned]) -> None:
        uri, _ = versioned
        admission(uri).admit(spending(1))
        Ledger(uri).folder.replace(f"{BOOKS}/{MONTH}.json", b"{}")
        with pytest.raises(SeedreamLedgerError, match="cannot be understood"):
            Books(uri).change(MONTH, lambda page: (page, None))

    @pytest.mark.parametrize("store", [ObjectStore, Deaf], ids=["without conditions", "that ignores them"])
    def test_a_store_that_cannot_replace_by_condition_is_refused_before_anything_is_sent(
        self, store: Any
    ) -> None:
        uri, _ = attached_store(store())
        with pytest.raises(SeedreamLedgerError) as failed:
            admission(uri).admit(spending())
        assert isinstance(failed.value, AirflowFailException)
        assert failed.value.verdict == "STORAGE UNSUITABLE"

    def test_one_that_takes_every_version_is_refused_too(self) -> None:
        store = Versioned()
        store.honours_if_match = False
        uri, _ = attached_store(store)
        with pytest.raises(SeedreamLedgerError, match="cannot keep the books of caps"):
            admission(uri).admit(spending())

    @pytest.mark.parametrize("uri", ["sftp://host/books", "s4://bucket/books"])
    def test_a_place_that_nothing_installed_opens_is_named_and_final(self, uri: str) -> None:
        for ask in (lambda: admission(uri).admit(spending()), lambda: Books(uri).look(MONTH)):
            with pytest.raises(
                SeedreamLedgerError, match=f"books of caps in {uri} cannot be opened: No installed"
            ) as failed:
                ask()
            assert isinstance(failed.value, AirflowFailException)
            assert failed.value.verdict == "EXTRA MISSING"


class TestSettling:
    """Five requests fill the cap; what has become of them is in the ledger. A sixth is asked for."""

    LATER = NOON + QUIET_SECONDS + 1

    def fill(self, uri: str) -> None:
        one = admission(uri)
        for number in range(5):
            one.admit(spending(number))

    def test_an_entry_without_a_record_makes_room(self, place: str) -> None:
        self.fill(place)
        for number in range(4):
            Ledger(place).claim(record(key=f"{number:064x}", claim="a", made_by=BY))
        assert admission(place, at=self.LATER).admit(spending(5)) is not None
        assert spent(place) == 50

    def test_a_young_entry_stays(self, place: str) -> None:
        self.fill(place)
        with pytest.raises(SeedreamCapError):
            admission(place, at=NOON + 10).admit(spending(5))

    @pytest.mark.parametrize(
        ("outcome", "more", "has_room"),
        [
            ("intent", {"seedream_task_id": None}, False),
            ("unknown", {"seedream_task_id": None}, False),
            ("submitted", {"seedream_task_id": TASK_ID}, False),
            ("landed", {"seedream_task_id": TASK_ID}, False),
            ("failed", {"seedream_task_id": TASK_ID, "refunded": False}, False),
            ("failed", {"seedream_task_id": TASK_ID, "refunded": True}, True),
        ],
        ids=["intent", "unknown", "submitted", "landed", "kept by the API", "refunded"],
    )
    def test_a_record_says_whether_it_is_spent(
        self, place: str, outcome: Any, more: Any, has_room: bool
    ) -> None:
        self.fill(place)
        for number in range(5):
            Ledger(place).claim(record(key=f"{number:064x}", claim="a", made_by=BY, outcome=outcome, **more))
        try:
            admission(place, at=self.LATER).admit(spending(5))
        except SeedreamCapError:
            assert not has_room
        else:
            assert has_room
        page = Books(place).look(MONTH)
        assert page is not None
        is_final = outcome in ("landed", "failed")
        assert len(page.open) == (has_room if is_final else 5)

    def test_a_record_that_cannot_be_read_is_spent(self, place: str) -> None:
        self.fill(place)
        for number in range(5):
            Ledger(place).folder.replace(record(key=f"{number:064x}").file, b"{")
        with pytest.raises(SeedreamCapError):
            admission(place, at=self.LATER).admit(spending(5))

    def test_a_process_that_was_stopped_before_its_claim_notices_that_it_was_settled(
        self, place: str
    ) -> None:
        sleeper = admission(place)
        bookings = [sleeper.admit(spending(number)) for number in range(5)]
        admission(place, at=self.LATER).admit(spending(5))
        assert [sleeper.is_held(one) for one in bookings if one] == [False] * 5

    def test_one_that_goes_on_while_it_is_in_doubt_is_not_taken_out(self, place: str) -> None:
        """Its claim appears between the mark and the second look: then it may have sent its POST."""
        self.fill(place)
        for number in range(4):
            Ledger(place).claim(record(key=f"{number:064x}", claim="a", made_by=BY))

        def wake(_: float) -> None:
            Ledger(place).claim(record(key=f"{4:064x}", claim="a", made_by=BY))

        one = admission(place, at=self.LATER)
        one._clock = replace(one._clock, sleep=wake)
        with pytest.raises(SeedreamCapError):
            one.admit(spending(5))
        page = Books(place).look(MONTH)
        assert page is not None
        assert page.holds(f"{4:064x}.1", "a")


def test_books_of_a_place_are_one_object_in_a_process(place: str) -> None:
    assert books_at(place) is books_at(place)
