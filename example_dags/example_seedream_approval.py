"""Nothing is published before a person has seen it: generate, land, show the images above an approval, copy
what was approved.

The pictures need `[seedream] gallery_roots` in the web server's configuration; `make ui` has it.
"""

from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, ObjectStoragePath, task

from airflow_provider_seedream.gallery import approval_markdown
from airflow_provider_seedream.generations import LandedGeneration
from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor

with DAG(
    "example_seedream_approval",
    description="A person looks at the images in Airflow's own page, and only approved ones are published",
    schedule=None,
    default_args={"retries": 2},
    tags=["seedream"],
):
    submit = SeedreamGenerateOperator(
        task_id="submit",
        prompt="a leather watch on a wet stone, morning light, {{ dag_run.run_after | ds }}",
        image_size="landscape_4_3",
        num_images=3,
    )
    land = SeedreamGenerationSensor(
        task_id="land", generation=submit.output, deferrable=True, poke_interval=4
    )

    @task
    def show(landed: Any) -> str:
        return approval_markdown(landed)

    @task
    def publish(landed: Any) -> list[str]:
        published = []
        for image in LandedGeneration.from_dict(landed).images:
            folder, _, name = image.uri.rpartition("/")
            target = ObjectStoragePath(f"{folder}/public/{name}")  # here the bucket that your web site reads
            target.parent.mkdir(parents=True, exist_ok=True)
            with ObjectStoragePath(image.uri).open("rb") as file:
                # whole before anything is written: a file system keeps what a failed copy has written
                data = file.read()
            with target.open("wb") as file:
                file.write(data)
            published.append(str(target))
        return published

    approve = ApprovalOperator(task_id="approve", subject="Publish these images?", body=show(land.output))
    approve >> publish(land.output)
