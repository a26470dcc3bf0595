"""Landed images as assets: DAGs scheduled on "watches" or on "watch-images" run when this one has landed
some.

The alias gets an event for each image. Airflow 3.4 starts a run for each of them, and one in all with
`announce="generation"`.
"""

from airflow.sdk import Asset, AssetAlias, dag

from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor


@dag(
    description="Landed images are assets: other DAGs run when this one has landed some",
    schedule=None,
    default_args={"retries": 2},
    tags=["seedream"],
)
def example_seedream_assets() -> None:
    submit = SeedreamGenerateOperator(
        task_id="submit", prompt="a leather watch on a mossy stone", num_images=2
    )
    SeedreamGenerationSensor(
        task_id="land",
        generation=submit.output,
        deferrable=True,
        outlets=[Asset("watches"), AssetAlias("watch-images")],
    )


example_seedream_assets()
