"""A night's work that waits for a top-up: a retry policy (Airflow 3.3+) asks again every half hour after a
402.

What is paid already stays paid for once, and errors that no retry can change still fail at once.
"""

from typing import Any

from airflow.sdk import dag

from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor

try:
    from airflow_provider_seedream.retry_policy import SeedreamRetryPolicy

    # ten hours of half hours
    PATIENT: dict[str, Any] = {"retries": 20, "retry_policy": SeedreamRetryPolicy()}
except ImportError:  # below Airflow 3.3 a 402 ends the task, and other errors are retried as Airflow does it
    PATIENT = {"retries": 2}


@dag(
    description="A retry policy waits for a top-up of the wallet (Airflow 3.3)",
    schedule="@daily",
    catchup=False,
    default_args=PATIENT,
    tags=["seedream"],
)
def example_seedream_patient() -> None:
    submit = SeedreamGenerateOperator(
        task_id="submit", prompt="a leather watch on a mossy stone", num_images=2
    )
    SeedreamGenerationSensor(task_id="land", generation=submit.output, deferrable=True)


example_seedream_patient()
