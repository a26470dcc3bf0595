"""A chain: generate, land, then edit the landed image, so that the second request works on what the first one
made.

`images=land.output` hands over every image that was landed; `pick=1` takes the first, `pick=[1, 3]` some of
them.
"""

from airflow.sdk import DAG

from airflow_provider_seedream.operators.seedream import SeedreamEditOperator, SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor

with DAG(
    "example_seedream_chained",
    description="Generate, land, then edit the landed image",
    schedule=None,
    default_args={"retries": 2},
    tags=["seedream"],
):
    draw = SeedreamGenerateOperator(
        task_id="draw", prompt="a leather watch on a wet stone", image_size="square_hd"
    )
    land = SeedreamGenerationSensor(task_id="land", generation=draw.output, deferrable=True)
    edit = SeedreamEditOperator(
        task_id="edit",
        prompt="the same picture in heavy rain",
        images=land.output,
        pick=1,
        image_size="square_hd",
    )
    SeedreamGenerationSensor(task_id="land_edit", generation=edit.output, deferrable=True)
