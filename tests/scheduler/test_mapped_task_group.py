"""What the docs say of mapped task groups: each image stands for itself, and the run fails with the one
that failed.
"""

from __future__ import annotations

import pytest

from tests.scheduler.stage import WAIT_SECONDS, Stage

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(2400)]

GROUP = """
from airflow.sdk import task_group

@task_group
def product(prompt):
    submit = SeedreamGenerateOperator(task_id="submit", prompt=prompt, **USUAL)
    SeedreamGenerationSensor(task_id="land", generation=submit.output, **USUAL)

product.expand(prompt=["red", "[refuse:400]", "blue"])
"""


def test_a_failed_submission_keeps_no_other_from_landing_and_fails_the_run(stage: Stage) -> None:
    run = stage.start(GROUP, deferrable=True)
    run.wait(state="failed", timeout_seconds=WAIT_SECONDS)
    assert [row.state for row in run.tasks("product.submit")] == ["success", "failed", "success"]
    assert [row.state for row in run.tasks("product.land")] == ["success", "upstream_failed", "success"]
    assert sorted(manifest["submission"]["prompt"] for manifest in stage.manifests()) == ["blue", "red"]
