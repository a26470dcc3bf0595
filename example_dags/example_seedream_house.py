"""An operator of your own: a house style around every prompt, with a template field of its own and a budget
that nobody forgets.

What a subclass adds is rendered by Airflow and checked by nobody but itself; Seedream's own fields are
checked as ever.
"""

from collections.abc import Sequence
from typing import Any

from airflow.sdk import DAG

from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator


class HouseStyleOperator(SeedreamGenerateOperator):
    """Draws in the style of a brand, waits and lands.

    :param brand: whose style, templated.
    """

    template_fields: Sequence[str] = (*SeedreamGenerateOperator.template_fields, "brand")

    def __init__(self, *, brand: str, **kwargs: Any) -> None:
        super().__init__(**{"max_credits": 100, "wait": True, "deferrable": True, **kwargs})
        self.brand = brand

    def pre_execute(self, context: Any) -> None:
        """Airflow calls it before `execute` and before each resumption of a wait, so that the prompt is
        always the same.
        """
        super().pre_execute(context)
        self.prompt = f"{self.prompt}, in the style of {self.brand}"


PARAMS = {"brand": "a Swiss poster of 1960"}

with DAG(
    "example_seedream_house",
    description="An operator of your own: a house style around every prompt, and a budget",
    schedule=None,
    default_args={"retries": 2},
    params=PARAMS,
    tags=["seedream"],
):
    HouseStyleOperator.partial(task_id="draw", brand="{{ params.brand }}").expand(
        prompt=["a leather watch", "a canvas bag"]
    )
