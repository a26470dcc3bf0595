"""Prompts as functions: one says what to draw for a product, another what becomes of the landed image.

What they return is sent as it stands, without Jinja. Each mapped task waits for its images and lands them.
"""

from typing import Any

from airflow.sdk import dag, task

PRODUCTS = ["leather watch", "canvas bag"]


@dag(
    description="Prompts as functions, with @task.seedream",
    schedule=None,
    default_args={"retries": 2},
    tags=["seedream"],
)
def example_seedream_decorators() -> None:
    @task.seedream(image_size="square", wait=True, deferrable=True)
    def draw(product: str) -> str:
        return f"a {product} on a stone table, soft daylight"

    @task.seedream_edit(wait=True, deferrable=True)
    def at_night(landed: dict[str, Any]) -> dict[str, Any]:
        return {"prompt": "the same scene at night, by candlelight", "images": landed}

    at_night.expand(landed=draw.expand(product=PRODUCTS))


example_seedream_decorators()
