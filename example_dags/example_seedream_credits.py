"""A night's work that begins when the wallet holds what it costs: a sensor waits for the top-up, a budget
keeps the rest to it.

With an empty wallet it waits in the triggerer, for a day; if nobody has paid by then, the night is skipped.
"""

from airflow.sdk import DAG

from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamCreditsSensor

PROMPTS = ["a leather watch", "a steel watch", "a golden watch"]
IMAGES = 2
PRICE = len(PROMPTS) * IMAGES * 10  # 10 credits per image

with DAG(
    "example_seedream_credits",
    description="Waits until the wallet holds the price of the night, then spends no more than a budget",
    schedule=None,
    default_args={"retries": 2},
    tags=["seedream"],
):
    top_up = SeedreamCreditsSensor(task_id="top_up", min_credits=PRICE, deferrable=True, soft_fail=True)
    draw = SeedreamGenerateOperator.partial(
        task_id="draw",
        num_images=IMAGES,
        max_credits=PRICE,
        wait=True,
        deferrable=True,
        poke_interval=4,  # seconds; the default suits the real API, which takes 20 to 40 s per image
    ).expand(prompt=PROMPTS)
    top_up >> draw
