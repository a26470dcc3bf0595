"""A batch is one card with its counts and first images, and pages of rows, whatever its length; and no way
around the guards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.emulator import Emulator, Settings
from airflow_provider_seedream.model.commands import program
from airflow_provider_seedream.model.submissions import sha256_json
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor
from tests.airflow.runner import Runner
from tests.gallery.conftest import WATCHES, Visitor
from tests.gallery.stage import Database, land

BATCH = TaskRef(dag_id="watches", run_id="manual__1", task_id="batch")
SHOES = TaskRef(dag_id="shoes", run_id="manual__1", task_id="batch")


QUICK: dict[str, Any] = {"poke_interval": 0.05, "settling_seconds": 0.5}


def run_batch(folder: Path, place: TaskRef, *, rows: int = 60) -> dict[str, Any]:
    """What a batch leaves: every fifth row failed."""
    lines = []
    for row in range(1, rows + 1):
        name = f"row{row}"
        line = {
            "row": row,
            "status": "failed",
            "name": name,
            "images": [],
            "manifest": None,
            "prompt": f"secret words {row}",
        }
        if row % 5:
            landed = land(folder, place, name=name, prompt=f"watch {row}", images=1, size=(8, 8))
            line |= {
                "status": "landed",
                "images": [image["uri"] for image in landed["images"]],
                "manifest": landed["manifest"],
            }
        lines.append(json.dumps(line))
    folder.mkdir(exist_ok=True)
    (folder / "results.jsonl").write_text("".join(f"{line}\n" for line in lines))
    failed = rows // 5
    count = {"landed": rows - failed, "failed": failed, "moderated": 0}
    return {
        "schema_version": 1,
        "results": f"{folder.as_uri()}/results.jsonl",
        "rows": rows,
        "count": count,
        "credits": 10,
        "images": rows - failed,
    }


@pytest.fixture
def batch(visitor: Visitor, database: Database, roots: Path) -> dict[str, Any]:
    summary = run_batch(roots / "night", BATCH)
    database.returned(BATCH, summary)
    return summary


def shown(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'title="watch (\d+)"', page)]


class TestABatch:
    def test_it_is_one_card_with_its_counts_and_its_first_images(
        self, batch: dict[str, Any], visitor: Visitor
    ) -> None:
        page = visitor("viewer").get("/seedream/").text
        words = " ".join(re.sub("<[^>]+>", " ", page).split())
        assert page.count('<article class="card') == 1
        assert "Batch of 60 requests" in words
        assert "48 landed 12 failed" in words
        assert "moderated" not in words
        assert page.count("<img") == 4

    def test_its_rows_are_turned_page_by_page(self, batch: dict[str, Any], visitor: Visitor) -> None:
        path, found, failed = f"/{BATCH.address('task')}", [], 0
        for _ in range(3):
            page = visitor("viewer").get(path).text
            found += shown(page)
            failed += len(re.findall(r"<span>Failed.</span></a>", page))
            path = "/" + (re.findall(r'rel="next" href="/([^"]+)"', page) or [""])[0]
        assert path == "/"
        assert (found, failed) == ([row for row in range(1, 61) if row % 5], 12)

    def test_each_image_has_its_page_its_thumbnail_and_its_file(
        self, batch: dict[str, Any], visitor: Visitor, roots: Path
    ) -> None:
        assert "watch 7" in visitor("viewer").get(f"/{BATCH.address('image', 1, 'row7')}").text
        answer = visitor("viewer").get(f"/{BATCH.address('file', 1, 'row7')}")
        assert answer.content == (roots / "night" / "row7_1.png").read_bytes()
        assert visitor("viewer").get(f"/{BATCH.address('thumb', 1, 'row7')}").status_code == 200

    def test_one_that_failed_is_shown_by_the_table_it_has_pushed(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        summary = run_batch(roots / "night", BATCH)
        database.returned(BATCH, summary["results"], key="results")
        assert visitor("viewer").get("/seedream/").text.count("<img") == 4
        assert shown(visitor("viewer").get(f"/{BATCH.address('task')}").text)

    def test_a_table_that_is_gone_is_said(self, batch: dict[str, Any], visitor: Visitor, roots: Path) -> None:
        (roots / "night" / "results.jsonl").unlink()
        for path in ("seedream/", BATCH.address("task")):
            assert "not in the storage any more" in visitor("viewer").get(f"/{path}").text

    @pytest.mark.parametrize("start", ["-1", "x", "99999999999999999999"])
    def test_a_strange_start_is_no_page(self, start: str, batch: dict[str, Any], visitor: Visitor) -> None:
        assert visitor("viewer").get(f"/{BATCH.address('task')}?start={start}").status_code == 404

    def test_a_start_within_a_line_loses_that_line_alone(
        self, batch: dict[str, Any], visitor: Visitor
    ) -> None:
        assert shown(visitor("viewer").get(f"/{BATCH.address('task')}?start=3").text)[0] == 2


class TestConfusedDeputies:
    def test_another_dags_table_shows_neither_images_nor_words(
        self, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        database.returned(BATCH, run_batch(roots / "secret", SHOES))
        browser = visitor("only-watches")
        for path in ("seedream/", BATCH.address("task"), BATCH.address("image", 1, "row1")):
            text = browser.get(f"/{path}").text
            assert ("<img" in text, "watch 1" in text, "secret words" in text) == (False, False, False), path
        for page in ("thumb", "file"):
            assert browser.get(f"/{BATCH.address(page, 1, 'row1')}").status_code == 404  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "name",
        ["", "../private/hero", "/etc/hostname", "..", "night/row1", "row1%2F..%2Frow2", "row5", "nothing"],
    )
    def test_a_name_that_is_no_row_of_it_gets_nothing(
        self, name: str, batch: dict[str, Any], visitor: Visitor, roots: Path
    ) -> None:
        land(roots.parent / "private", BATCH)
        for page in ("thumb", "file"):
            answer = visitor("admin").get(f"/{BATCH.address(page, 1)}", params={"name": name})  # type: ignore[arg-type]
            assert answer.status_code == 404

    def test_a_name_does_not_lead_to_images_of_another_task_in_the_folder(
        self, batch: dict[str, Any], visitor: Visitor, roots: Path
    ) -> None:
        land(roots / "night", SHOES, name="other")
        assert visitor("only-watches").get(f"/{BATCH.address('file', 1, 'other')}").status_code == 404

    def test_a_name_means_nothing_where_there_is_no_batch(
        self, visitor: Visitor, landed: dict[str, Any], roots: Path
    ) -> None:
        land(roots / "watches", WATCHES, name="other", images=3)
        assert visitor("admin").get(f"/{WATCHES.address('file', 3, 'other')}").status_code == 404

    @pytest.mark.parametrize(
        "uri", ["{outside}/results.jsonl", "{root}/../private/results.jsonl", "/etc/passwd", "results.jsonl"]
    )
    def test_a_table_outside_the_roots_is_not_read(
        self, uri: str, visitor: Visitor, database: Database, roots: Path
    ) -> None:
        summary = run_batch(roots.parent / "private", BATCH)
        words = {"outside": (roots.parent / "private").as_uri(), "root": roots.as_uri()}
        database.returned(BATCH, {**summary, "results": uri.format(**words)})
        assert (
            "none of those that the gallery may read"
            in visitor("admin").get(f"/{BATCH.address('task')}").text
        )

    @pytest.mark.parametrize(
        "lines",
        [
            "",
            "\n\n",
            "no json\n",
            "[]\n7\nnull\n",
            '{"row": 1}\n',
            '{"row": "<b>", "status": "<script>"}\n',
            "x" * 200_000,
            "x\n" * 200_000,
        ],
    )
    def test_a_table_that_is_none_breaks_nothing(
        self, lines: str, batch: dict[str, Any], visitor: Visitor, roots: Path
    ) -> None:
        (roots / "night" / "results.jsonl").write_text(lines)
        for path in ("seedream/", BATCH.address("task")):
            answer = visitor("admin").get(f"/{path}")
            assert (answer.status_code, "<script>" in answer.text.replace("<script src", "")) == (200, False)


class TestATableOfItsOwn:
    """The name of its table is reserved for it in the ledger, as the batch does before it pays."""

    @pytest.fixture
    def own(self, visitor: Visitor, database: Database, roots: Path) -> dict[str, Any]:
        summary = run_batch(roots / "night", BATCH)
        table = roots / "night" / "results.jsonl"
        lines = [json.loads(line) for line in table.read_text().splitlines()]
        lines[4] |= {"detail": "out of <paint>", "sku": "W-5", "notes": None}
        lines[0] |= {"sku": "W-1"}
        table.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        database.returned(BATCH, {**summary, "count": {**summary["count"], "unknown": 2}, "credits": 480})
        reserve(roots / "night", BATCH)
        return summary

    def test_a_failed_row_says_its_reason_its_prompt_and_its_own_columns(
        self, own: dict[str, Any], visitor: Visitor
    ) -> None:
        page = visitor("viewer").get(f"/{BATCH.address('task')}").text
        assert "Failed. out of &lt;paint&gt;" in page
        assert "secret words 5" in page
        assert ("sku: W-5" in page, "sku: W-1" in page, "notes" in page) == (True, True, False)

    def test_its_credits_and_its_unknown_outcomes_are_said_with_the_command_that_settles_them(
        self, own: dict[str, Any], visitor: Visitor, roots: Path
    ) -> None:
        page = visitor("viewer").get(f"/{BATCH.address('task')}").text
        words = " ".join(re.sub("<[^>]+>", " ", page).split())
        assert "480 credits 480 credits in this run" in words
        assert "Outcome unknown: 2 rows may be paid for" in words
        assert f"{program()} resolve --all {roots.as_uri()}/night" in words
        assert "2 may be paid for: outcome unknown" in " ".join(
            re.sub("<[^>]+>", " ", visitor("viewer").get("/seedream/").text).split()
        )

    def test_the_table_of_another_task_shows_its_numbers_alone(
        self, own: dict[str, Any], visitor: Visitor, database: Database
    ) -> None:
        """An edited XCom of a DAG that a person may edit leads to the table of one that she may not read."""
        database.returned(SHOES, own)
        page = visitor("admin").get(f"/{SHOES.address('task')}").text
        assert "<span>Failed.</span>" in page
        assert not re.search("secret|paint|W-5", page)

    @pytest.mark.parametrize("note", [b"", b"{}", b"x" * 10_000])
    def test_a_reservation_that_is_none_shows_its_numbers_alone(
        self, note: bytes, own: dict[str, Any], visitor: Visitor, roots: Path
    ) -> None:
        (roots / "night" / "_seedream" / "names" / "results.json").write_bytes(note)
        assert "secret" not in visitor("admin").get(f"/{BATCH.address('task')}").text


class TestWhatRealTasksLeave:
    """The tasks run here, against the emulator; the gallery finds what they left."""

    @pytest.fixture
    def emulator(self, roots: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
        settings = Settings.fast(
            seconds_per_image=(0.0, 0.0), late_assets_seconds=(0.0, 0.0), flat_images=True
        )
        with Emulator(settings) as emulator:
            extra = {"destination": f"{roots.as_uri()}/night", "requests_per_minute": 6000}
            connection = {**json.loads(emulator.airflow_connection_json()), "extra": extra}
            monkeypatch.setenv("AIRFLOW_CONN_SEEDREAM_DEFAULT", json.dumps(connection))
            yield emulator

    def test_a_batch_that_failed_shows_its_images_and_the_reasons_of_the_other_rows(
        self, emulator: Emulator, visitor: Visitor, database: Database
    ) -> None:
        table = [{"prompt": "a watch", "sku": "W-1"}, {"prompt": "a walrus [fail]", "sku": "W-2"}]
        with DAG("watches", schedule=None):
            batch = SeedreamBatchOperator(task_id="batch", requests=table, poke_interval=0.05)
        outcome = Runner(run_id="manual__1").run(batch)
        assert outcome.state == "failed"
        database.returned(BATCH, outcome.xcoms["results"], key="results")
        page = visitor("viewer").get(f"/{BATCH.address('task')}").text
        assert page.count("<img") == 1
        assert "Failed. The generation failed" in page
        assert ("a walrus [fail]" in page, "sku: W-2" in page, "At least" in page) == (True, True, True)

    def test_a_sample_that_waits_for_an_answer_says_what_is_paid_so_far(
        self, emulator: Emulator, visitor: Visitor, database: Database
    ) -> None:
        table = [{"prompt": f"watch {number}"} for number in range(5)]
        with DAG("watches", schedule=None):
            batch = SeedreamBatchOperator(task_id="batch", requests=table, sample=2, poke_interval=0.05)
        runner = Runner(run_id="manual__1")
        assert runner.ask(batch)["options"]
        database.returned(BATCH, runner.api.xcoms_of(runner.instance(batch).key)["results"], key="results")
        page = visitor("viewer").get(f"/{BATCH.address('task')}").text
        assert (page.count("<img"), emulator.books.credits_charged) == (2, 20)
        assert "20 credits in this run" in " ".join(re.sub("<[^>]+>", " ", page).split())
        assert "At least" not in page

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_a_task_that_failed_for_a_missing_image_shows_those_that_landed(
        self, deferrable: bool, emulator: Emulator, visitor: Visitor, database: Database
    ) -> None:
        with DAG("watches", schedule=None):
            draw = SeedreamGenerateOperator(
                task_id="land",
                prompt="a watch [partial:2]",
                num_images=3,
                wait=True,
                deferrable=deferrable,
                **QUICK,
            )
        outcome = Runner(run_id="manual__1").run(draw)
        assert (outcome.state, outcome.value) == ("failed", None), outcome.log_text
        database.returned(WATCHES, outcome.xcoms["results"], key="results")
        page = visitor("viewer").get(f"/{WATCHES.address('task')}").text
        assert page.count("<img") == 2
        assert "2 of 3</bdi> images came" in page
        assert visitor("viewer").get("/seedream/").text.count("<img") == 2

    def test_a_submission_whose_landing_task_left_no_result_shows_what_its_record_knows(
        self, emulator: Emulator, visitor: Visitor, database: Database
    ) -> None:
        with DAG("watches", schedule=None):
            submit = SeedreamGenerateOperator(task_id="submit", prompt="a watch [partial:2]", num_images=3)
            land = SeedreamGenerationSensor(task_id="land", generation=submit.output, **QUICK)
        runner = Runner(run_id="manual__1")
        generation = runner.run(submit).value
        assert runner.run(land).state == "failed"
        place = TaskRef(dag_id="watches", run_id="manual__1", task_id="submit")
        database.returned(place, generation)
        page = visitor("viewer").get(f"/{place.address('task')}").text
        assert page.count("<img") == 2
        assert visitor("viewer").get(f"/{place.address('thumb', 1)}").status_code == 200
        assert "30 credits in this run" in " ".join(re.sub("<[^>]+>", " ", page).split())


def reserve(folder: Path, place: TaskRef) -> None:
    """The ledger's note that the table ``results`` is of this task instance."""
    names = folder / "_seedream" / "names"
    names.mkdir(parents=True)
    key = sha256_json(["results", place.dag_id, place.run_id, place.task_id, place.map_index])
    (names / "results.json").write_bytes(json.dumps({"schema_version": 1, "key": key}).encode())
