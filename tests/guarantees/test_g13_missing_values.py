"""G13: a missing XCom or an empty form field is refused before anything is sent; it is never paid for as
the prompt "None".
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.operators.seedream import (
    SeedreamBatchOperator,
    SeedreamEditOperator,
    SeedreamGenerateOperator,
)
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor
from tests.airflow.runner import Outcome, Runner
from tests.guarantees.woken import Woken

MISSING = "{{ ti.xcom_pull(task_ids='nowhere') }}"
FORM = {"empty": "", "null": None, "blank": "  "}
NATIVE = pytest.mark.parametrize("native", [False, True], ids=["text", "native"])


def dag(native: bool, **more: Any) -> DAG:
    return DAG("watches", schedule=None, render_template_as_native_obj=native, params=FORM, **more)


def assert_refused(outcome: Outcome, emulator: Emulator, *says: str) -> None:
    assert (outcome.state, outcome.tries, type(outcome.error).__name__) == ("failed", 1, "SeedreamInputError")
    assert all(text in str(outcome.error) for text in (*says, "Paid: no."))
    assert emulator.books.requests == ()


@NATIVE
class TestATemplateThatGivesNothing:
    @pytest.mark.parametrize(
        "field", ["prompt", "name", "destination", "max_credits", "max_credits_per_run", "seedream_conn_id"]
    )
    def test_a_template_that_gives_nothing_is_refused_by_its_field_and_named(
        self, emulator: Emulator, destination: str, native: bool, field: str
    ) -> None:
        with dag(native):
            draw: Any = SeedreamGenerateOperator(
                task_id="draw", retries=3, **{"prompt": "a watch", "destination": destination, field: MISSING}
            )
        assert_refused(
            Runner().run(draw),
            emulator,
            f"{field} must not be blank: its template gave nothing (None, or blank text): `{{",
            "}}`. Check the XCom",
            MISSING,
        )

    @pytest.mark.parametrize(
        "template",
        ["{{ params.empty }}", "{{ params.null }}", "{{ params.blank }}", "a {{ params.null }} watch"],
    )
    def test_a_template_that_gives_nothing_is_refused_however_it_is_empty(
        self, emulator: Emulator, destination: str, native: bool, template: str
    ) -> None:
        with dag(native):
            draw = SeedreamGenerateOperator(
                task_id="draw", prompt=template, destination=destination, retries=3
            )
        assert_refused(Runner().run(draw), emulator, "prompt must not be blank", template)

    @pytest.mark.parametrize("template", ["{{ nowhere }}", "a {{ nowhere }} watch"])
    def test_a_template_that_gives_nothing_is_refused_where_undefined_is_silent(
        self, emulator: Emulator, destination: str, native: bool, template: str
    ) -> None:
        from jinja2 import Undefined

        with dag(native, template_undefined=Undefined):  # type: ignore[arg-type]  # documented, typed too narrowly
            draw = SeedreamGenerateOperator(
                task_id="draw", prompt=template, destination=destination, retries=3
            )
        assert_refused(Runner().run(draw), emulator, "prompt must not be blank", template)

    @pytest.mark.parametrize("field", ["prompt", "name"])
    def test_a_template_that_gives_nothing_is_refused_for_the_output_of_a_task(
        self, emulator: Emulator, destination: str, native: bool, field: str
    ) -> None:
        with dag(native):
            nothing = task(task_id="nothing")(lambda: None)()
            draw: Any = SeedreamEditOperator(
                task_id="edit",
                images=["/x.png"],
                retries=3,
                **{"prompt": "a watch", "destination": destination, field: nothing},
            )
        runner = Runner()
        runner.run(nothing.operator)
        assert_refused(runner.run(draw), emulator, f"{field} must not be blank", "task_ids='nothing'")

    def test_a_template_that_gives_nothing_is_no_id_to_wait_for(
        self, emulator: Emulator, destination: str, native: bool
    ) -> None:
        with dag(native):
            land = SeedreamGenerationSensor(
                task_id="land", generation=MISSING, destination=destination, retries=3
            )
        assert_refused(Runner().run(land), emulator, "generation must not be blank", MISSING)

    def test_a_template_that_gives_nothing_lands_no_file_of_the_name_none(
        self, emulator: Emulator, destination: str, native: bool
    ) -> None:
        with dag(native):
            land = SeedreamGenerationSensor(
                task_id="land", generation="1f0c3d0e-0001", destination=destination, name=MISSING
            )
        assert_refused(Runner().run(land), emulator, "name must not be blank", MISSING)

    @pytest.mark.parametrize("field", ["destination", "results", "max_credits"])
    def test_a_template_that_gives_nothing_stops_a_batch(
        self, emulator: Emulator, destination: str, native: bool, field: str
    ) -> None:
        with dag(native):
            batch: Any = SeedreamBatchOperator(
                task_id="batch",
                requests=[{"prompt": "a watch"}],
                retries=3,
                **{"destination": destination, field: MISSING},
            )
        assert_refused(Runner().run(batch), emulator, f"{field} must not be blank", MISSING)

    @pytest.mark.parametrize(
        "row",
        [
            {"prompt": MISSING},
            {"prompt": "a {{ params.null }} watch"},
            {"prompt": "None"},
            {"prompt": "a watch", "name": MISSING},
            {"prompt": "a watch", "name": "{{ params.empty }}"},
        ],
        ids=str,
    )
    def test_a_template_that_gives_nothing_in_a_row_is_an_invalid_row(
        self, emulator: Emulator, destination: str, native: bool, row: dict[str, str]
    ) -> None:
        with dag(native):
            batch = SeedreamBatchOperator(task_id="batch", requests=[row], destination=destination, retries=3)
        assert_refused(Runner().run(batch), emulator, f"requests[0]: {[*row][-1]} must", "got 'None'")

    def test_a_template_that_gives_nothing_in_a_batchs_template_is_an_invalid_row(
        self, emulator: Emulator, destination: str, native: bool
    ) -> None:
        with dag(native):
            batch = SeedreamBatchOperator(
                task_id="batch",
                requests=[{"colour": "red"}],
                template="a {{ colour }} {{ params.null }}",
                destination=destination,
                retries=3,
            )
        assert_refused(Runner().run(batch), emulator, "requests[0]: template prints a value that is missing")

    def test_a_template_that_gives_nothing_is_refused_for_a_function_as_well(
        self, emulator: Emulator, destination: str, native: bool
    ) -> None:
        with dag(native):
            draw = task.seedream(task_id="draw", destination=destination, name=MISSING, retries=3)(
                lambda: "a watch"
            )()
        assert_refused(Runner().run(draw.operator), emulator, "name must not be blank", MISSING)


class TestWhatIsNoMistake:
    def test_a_default_within_the_template_is_taken(self, emulator: Emulator, destination: str) -> None:
        with dag(False):
            draw = SeedreamGenerateOperator(
                task_id="draw",
                prompt=f"{MISSING[:-3]} or 'a watch' }}}}",
                seed="{{ params.null }}",
                destination=destination,
            )
        assert Runner().run(draw).state == "success"
        assert [post.prompt for post in emulator.books.submissions] == ["a watch"]

    def test_what_is_paid_is_landed_though_the_prompts_xcom_is_gone(
        self, emulator: Emulator, destination: str
    ) -> None:
        emulator.configure(seconds_per_image=(6.0, 6.0))
        with dag(False):
            prompt = task(task_id="prompt")(lambda: "a watch")()
            draw = SeedreamGenerateOperator(
                task_id="draw",
                prompt=prompt,
                destination=destination,
                wait=True,
                deferrable=True,
                poke_interval=0.1,
            )
        runner = Runner()
        runner.run(prompt.operator)
        assert runner.run(draw, until="deferred").state == "deferred"
        runner.wipe()
        emulator.clock.advance(10)
        assert (runner.run(draw).state, emulator.books.posts) == ("success", 1)

    def test_a_batch_whose_budget_is_gone_when_it_goes_on_lands_what_is_paid_and_sends_no_more(
        self, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        with dag(False):
            cap = task(task_id="cap")(lambda: 100)()
            batch = SeedreamBatchOperator(
                task_id="batch",
                requests=[{"prompt": f"watch {number}", "name": f"watch-{number}"} for number in range(3)],
                max_in_flight=1,
                max_credits=cap,
                destination=destination,
                deferrable=True,
                poke_interval=30,  # so far away that it defers
            )
        runner = Woken()
        runner.run(cap.operator)
        assert runner.run(batch, until="deferred").state == "deferred"
        runner.wipe()
        outcome = runner.run(batch)
        assert (outcome.state, emulator.books.posts) == ("failed", 1)
        assert "max_credits must not be blank" in str(outcome.error)
        assert json.loads((folder / "watch-0.json").read_text())["images_landed"] == 1
