"""A campaign: one prompt per product, mapped over both tasks, so that each image succeeds, fails and is
retried by itself.

Equal prompts would share one generation. For variations of one prompt use `num_images`, or map over `seed` or
`take` as well.
"""

from airflow.sdk import DAG

from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor

PRODUCTS = ["a leather watch", "a canvas rucksack", "a pair of walking boots"]

with DAG(
    "example_seedream_campaign",
    description="One prompt per product, mapped over both tasks",
    schedule=None,
    default_args={"retries": 2},
    tags=["seedream"],
):
    submit = SeedreamGenerateOperator.partial(
        task_id="submit",
        image_size="portrait_4_3",
        deferrable=True,  # three requests a minute: who comes too early waits in the triggerer
        map_index_template="{{ task.prompt }}",
    ).expand(prompt=[f"{product} on a wet stone, morning light" for product in PRODUCTS])
    SeedreamGenerationSensor.partial(
        task_id="land",
        deferrable=True,
        # else one failed submission would keep the images of all others from landing
        trigger_rule="all_done",
    ).expand(generation=submit.output)
