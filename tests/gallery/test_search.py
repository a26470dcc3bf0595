"""A search by prompt: it finds what lies behind the manifests that one page reads, and says how far it has
looked.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream.gallery.prompts import PromptIndex, Reach, index_of, words_of
from airflow_provider_seedream.gallery.roots import gallery_roots
from airflow_provider_seedream.model.task_ref import TaskRef
from tests.gallery.conftest import WATCHES, Visitor
from tests.gallery.stage import Database, land

MANY = 130  # a page reads 96 manifests for a search


def place(number: int, dag_id: str = "watches") -> TaskRef:
    return TaskRef(dag_id=dag_id, run_id=f"run-{number}", task_id="land")


def fill(database: Database, roots: Path, *, number: int = MANY, dag_id: str = "watches") -> dict[str, Any]:
    """The oldest shows a unicorn, all others a watch; the XCom of the oldest."""
    first = land(roots / dag_id, place(0, dag_id), name="pic0", prompt="a Unicorn\nin the snow", images=1)
    database.returned(place(0, dag_id), first)
    for one in range(1, number):
        value = land(
            roots / dag_id, place(one, dag_id), name=f"pic{one}", prompt=f"a watch, number {one}", images=1
        )
        database.returned(place(one, dag_id), value)
    return first


def found(text: str) -> int:
    return text.count('<article class="card')


def status(text: str) -> str:
    said = re.search(r'role="status">(.*?)</p>', text, re.DOTALL)
    assert said
    return " ".join(re.sub("<[^>]+>", "", said[1]).split())


def settled() -> None:
    """Until the thread of the index has read all that it can."""
    index_of(gallery_roots()).wait(300)


class TestBehindThePage:
    def test_the_first_search_says_how_far_it_looked_and_that_it_reads_on(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        fill(database, roots)
        text = visitor("viewer").get("/seedream/?text=unicorn").text
        assert found(text) in (0, 1)  # the thread may have been faster than this page
        assert "There are" in status(text)
        settled()

    def test_an_old_prompt_is_found_as_soon_as_it_was_read(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        fill(database, roots)
        reader = visitor("viewer")
        reader.get("/seedream/?text=unicorn")
        settled()
        text = reader.get("/seedream/?text=UNICORN in  the snow").text
        assert found(text) == 1
        assert re.fullmatch(
            rf"Searched the prompts of {MANY} generations, back to 2026-03-01 \S+ UTC\. There are none older\.",
            status(text),
        )

    def test_pages_of_matches_follow_each_other(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        fill(database, roots)
        reader, path, numbers = visitor("viewer"), "/seedream/?text=number", list[str]()
        reader.get(path)
        settled()
        for _ in range(10):
            text = reader.get(path).text
            numbers += re.findall(r'title="a watch, number (\d+)"', text)
            older = re.search(r'rel="next" href="([^"]+)"', text)
            if older is None:
                break
            path = "/seedream/" + older[1].replace("&amp;", "&")
        assert [int(number) for number in numbers] == list(range(MANY - 1, 0, -1))

    def test_filters_hold_for_what_memory_found(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        fill(database, roots)
        reader = visitor("viewer")
        reader.get("/seedream/?text=unicorn")
        settled()
        assert found(reader.get("/seedream/?text=unicorn&task=land").text) == 1
        assert found(reader.get("/seedream/?text=unicorn&task=other").text) == 0
        assert found(reader.get("/seedream/?text=unicorn&dag=shoes").text) == 0


class TestWhoMayFind:
    def test_a_generation_of_a_dag_that_is_not_the_users_is_neither_found_nor_counted(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        fill(database, roots, dag_id="shoes", number=3)
        fill(database, roots)
        admin, other = visitor("admin"), visitor("only-watches")
        admin.get("/seedream/?text=unicorn")
        settled()
        assert found(admin.get("/seedream/?text=unicorn").text) == 2
        text = other.get("/seedream/?text=unicorn").text
        assert found(text) == 1
        assert f"prompts of {MANY} generations" in status(text)

    def test_nobody_finds_by_a_prompt_that_was_replaced(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        """The index knows the prompt of yesterday; the task was cleared, and landed another picture since."""
        fill(database, roots)
        reader = visitor("viewer")
        reader.get("/seedream/?text=unicorn")
        settled()
        database.returned(
            place(0), land(roots / "watches", place(0), name="again", prompt="a walrus", images=1)
        )
        assert found(reader.get("/seedream/?text=unicorn").text) == 0
        assert found(reader.get("/seedream/?text=walrus").text) == 1


class TestTheIndex:
    def search(self, index: PromptIndex, text: str = "") -> tuple[list[str], Reach]:
        from airflow_provider_seedream.gallery.rows import Filter

        reach = Reach()
        matches = index.search(
            Filter(dag_ids=["watches"]),
            words_of(text),
            older_than=None,
            may_read=lambda dag_id: True,
            reach=reach,
        )
        return [known.place.run_id for known in matches], reach

    def filled(self, **options: Any) -> PromptIndex:
        index = PromptIndex(gallery_roots(), **options)
        index.refresh()
        index.wait(300)
        return index

    def test_it_is_bounded_and_says_where_it_ends(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        fill(database, roots, number=40)
        runs, reach = self.search(self.filled(most=20))
        assert len(runs) <= 20
        assert runs[0] == "run-39"
        assert not reach.is_complete
        assert reach.back_to is not None

    def test_what_landed_since_is_read_by_the_next_search_and_not_by_one_right_after_another(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        fill(database, roots, number=3)
        now = [100.0]
        index = self.filled(clock=lambda: now[0])
        database.returned(WATCHES, land(roots / "watches", WATCHES, prompt="a lighthouse"))
        index.refresh()
        index.wait(300)
        assert self.search(index, "lighthouse")[0] == []
        now[0] += 60
        index.refresh()
        index.wait(300)
        assert self.search(index, "lighthouse")[0] == [WATCHES.run_id]

    def test_a_manifest_that_is_gone_is_counted_as_one_that_could_not_be_read(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        fill(database, roots, number=3)
        (roots / "watches" / "pic1.json").unlink()
        _, reach = self.search(self.filled())
        assert (reach.searched, reach.unreadable, reach.is_complete) == (3, 1, True)

    @pytest.mark.parametrize(
        "value", [None, 7, "text", {"manifest": 1}, {"results": "x"}, {"schema_version": 99}]
    )
    def test_an_xcom_that_is_odd_is_passed_over(
        self, visitor: Visitor, database: Database, roots: Path, value: Any
    ) -> None:
        fill(database, roots, number=2)
        database.returned(WATCHES, value)
        _, reach = self.search(self.filled())
        assert (reach.searched, reach.is_complete) == (2, True)
