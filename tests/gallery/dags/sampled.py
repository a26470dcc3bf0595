"""A batch of 40 rows whose sample of eight a person looks at: one of them is refused."""

from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_seedream.bounds import Sample
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator

THINGS = (
    "leather watch",
    "canvas rucksack",
    "garden bench",
    "ceramic teapot",
    "wool scarf",
    "lighthouse",
    "oak table",
    "red kite",
)
PLACES = ("a wet stone", "moss", "gravel", "linen", "a red door")
ROWS = [
    {"product": thing, "background": place, "sku": f"{thing[0].upper()}-{100 * number + 1 + at}"}
    for number, place in enumerate(PLACES)
    for at, thing in enumerate(THINGS)
]
ROWS[4]["background"] += " [safety]"

with DAG("sampled", schedule=None, default_args={"retries": 2}):
    SeedreamBatchOperator(
        task_id="images",
        requests=ROWS,
        template="a {{ product }} on {{ background }}, morning light",
        image_size="landscape_4_3",
        results="{{ dag_run.run_after | ts_nodash }}",
        sample=Sample(rows=8, response_timeout=timedelta(hours=10)),
        on_error="continue",
        deferrable=True,
        poke_interval=3,
    )
