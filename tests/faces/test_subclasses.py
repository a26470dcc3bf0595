"""House operators: a subclass with template fields of its own is parsed, rendered, mapped and checked like
ours.
"""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_seedream.decorators import seedream as decorators
from airflow_provider_seedream.emulator import Emulator
from airflow_provider_seedream.exceptions import SeedreamInputError
from airflow_provider_seedream.operators.seedream import (
    SeedreamBatchOperator,
    SeedreamEditOperator,
    SeedreamGenerateOperator,
)
from airflow_provider_seedream.sensors.seedream import SeedreamCreditsSensor, SeedreamGenerationSensor
from tests.airflow.runner import Runner
from tests.guarantees.conftest import Connect

OURS: dict[type, dict[str, Any]] = {
    SeedreamGenerateOperator: {"prompt": "a watch"},
    SeedreamEditOperator: {"prompt": "bluer", "images": ["/x.png"]},
    SeedreamBatchOperator: {"requests": [{"prompt": "a watch"}]},
    SeedreamGenerationSensor: {"generation": "1f0c3d0e-0001"},
    SeedreamCreditsSensor: {"min_credits": 10},
    decorators._GenerateDecoratedOperator: {"python_callable": lambda: "a watch"},
    decorators._BatchDecoratedOperator: {"python_callable": lambda: [{"prompt": "a watch"}]},
}


class HouseOperator(SeedreamGenerateOperator):
    template_fields = (*SeedreamGenerateOperator.template_fields, "brand")

    def __init__(self, *, brand: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.brand = brand

    def pre_execute(self, context: Any) -> None:
        super().pre_execute(context)
        self.prompt = f"{self.prompt}, in the style of {self.brand}"


@pytest.mark.parametrize("cls", OURS, ids=lambda cls: cls.__name__)
def test_a_field_that_is_set_after_our_constructor_is_the_subclasss_own(cls: Any) -> None:
    class House(cls):  # type: ignore[misc]
        template_fields = (*cls.template_fields, "brand")

        def __init__(self, *, brand: str, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.brand = brand

    with DAG("house", schedule=None):
        assert (
            House(task_id="house", brand="{{ var.value.brand }}", **OURS[cls]).brand
            == "{{ var.value.brand }}"
        )


def test_it_is_rendered_and_sent_also_after_a_wait_for_a_turn(
    emulator: Emulator, destination: str, connect: Connect
) -> None:
    connect(emulator, requests_per_minute=600)
    emulator.inject("rate-limited", times=1, retry_after_seconds=1)
    with DAG("house", schedule=None, params={"brand": "Acme"}):
        draw = HouseOperator.partial(
            task_id="draw", destination=destination, brand="{{ params.brand }}", deferrable=True
        ).expand(prompt=["a watch"])
    [outcome] = Runner().run_mapped(draw)
    assert (outcome.state, len(outcome.deferrals)) == ("success", 1)
    assert [post.prompt for post in emulator.books.submissions] == ["a watch, in the style of Acme"]


def test_our_own_fields_are_checked_when_the_dag_is_parsed_as_ever() -> None:
    with pytest.raises(SeedreamInputError, match="num_images"):
        HouseOperator(task_id="draw", prompt="a watch", num_images=7, brand="Acme")
