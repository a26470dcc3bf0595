"""TaskFlow and operators mixed: a function writes the prompts, Seedream's tasks make the images, a function
reads the results.

The hook asks the wallet first, which costs nothing, and stops a run that it could not pay for before anything
is spent.
"""

from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import dag, task

from airflow_provider_seedream.generations import LandedGeneration
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor

CREDITS_PER_IMAGE = 10


@dag(
    description="The images of a generation in a @task of your own",
    schedule=None,
    default_args={"retries": 2},
    tags=["seedream"],
)
def example_seedream_taskflow() -> None:
    @task
    def write_prompts() -> list[str]:
        prompts = [f"a garden bench in {season}, watercolour" for season in ("spring", "autumn")]
        wallet = SeedreamHook("seedream_default").get_wallet()
        if float(wallet.balance) < len(prompts) * CREDITS_PER_IMAGE:
            raise AirflowFailException(
                f"The wallet holds {wallet.balance} credits: too few for {len(prompts)} images."
            )
        return prompts

    @task
    def list_images(generations: Any) -> list[str]:  # one dict per mapped task
        landed = [LandedGeneration.from_dict(generation) for generation in generations]
        return [image.uri for generation in landed for image in generation.images]

    submit = SeedreamGenerateOperator.partial(task_id="submit", deferrable=True).expand(
        prompt=write_prompts()
    )
    land = SeedreamGenerationSensor.partial(task_id="land", deferrable=True).expand(generation=submit.output)
    list_images(land.output)


example_seedream_taskflow()
