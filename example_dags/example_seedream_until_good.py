"""Generate until good: each round of a loop draws another set, until one passes or three are drawn. Needs
Airflow 3.4.

`take="{{ loop.index + 1 }}"` buys a set in each round; without it each round would get the images of the
first one again.
"""

from typing import Any

import airflow.sdk
from airflow.sdk import DAG, task, task_group

from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator

ROUNDS = 3
ENOUGH_BYTES = 400_000  # your own measure stands here: a model that looks at the picture, or a person


@task
def judge(landed: Any) -> dict[str, Any]:
    largest = max(landed["images"], key=lambda image: image["size_bytes"])
    return {"uri": largest["uri"], "is_good": largest["size_bytes"] >= ENOUGH_BYTES}


def is_over(*, loop: Any) -> bool:
    # False in the last round would fail the loop: then the last set is as good as it gets.
    return bool(loop.result["is_good"]) or loop.index + 1 == ROUNDS


@task_group
def rounds() -> None:
    draw = SeedreamGenerateOperator(
        task_id="draw",
        prompt="a leather watch on a mossy stone",
        take="{{ loop.index + 1 }}",
        max_credits=10 * ROUNDS,
        wait=True,
        deferrable=True,
    )
    judge(draw.output)


if hasattr(airflow.sdk, "LoopDecision"):  # Airflow 3.4
    with DAG(
        "example_seedream_until_good",
        description="A loop draws another set in each round, until one is good enough",
        schedule=None,
        default_args={"retries": 2},
        tags=["seedream"],
    ):
        rounds.loop(max_iterations=ROUNDS, until=is_over)  # type: ignore[attr-defined]  # unknown to Airflow 3.3
