"""The books of caps on every kind of store: of racing writers exactly as many are admitted as there is
room for.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_seedream.ledger.books import Books
from airflow_provider_seedream.ledger.cap_rules import Refusal, admit
from airflow_provider_seedream.ledger.pages import Entry
from airflow_provider_seedream.model.caps import Cap
from airflow_provider_seedream.storage import Folder
from airflow_provider_seedream.storage.swap import Seen
from tests.stores.servers import Place
from tests.stores.test_store_semantics import RACERS, race

NOON = 1_795_953_600  # 2026-11-29 12:00 UTC
MONTH, DAY = "2026-11", "2026-11-29"
CAP = Cap(period="day", credits=100)
WAYS = {"file": {"lock"}, "s3": {"bare", "quoted"}, "gcs": {"generation"}, "azure": {"quoted"}}
PROCESSES = 8


def admits(books: Books, number: int, place: str) -> bool:
    asked = Entry(
        key=f"{number:064x}", attempt=1, claims=("a",), credits=20, at=NOON, destination=place, by="d/t"
    )
    return not isinstance(books.change(MONTH, lambda page: admit(page, asked, (CAP,), warn_at=1.0)), Refusal)


def main(place: str, first: int) -> None:
    """A process: asks for four requests, one after the other, and prints how many were admitted."""
    books = Books(place)
    print(sum(admits(books, first + number, place) for number in range(4)))


class TestASwap:
    def test_a_store_compares_and_swaps_in_its_own_way(self, store: Place) -> None:
        folder = Folder(store.uri)
        assert folder.swap_file("page.json").look() is None
        folder.create("page.json", b"first\n")
        way = folder.swap_file("page.json").way_that_holds()
        assert way in WAYS[store.kind]
        folder.replace("page.json", b"a page \xf0\x9f\xa6\x8a")
        mine, theirs = folder.swap_file("page.json"), Folder(store.uri).swap_file("page.json")
        seen = theirs.look()
        assert seen is not None
        assert seen.data == b"a page \xf0\x9f\xa6\x8a"
        is_done, written = mine.swap(seen, b"mine", way)
        assert is_done
        assert isinstance(written, Seen)
        assert theirs.swap(seen, b"theirs", way) == (False, mine.look())
        assert mine.swap(written, b"mine again", way)[0]
        assert Folder(store.uri).read("page.json") == b"mine again"


class TestRacing:
    def test_racing_threads_spend_the_cap_exactly(self, store: Place) -> None:
        """Each has books of its own, as a process has."""
        assert race(lambda racer: admits(Books(store.uri), racer, store.uri)).count(True) == 5 < RACERS
        page = Books(store.uri).look(MONTH)
        assert page is not None
        assert page.spent(CAP, DAY) == 100

    @pytest.mark.slow  # on a disk `tests/guarantees/test_caps.py` shows it every day
    def test_eight_processes_never_overspend_together(self, store: Place) -> None:
        command = (
            "import sys; from tests.stores.test_caps_on_stores import main; main(sys.argv[1], "
            "int(sys.argv[2]))"
        )
        children = [
            subprocess.Popen(
                [sys.executable, "-c", command, store.uri, str(4 * number)],
                cwd=Path(__file__).parents[2],
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(PROCESSES)
        ]
        assert sum(int(child.communicate()[0].split()[-1]) for child in children) == 5
