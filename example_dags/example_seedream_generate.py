"""One prompt becomes images in your storage: submit and pay once, wait without a worker, land, write the
manifest.

`make demo` runs this file. Without a `destination` here, the images go where the connection's extra says.
"""

from airflow.sdk import DAG

from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor

with DAG(
    "example_seedream_generate",
    description="One prompt becomes two images in your storage: submit, wait without a worker, land",
    schedule=None,
    default_args={"retries": 2},
    tags=["seedream"],
):
    submit = SeedreamGenerateOperator(
        task_id="submit",
        prompt="a leather watch on a wet stone, morning light, {{ dag_run.run_after | ds }}",
        image_size="landscape_16_9",
        num_images=2,
        # destination="s3://aws_default@my-bucket/watches/{{ dag_run.run_after | ds }}", name="hero",
    )
    SeedreamGenerationSensor(
        task_id="land",
        generation=submit.output,
        deferrable=True,
        poke_interval=4,  # seconds; the default suits the real API, which takes 20 to 40 s per image
    )
