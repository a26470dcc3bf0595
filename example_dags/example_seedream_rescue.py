"""Rescue: whatever happened to a DAG, the images of a paid generation can be landed from its id alone, for 24
h, for nothing.

Trigger it with the id, which the log, the XCom `seedream_task_id` and the ledger record of the submitting
task all hold.
"""

from airflow.sdk import DAG, Param

from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor

PARAMS = {
    "seedream_task_id": Param(type="string", minLength=1, title="Seedream task id"),
    "destination": Param(
        "",
        type="string",
        title="Destination",
        description="e.g. s3://aws_default@my-bucket/rescued; empty: the connection's",
    ),
}

with DAG(
    "example_seedream_rescue",
    description="Lands the images of a paid generation from its id alone, for 24 h and for nothing",
    schedule=None,
    params=PARAMS,
    default_args={"retries": 2},
    tags=["seedream"],
):
    SeedreamGenerationSensor(
        task_id="land",
        generation="{{ params.seedream_task_id }}",
        destination="{{ params.destination }}",
        deferrable=True,
    )
