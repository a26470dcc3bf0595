"""The rules of fields that every paying task has."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor
from airflow_provider_seedream.tasks.fields import check_budget


class TestABudget:
    @pytest.mark.parametrize(("value", "credits"), [(None, None), (0, 0), ("0", 0), (" 100 ", 100), (7, 7)])
    def test_a_budget_is_an_integer_of_credits_or_none(self, value: Any, credits: int | None) -> None:
        assert check_budget("max_credits", value) == credits

    @pytest.mark.parametrize("value", ["", "None", -1, "-1", "ten", 10.0, "10.5", True, [100], "1e3"])
    def test_any_other_budget_is_refused_by_its_name(self, value: Any) -> None:
        with pytest.raises(SeedreamInputError, match="max_credits_per_run must be an integer"):
            check_budget("max_credits_per_run", value)


class House(SeedreamGenerateOperator):
    """An operator of a user, whose `prompt` is a dict."""

    def __init__(self, *, prompt: Any, **kwargs: Any) -> None:
        super().__init__(prompt=str(prompt), **kwargs)


class TestPartial:
    """Of a mapped task Airflow checks the names of arguments when the DAG is parsed; we check their values
    as well.
    """

    @pytest.mark.parametrize(
        ("operator", "arguments", "says"),
        [
            (
                SeedreamGenerateOperator,
                {"image_size": "landscap_16_9"},
                "Task 'draw': .*Did you mean 'landscape_16_9'",
            ),
            (
                SeedreamGenerateOperator,
                {"num_images": 9, "take": 0},
                "Task 'draw' has 2 wrong arguments.\n  num_images must be",
            ),
            (
                SeedreamBatchOperator,
                {"max_credits": "ten"},
                "Task 'draw': max_credits must be an integer of credits",
            ),
            (SeedreamGenerationSensor, {"destination": "no/uri"}, "Task 'draw': destination"),
            (House, {"num_images": 9}, "Task 'draw': num_images must be"),
        ],
    )
    def test_a_wrong_value_fails_when_the_dag_is_parsed(
        self, operator: Any, arguments: dict[str, Any], says: str
    ) -> None:
        with DAG("mapped", schedule=None), pytest.raises(SeedreamInputError, match=says) as refused:
            operator.partial(task_id="draw", **arguments)
        assert "Paid" not in str(refused.value)

    def test_templates_and_arguments_of_other_constructors_are_left_to_the_worker(self) -> None:
        with DAG("mapped", schedule=None) as dag:
            House.partial(task_id="house", num_images="{{ params.n }}", image_size=None).expand(
                prompt=[{"animal": "fox"}]
            )
            House.partial(task_id="other", prompt={"animal": "fox"}).expand(seed=[1, 2])
            SeedreamGenerateOperator.partial(task_id="draw", retries=2, num_images=2).expand(
                prompt=["a", "b"]
            )
        assert dag.get_task("draw").is_mapped
        with pytest.raises(TypeError, match="unexpected keyword argument 'promt'"):
            SeedreamGenerateOperator.partial(task_id="draw", promt="a")
