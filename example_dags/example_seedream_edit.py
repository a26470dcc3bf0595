"""Images from a bucket are edited by an instruction, in one task: `wait=True` submits, waits and lands.

They are read on the worker when the request is sent. Set SEEDREAM_EXAMPLE_BUCKET to read from a bucket of
yours.
"""

import os
from pathlib import Path

from airflow.sdk import DAG

from airflow_provider_seedream.operators.seedream import SeedreamEditOperator

# For example s3://aws_default@my-bucket/products; without it the pictures beside this file, so that no cloud
# is needed.
BUCKET = os.environ.get("SEEDREAM_EXAMPLE_BUCKET") or (Path(__file__).parent / "sources").as_uri()

with DAG(
    "example_seedream_edit",
    description="Edits images of a bucket by an instruction, in one task",
    schedule=None,
    default_args={"retries": 2},
    tags=["seedream"],
):
    SeedreamEditOperator(
        task_id="edit",
        prompt="lay the watch of the first image on the stone of the second",
        images=[f"{BUCKET}/watch.jpg", f"{BUCKET}/wet_stone.jpg"],
        image_size="square_hd",
        wait=True,
        deferrable=True,
    )
