"""Two images of a product, into the destination of the connection."""

from airflow.sdk import DAG

from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor

with DAG("watches", schedule=None, params={"product": "watch"}, default_args={"retries": 2}) as watches:
    submit = SeedreamGenerateOperator(
        task_id="submit",
        prompt="a leather {{ params.product }} on a wet stone, morning light",
        num_images=2,
        name="hero",
    )
    land = SeedreamGenerationSensor(task_id="land", generation=submit.output, deferrable=True)
