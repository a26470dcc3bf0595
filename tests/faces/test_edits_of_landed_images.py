"""What landed is edited: all of it, some of it, one edit for each image, and what a mapped task returned."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.model.source_texts import check_pick, source_list
from airflow_provider_seedream.operators.seedream import SeedreamEditOperator, SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor
from tests.airflow.runner import Outcome, Runner


def sources(outcome: Outcome) -> list[str]:
    """The names of the files that an edit was made from, as its manifest has them."""
    manifest = json.loads(Path(outcome.value["manifest"].removeprefix("file://")).read_text())
    for source in manifest["submission"]["sources"]:
        assert (
            source["sha256"]
            == hashlib.sha256(Path(source["uri"].removeprefix("file://")).read_bytes()).hexdigest()
        )
    return [Path(source["uri"]).name for source in manifest["submission"]["sources"]]


@pytest.fixture
def dag(destination: str) -> DAG:
    given = {"destination": destination, "poke_interval": 0.05}
    with DAG("chain", schedule=None, params={"pick": [3, 1]}, default_args=given) as dag:
        draw = SeedreamGenerateOperator(task_id="draw", prompt="a watch", num_images=3, name="hero")
        SeedreamGenerationSensor(task_id="land", generation=draw.output)
    return dag


def edited(dag: DAG, images: Any, **more: Any) -> Outcome:
    with dag:
        edit = SeedreamEditOperator(task_id="edit", prompt="at night", images=images, wait=True, **more)
    assert edit.upstream_task_ids == {"land"}
    return Runner().run_dag(dag)["edit"]  # type: ignore[return-value]


class TestOneGeneration:
    @pytest.mark.parametrize(
        ("pick", "files"),
        [
            (None, ["hero_1.png", "hero_2.png", "hero_3.png"]),
            (1, ["hero_1.png"]),
            ([3, 1], ["hero_3.png", "hero_1.png"]),
            ("{{ params.pick }}", ["hero_3.png", "hero_1.png"]),
            ("2", ["hero_2.png"]),
        ],
        ids=str,
    )
    def test_one_generation_gives_all_of_its_images_or_those_that_are_picked(
        self, dag: DAG, emulator: Emulator, pick: Any, files: list[str]
    ) -> None:
        assert sources(edited(dag, dag.get_task("land").output, pick=pick)) == files
        assert emulator.books.violations == ()

    def test_one_generation_has_its_images_in_an_xcom_of_their_own(
        self, dag: DAG, emulator: Emulator, folder: Path
    ) -> None:
        outcome = edited(dag, [dag.get_task("land").output["images"], f"{folder}/hero_1.png"])
        assert sources(outcome) == ["hero_1.png", "hero_2.png", "hero_3.png", "hero_1.png"]

    def test_one_generation_gives_one_by_a_template(self, dag: DAG, emulator: Emulator) -> None:
        images = ["{{ ti.xcom_pull(task_ids='land', key='images')[1] }}"]
        with dag:
            edit = SeedreamEditOperator(task_id="edit", prompt="at night", images=images, wait=True)
            dag.get_task("land") >> edit
        outcome = Runner().run_dag(dag)["edit"]
        assert isinstance(outcome, Outcome)
        assert sources(outcome) == ["hero_2.png"]

    def test_one_generation_is_edited_image_by_image_in_a_mapped_task(
        self, dag: DAG, emulator: Emulator
    ) -> None:
        with dag:
            SeedreamEditOperator.partial(
                task_id="edit", prompt="at night", images=dag.get_task("land").output, wait=True
            ).expand(pick=[1, 2, 3])
        outcomes: Any = Runner().run_dag(dag)["edit"]
        assert [sources(one) for one in outcomes] == [["hero_1.png"], ["hero_2.png"], ["hero_3.png"]]

    def test_one_generation_is_picked_from_by_a_function(self, dag: DAG, emulator: Emulator) -> None:
        with dag:
            night = task.seedream_edit(task_id="edit", wait=True)(
                lambda landed: {"prompt": "at night", "images": landed, "pick": 2}
            )(dag.get_task("land").output)
        assert sources(Runner().run_dag(dag)[night.operator.task_id]) == ["hero_2.png"]  # type: ignore[arg-type]


class TestWhatAMappedTaskReturned:
    def test_what_a_mapped_task_returned_is_a_list_of_landed_generations(
        self, destination: str, emulator: Emulator
    ) -> None:
        given = {"destination": destination, "poke_interval": 0.05, "wait": True}
        with DAG("chain", schedule=None, default_args=given) as dag:
            draw = SeedreamGenerateOperator.partial(task_id="draw", num_images=2).expand_kwargs(
                [{"prompt": name, "name": name} for name in ("watch", "bag")]
            )
            SeedreamEditOperator(task_id="edit", prompt="both", images=draw.output, pick=[1, 3])
        outcome = Runner().run_dag(dag)["edit"]
        assert isinstance(outcome, Outcome)
        assert sources(outcome) == ["watch_1.png", "bag_1.png"]


class TestMistakes:
    @pytest.mark.parametrize("pick", [0, -1, True, "first", [], [1, 0], 1.5])
    def test_a_pick_that_is_no_number_is_refused_when_the_dag_is_parsed(self, pick: Any) -> None:
        with pytest.raises(SeedreamInputError, match="pick must be the number of an image, counted from 1"):
            SeedreamEditOperator(task_id="edit", prompt="at night", images=["/x.png"], pick=pick)

    def test_an_image_that_is_not_there_is_refused_when_the_dag_is_parsed(self) -> None:
        with pytest.raises(SeedreamInputError, match="pick names image 3, but images holds 1"):
            SeedreamEditOperator(task_id="edit", prompt="at night", images=["/x.png"], pick=[3])

    def test_an_image_that_did_not_come_is_refused_before_anything_is_sent(
        self, dag: DAG, emulator: Emulator
    ) -> None:
        outcome = edited(dag, dag.get_task("land").output, pick=4)
        assert (outcome.state, outcome.tries) == ("failed", 1)
        assert "pick names image 4, but images holds 3" in str(outcome.error)
        assert emulator.books.posts_received == 1

    def test_a_generation_is_not_landed_yet(self) -> None:
        with pytest.raises(SeedreamInputError, match="a Generation has no images yet"):
            source_list([{"schema_version": 1, "seedream_task_id": "1f0c3d0e", "name": "hero"}])

    def test_no_pick_is_no_choice(self) -> None:
        assert check_pick(None) is None
