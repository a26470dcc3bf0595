"""An approval whose prompt a person can change between two tries: it comes from a Variable of Airflow."""

from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, task

from airflow_provider_seedream.gallery import approval_markdown
from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor

with DAG("again", schedule=None, default_args={"retries": 2}):
    submit = SeedreamGenerateOperator(task_id="submit", prompt="{{ var.value.wanted }}", num_images=2)
    land = SeedreamGenerationSensor(
        task_id="land", generation=submit.output, deferrable=True, poke_interval=4
    )

    @task
    def show(landed: Any) -> str:
        return approval_markdown(landed)

    @task
    def publish(landed: Any) -> list[str]:
        return [image["sha256"] for image in landed["images"]]

    approve = ApprovalOperator(task_id="approve", subject="Publish these images?", body=show(land.output))
    approve >> publish(land.output)
