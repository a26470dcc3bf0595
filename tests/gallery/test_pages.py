"""What a person sees: the newest, the filters, one image, and an honest word where there is none."""

from __future__ import annotations

import re
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from airflow_provider_seedream.model.task_ref import TaskRef
from tests.gallery.conftest import WATCHES, Visitor
from tests.gallery.stage import NOON, Database, land, record, submitted
from tests.gallery.xcom_tables import HAS_TRIES

SCRIPT = "<script>alert(1)</script>"


def place(number: int = 0, **fields: Any) -> TaskRef:
    return TaskRef(
        **{"dag_id": "watches", "run_id": "manual__1", "task_id": "land", "map_index": number, **fields}
    )


def names(text: str) -> list[str]:
    """The names in the prompts of a page's cards, in their order."""
    return re.findall(r'title="watch ([^"]*)"', text)


@pytest.fixture
def many(visitor: Visitor, database: Database, roots: Path) -> list[str]:
    """Sixty generations, the newest first."""
    for number in range(60):
        value = land(
            roots / "watches",
            place(number),
            name=f"n{number}",
            prompt=f"watch {number}",
            images=1,
            size=(8, 8),
        )
        database.returned(place(number), value)
    return [str(number) for number in reversed(range(60))]


class TestNewest:
    def test_a_landed_generation_is_shown_with_its_prompt_and_its_thumbnails(
        self, visitor: Visitor, landed: dict[str, Any]
    ) -> None:
        page = visitor("viewer").get("/seedream/")
        assert page.text.count("a leather watch on a wet stone</p>") == 1
        for number in (1, 2):
            sha256 = landed["images"][number - 1]["sha256"]
            assert (
                f'src="/{WATCHES.address("thumb", number, sha256=sha256)}" width="160" height="90" '
                'loading="lazy"' in page.text
            )
            assert f'alt="Image {number} of 2: a leather watch on a wet stone"' in page.text

    def test_pages_go_on_where_the_last_one_ended_whatever_has_come_since(
        self, many: list[str], visitor: Visitor, database: Database, roots: Path
    ) -> None:
        first = visitor("viewer").get("/seedream/").text
        newcomer = place(run_id="manual__2")
        database.returned(
            newcomer, land(roots / "watches", newcomer, name="new", prompt="watch new", images=1, size=(8, 8))
        )
        second = visitor("viewer").get(f"/seedream/{older(first)}").text
        third = visitor("viewer").get(f"/seedream/{older(second)}").text
        assert names(first) + names(second) + names(third) == many
        assert "rel=next" not in third

    def test_a_page_asks_the_database_three_times_whatever_there_is(
        self, many: list[str], visitor: Visitor
    ) -> None:
        browser = visitor("admin")
        with statements() as asked:
            browser.get("/seedream/")
        # Which DAGs there are, and one page. Airflow 3.4 has two tables of XComs: is there anything of ours
        # in the older one?
        assert len([statement for statement in asked if "xcom" in statement]) == (4 if HAS_TRIES else 2)

    def test_a_broken_cursor_is_no_cursor(self, landed: dict[str, Any], visitor: Visitor) -> None:
        for cursor in ("x", "2026-03-01~1~1~land", "~~~", "9" * 400, "2026-03-01T00:00:00+00:00~x~-1~land"):
            assert (
                '<article class="card' in visitor("viewer").get("/seedream/", params={"before": cursor}).text
            )

    def test_other_tasks_results_are_none_of_ours(
        self, visitor: Visitor, database: Database, landed: dict[str, Any]
    ) -> None:
        database.returned(place(task_id="other"), landed, linked=False)
        assert visitor("viewer").get("/seedream/").text.count('<article class="card') == 1


class TestFilters:
    @pytest.fixture
    def three(self, visitor: Visitor, database: Database, roots: Path) -> None:
        spots = {
            "red": place(run_id="monday", task_id="land_a"),
            "blue": place(run_id="tuesday", task_id="land_b"),
            "green": place(dag_id="shoes", run_id="monday"),
        }
        for name, spot in spots.items():
            database.returned(spot, land(roots / name, spot, name=name, prompt=f"watch {name}"))

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("", ["green", "blue", "red"]),
            ("?dag=watches", ["blue", "red"]),
            ("?run=monday", ["green", "red"]),
            ("?run=MONDAY%25", []),
            ("?run=mon_ay", []),
            ("?task=_b", ["blue"]),
            ("?text=RED", ["red"]),
            ("?text=watch&dag=shoes", ["green"]),
            ("dag/shoes", ["green"]),
            ("dag/watches?run=tues", ["blue"]),
        ],
    )
    def test_each_narrows_what_is_shown(
        self, query: str, found: list[str], three: None, visitor: Visitor
    ) -> None:
        assert names(visitor("viewer").get(f"/seedream/{query}").text) == found

    def test_a_run_id_that_an_old_airflow_did_not_quote_is_understood(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        spot = place(run_id="manual__2026-03-01T00:00:00+00:00")
        database.returned(spot, land(roots / "plus", spot, prompt="watch plus"))
        assert names(visitor("viewer").get(f"/seedream/dag/watches?run={spot.run_id}").text) == ["plus"]

    def test_a_prompt_copied_from_several_lines_is_found(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        prompt = "a leather watch\n  on a wet stone, " + "very " * 300 + "wet"
        database.returned(WATCHES, land(roots / "watches", WATCHES, prompt=prompt))
        found = visitor("viewer").get("/seedream/", params={"text": prompt.replace("\n  ", "\r\n")}).text
        assert found.count('<article class="card') == 1

    def test_a_search_says_how_far_it_looked(self, many: list[str], visitor: Visitor, roots: Path) -> None:
        (roots / "watches" / "n7.json").unlink()
        said = " ".join(re.sub("<[^>]+>", "", visitor("viewer").get("/seedream/?text=watch 1").text).split())
        assert re.search(r"Searched the prompts of 60 generations, back to 2026-03-01 12:\d\d UTC", said)
        assert "1 of them could not be read" in said
        assert "There are none older." in said

    def test_a_search_reads_a_bounded_number_of_manifests_and_goes_on_from_there(
        self, many: list[str], visitor: Visitor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("airflow_provider_seedream.gallery.listing._MAX_MANIFESTS", 25)
        page, turned = visitor("viewer").get("/seedream/", params={"text": "watch 9"}).text, 0
        while names(page) == []:
            # at most 25 manifests further each time; further where the prompts are in memory by then
            assert "There are older ones." in page
            page, turned = visitor("viewer").get(f"/seedream/{older(page)}").text, turned + 1
        assert (names(page), turned <= 2) == (["9"], True)


class TestOneImage:
    def test_it_says_everything_that_is_known(self, visitor: Visitor, landed: dict[str, Any]) -> None:
        text = visitor("viewer").get(f"/{WATCHES.address('image', 2)}").text
        image = landed["images"][1]
        for word in (
            "a leather watch on a wet stone",
            "landscape_16_9",
            "160 \u00d7 90",
            "image/png",
            "id-of-hero",
            "manual__1",
            image["uri"],
            image["sha256"],
        ):
            assert word in text, word
        for label, value in (("Seed", "42"), ("Credits", "20"), ("Kind", "generate")):
            assert f'<dt>{label}</dt><dd><bdi dir="ltr">{value}</bdi></dd>' in text
        assert f"/{WATCHES.address('file', 2, sha256=image['sha256'])}?download=true" in text

    def test_the_next_images_are_found_behind_many_tasks_that_landed_none(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        first, last = place(0), place(700)
        database.returned(first, land(roots / "watches", first, name="first"))
        for number in range(1, 300):
            database.returned(place(number), submitted(f"s{number}"))
        database.returned(last, land(roots / "watches", last, name="last"))
        older_page = visitor("viewer").get(f"/{last.address('image', 2)}").text
        newer_page = visitor("viewer").get(f"/{first.address('image', 1)}").text
        assert f'rel="next" href="/{first.address("image")}"' in older_page
        assert f'rel="prev" href="/{last.address("image")}?last=true"' in newer_page

    def test_previous_and_next_lead_through_all_images_of_a_dag_and_back(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        for number in range(3):
            database.returned(
                place(number),
                land(roots / "watches", place(number), name=f"n{number}", prompt=f"watch {number}"),
            )
        database.returned(place(dag_id="shoes"), land(roots / "shoes", place(dag_id="shoes")))
        start = f"/{place(2).address('image', 1)}"
        forward = [start, *walk(visitor, start, "next")]
        assert len(forward) == 6
        back = walk(visitor, forward[-1], "prev")
        assert len(back) == 5

    def test_without_a_number_it_is_the_first(self, visitor: Visitor, landed: dict[str, Any]) -> None:
        assert "Image 1 of 2" in visitor("viewer").get(f"/{WATCHES.address('image')}").text

    def test_fewer_images_than_asked_for_are_counted(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        database.returned(WATCHES, land(roots / "watches", WATCHES, images_requested=4))
        text = re.sub("<[^>]+>|\\s+", " ", visitor("viewer").get(f"/{WATCHES.address('image', 1)}").text)
        assert re.search(r"Only +2 +of +4 +images came", text)

    def test_a_rescued_id_has_no_prompt_and_is_shown_all_the_same(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        unknown = {
            "submission": None,
            "credits": None,
            "kind": None,
            "endpoint": None,
            "images_requested": None,
            "made_by": None,
        }
        database.returned(WATCHES, land(roots / "watches", WATCHES, created_at=None, **unknown))
        assert visitor("viewer").get(f"/{WATCHES.address('image', 1)}").status_code == 200
        assert "id-of-hero" in visitor("viewer").get("/seedream/").text


class TestATask:
    def test_a_literal_map_index_means_a_task_that_is_not_mapped(
        self, visitor: Visitor, landed: dict[str, Any]
    ) -> None:
        """Airflow leaves the placeholder as it is."""
        path = f"/{WATCHES.address('task')}".replace("/-1", "/{MAP_INDEX}")
        assert "a leather watch" in visitor("viewer").get(path).text

    def test_a_task_without_a_result_says_so(self, visitor: Visitor) -> None:
        assert "No images here" in visitor("viewer").get(f"/{WATCHES.address('task')}").text


class TestHonesty:
    def test_a_submission_that_was_not_landed_has_a_card_with_its_record(
        self, visitor: Visitor, database: Database
    ) -> None:
        spot = place(-1, task_id="submit")
        database.returned(spot, submitted())
        assert "not landed in this run" in visitor("viewer").get("/seedream/").text
        text = visitor("viewer").get(f"/{spot.address('task')}").text
        assert "_seedream/ledger/" in text
        assert "24 hours" in text

    @pytest.mark.parametrize(
        ("outcome", "said"),
        [
            ({"outcome": "submitted"}, "not landed in this run so far"),
            (
                {"outcome": "failed", "refunded": True, "detail": "the safety checker"},
                "failed. Its credits were refunded",
            ),
            ({"outcome": "expired"}, "have expired"),
            ({"outcome": "landed"}, "Landed by another task"),
        ],
    )
    def test_what_became_of_it_is_read_from_its_record(
        self, outcome: dict[str, Any], said: str, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        database.returned(WATCHES, submitted(record=record(roots, WATCHES, **outcome)))
        index, page = (
            visitor("only-watches").get(f"/{path}").text
            for path in ("seedream/?text=walrus", WATCHES.address("task"))
        )
        assert said in index
        assert "a walrus" in page
        assert outcome.get("detail", "") in page

    def test_a_record_of_another_dag_is_not_shown(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        database.returned(WATCHES, submitted(record=record(roots, place(dag_id="shoes"))))
        for path in ("seedream/", WATCHES.address("task")):
            text = visitor("only-watches").get(f"/{path}").text
            assert ("walrus" in text, "not landed in this run so far" in text) == (False, True)

    @pytest.mark.parametrize("uri", ["{root}/../x.json", "/etc/hostname", "", None, 7, "{root}/missing.json"])
    def test_a_record_elsewhere_is_not_read(
        self, uri: Any, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        record(roots, WATCHES)
        (roots.parent / "x.json").write_bytes(next((roots / "_seedream" / "ledger").iterdir()).read_bytes())
        database.returned(
            WATCHES, submitted(record=uri.format(root=roots.as_uri()) if isinstance(uri, str) else uri)
        )
        assert "walrus" not in visitor("viewer").get("/seedream/").text

    def test_a_submission_that_was_landed_is_seen_once_where_it_landed(
        self, visitor: Visitor, database: Database, landed: dict[str, Any]
    ) -> None:
        database.returned(place(-1, task_id="submit"), submitted(), at=NOON - timedelta(hours=1))
        # newer than its landing
        database.returned(place(-1, task_id="submit_again"), submitted(), at=NOON + timedelta(hours=1))
        assert visitor("viewer").get("/seedream/").text.count('<article class="card') == 1

    @pytest.mark.parametrize("gone", ["the image", "the manifest", "the folder"])
    def test_what_is_not_there_any_more_is_said(
        self, gone: str, visitor: Visitor, landed: dict[str, Any], roots: Path
    ) -> None:
        if gone == "the image":
            (roots / "watches" / "hero_1.png").unlink()
            assert visitor("viewer").get(f"/{WATCHES.address('file', 1)}").status_code == 404
            return
        (roots / "watches" / "hero.json").unlink() if gone == "the manifest" else shutil.rmtree(
            roots / "watches"
        )
        for page in ("seedream/", WATCHES.address("task"), WATCHES.address("image", 1)):
            answer = visitor("viewer").get(f"/{page}")
            assert (answer.status_code, "not in the storage any more" in answer.text) == (200, True), page

    def test_a_storage_that_does_not_answer_is_said_and_logged(
        self,
        visitor: Visitor,
        landed: dict[str, Any],
        database: Database,
        monkeypatch: pytest.MonkeyPatch,
        roots: Path,
    ) -> None:
        monkeypatch.setenv("AIRFLOW__SEEDREAM__GALLERY_ROOTS", "nowhere://conn@bucket/watches")
        database.returned(WATCHES, {**landed, "manifest": "nowhere://conn@bucket/watches/hero.json"})
        assert "The storage does not answer" in visitor("viewer").get("/seedream/").text

    def test_images_behind_thousands_of_failed_tasks_are_on_the_first_page(
        self, visitor: Visitor, database: Database, landed: dict[str, Any]
    ) -> None:
        database.failed([place(number, run_id="failed") for number in range(2500)])
        page = visitor("viewer").get("/seedream/").text
        assert page.count('<article class="card') == 1
        assert "No images yet" not in page

    def test_the_page_of_a_submission_leads_to_the_task_that_landed_it(
        self, visitor: Visitor, database: Database, landed: dict[str, Any]
    ) -> None:
        submit = place(-1, task_id="submit")
        database.returned(submit, submitted())
        text = visitor("viewer").get(f"/{submit.address('task')}").text
        assert f'href="/{WATCHES.address("task")}"' in text
        assert "can be landed for 24 hours" not in text

    def test_an_empty_gallery_says_what_to_do(self, visitor: Visitor) -> None:
        assert "Run a DAG with a Seedream operator" in visitor("viewer").get("/seedream/").text


class TestUntrustedText:
    def test_a_prompt_is_text_everywhere(self, visitor: Visitor, database: Database, roots: Path) -> None:
        value = land(roots / "watches", WATCHES, prompt=f'"{SCRIPT}', images=1)
        database.returned(WATCHES, value)
        for path in (
            "seedream/",
            f"seedream/?text={SCRIPT}",
            WATCHES.address("image", 1),
            WATCHES.address("task"),
        ):
            text = visitor("viewer").get(f"/{path}").text
            assert "<script>alert" not in text, path
            assert "&lt;script&gt;alert" in text, path

    def test_the_manifests_other_fields_are_escaped_as_well(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        submission = {
            "prompt": 7,
            "seed": SCRIPT,
            "sources": [{"uri": SCRIPT}],
            "image_size": [SCRIPT],
            "kind": {"a": SCRIPT},
        }
        database.returned(
            WATCHES, land(roots / "watches", WATCHES, submission=submission, model=SCRIPT, credits=SCRIPT)
        )
        text = visitor("viewer").get(f"/{WATCHES.address('image', 1)}").text
        assert text.count("&lt;script&gt;") == 6
        assert "<script>alert" not in text

    @pytest.mark.parametrize("sources", [7, ["text"], [{}], [None], {"uri": "x"}])
    def test_sources_of_a_strange_shape_break_nothing(
        self, sources: Any, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        database.returned(
            WATCHES, land(roots / "watches", WATCHES, submission={"prompt": "x", "sources": sources})
        )
        assert visitor("viewer").get(f"/{WATCHES.address('image', 1)}").status_code == 200


def older(page: str) -> str:
    [link] = re.findall(r'rel="next" href="([^"]+)"', page)
    return link.replace("&amp;", "&")


def walk(visitor: Visitor, start: str, rel: str) -> list[str]:
    """The addresses that following a link again and again leads to."""
    found, path = [], start
    for _ in range(20):
        links = re.findall(rf'rel="{rel}" href="([^"]+)"', visitor("viewer").get(path).text)
        if not links:
            return found
        [path] = links
        found.append(path)
    raise AssertionError(f"{rel} leads in a circle: {found}")


class statements:
    """The SQL that is sent within the block."""

    def __enter__(self) -> list[str]:
        from airflow import settings

        self.engine, self.sent = settings.engine, []
        event.listen(self.engine, "before_cursor_execute", self._note)
        return self.sent

    def __exit__(self, *exc: object) -> None:
        event.remove(self.engine, "before_cursor_execute", self._note)

    def _note(self, connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        self.sent.append(statement)
