"""DAGs with `render_template_as_native_obj=True`: text goes out as it is written, and what should be an
object is one.
"""

from __future__ import annotations

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
from tests.airflow.runner import Runner
from tests.faces.test_taskflow import saved

# Each is something else to Python than what stands there.
PYTHONIC = ['"Summer sale"', "'a fox' 'in snow'", "2026", "1_000", "[1, 2]", "True", "{'a': 1}", "0x10"]
PARAMS = {"said": '"Summer sale"', "year": 2026, "many": 2}


def prompts(emulator: Emulator) -> list[str]:
    return [post.prompt for post in emulator.books.submissions]


def native() -> DAG:
    return DAG("native", schedule=None, render_template_as_native_obj=True, params=PARAMS)


class TestText:
    @pytest.mark.parametrize("prompt", PYTHONIC)
    def test_a_prompt_without_a_template_is_sent_as_written(
        self, emulator: Emulator, destination: str, prompt: str
    ) -> None:
        with native():
            draw = SeedreamGenerateOperator(task_id="draw", prompt=prompt, destination=destination)
        assert Runner().run(draw).state == "success"
        assert prompts(emulator) == [prompt]

    @pytest.mark.parametrize(
        ("template", "prompt"),
        [
            ("{{ params.said }}", '"Summer sale"'),
            ('"{{ params.year }}"', '"2026"'),
            ("{{ params.year }}", "2026"),
        ],
    )
    def test_what_a_template_makes_is_sent_as_text(
        self, emulator: Emulator, destination: str, template: str, prompt: str
    ) -> None:
        with native():
            draw = SeedreamGenerateOperator(task_id="draw", prompt=template, destination=destination)
        assert Runner().run(draw).state == "success"
        assert prompts(emulator) == [prompt]

    def test_a_number_from_another_task_is_text_for_prompt_and_name(
        self, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        with native():
            number = task(task_id="number")(lambda: 1234)()
            draw = SeedreamGenerateOperator(
                task_id="draw", prompt=number, name=number, destination=destination, wait=True
            )
        runner = Runner()
        runner.run(number.operator)
        assert runner.run(draw).state == "success"
        assert prompts(emulator) == ["1234"]
        assert (folder / "1234_1.png").exists()

    def test_a_sensor_lands_under_a_name_of_digits(
        self, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        with native():
            draw = SeedreamGenerateOperator(task_id="draw", prompt="a watch", destination=destination)
            land = SeedreamGenerationSensor(
                task_id="land", generation=draw.output, name="{{ params.year }}", poke_interval=0.05
            )
        runner = Runner()
        assert [runner.run(one).state for one in (draw, land)] == ["success", "success"]
        assert (folder / "2026_1.png").exists()

    def test_the_rows_of_a_batch_are_text_too(
        self, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        rows = [{"prompt": prompt, "name": "1_000"} for prompt in PYTHONIC[:1]] + [
            {"prompt": "{{ params.said }}", "seed": "{{ 7 }}"}
        ]
        with native():
            batch = SeedreamBatchOperator(
                task_id="batch", requests=rows, results="2_026", destination=destination, poke_interval=0.05
            )
        assert Runner().run(batch).state == "success"
        assert prompts(emulator) == ['"Summer sale"'] * 2
        assert (folder / "1_000_1.png").exists()
        assert (folder / "2_026.jsonl").exists()

    def test_the_argument_of_a_function_is_sent_as_text(self, emulator: Emulator, destination: str) -> None:
        with native():
            draw = task.seedream(task_id="draw", destination=destination)(lambda words: words)(
                words=PYTHONIC[1]
            )
        assert Runner().run(draw.operator).state == "success"
        assert prompts(emulator) == [PYTHONIC[1]]


class TestObjects:
    def test_lists_and_numbers_stay_what_they_are(
        self, emulator: Emulator, destination: str, folder: Path
    ) -> None:
        picture = saved(folder.parent, "source.png")
        with native():
            edit: Any = SeedreamEditOperator(
                task_id="edit",
                prompt="bluer",
                images=f"{{{{ ['{picture}'] }}}}",
                num_images="{{ params.many }}",
                destination=destination,
            )
        assert Runner().run(edit).state == "success"
        assert (emulator.books.submissions[0].num_images, emulator.books.violations) == (2, ())
