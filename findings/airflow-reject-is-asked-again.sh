#!/bin/bash
# A rejection is asked again, until somebody approves.
#
# Expected: ApprovalOperator(fail_on_reject=True) fails when a person rejects: "the task fails instead of only skipping downstream tasks".
#   With response_timeout it fails when nobody answers in time.
# Happens: with retries, which most DAGs have in default_args, the task is not failed but up for retry. The next try removes the answer
#   and asks the same question once more, so a person who refused is outvoted by the next one who looks; with retries=2 a
#   response_timeout of 8 hours fails after more than 24. The errors (HITLRejectException, HITLTimeoutError) are none that end retries
#   (AirflowFailException). retries=0 on the operator makes it as expected.
# Version: apache-airflow-providers-standard 1.21.0, apache-airflow-core 3.3.2 with task-sdk 1.3.2; uv installs them (PyPI).
# Source: run here; airflow/providers/standard/exceptions.py, ApprovalOperator.execute_complete in airflow/providers/standard/operators/hitl.py,
#   run in airflow/sdk/execution_time/task_runner.py; upsert_hitl_detail (case 3) in airflow/api_fastapi/execution_api/routes/hitl.py.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
unset "${!AIRFLOW@}" PYTHONDONTWRITEBYTECODE
export AIRFLOW_HOME=$dir/home
python3 -m venv uv
uv/bin/pip install -q --disable-pip-version-check uv 2>/dev/null
uv/bin/uv venv -q venv
uv/bin/uv pip install -q --python venv/bin/python apache-airflow-core==3.3.2 apache-airflow-task-sdk==1.3.2 \
  apache-airflow-providers-standard==1.21.0 apache-airflow-providers-common-compat==1.23.0
venv/bin/python - 2>/dev/null <<'EOF' | grep -E "^(core|Reject|no answer)"
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from unittest.mock import MagicMock
from uuid import UUID

import structlog
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG
from airflow.sdk.api.datamodels._generated import DagRun, TIRunContext
from airflow.sdk.execution_time import task_runner
from airflow.sdk.serde import serialize

NOW = datetime(2026, 11, 28, tzinfo=UTC)
RUN = dict.fromkeys(("logical_date", "data_interval_start", "data_interval_end", "end_date", "partition_key"))
RUN |= {"dag_id": "night", "run_id": "r", "run_after": NOW, "start_date": NOW, "run_type": "manual", "state": "running", "consumed_asset_events": []}
EVENTS = {
    "Reject": {"chosen_options": ["Reject"], "params_input": {}, "responded_at": NOW, "responded_by_user": {"id": "1", "name": "ann"}},
    "no answer": {"error": "Timed out.", "error_type": "timeout"},
}
task_runner.SUPERVISOR_COMMS = MagicMock()  # the way to the server, of which nothing is needed here


def state(event, retries):
    """The state that the task runner reports when a task goes on with this event, in its first try."""
    with DAG("night", schedule=None):
        approve = ApprovalOperator(
            task_id="approve", subject="Publish?", fail_on_reject=True, response_timeout=timedelta(hours=8), retries=retries
        )
    told = TIRunContext(
        dag_run=DagRun(**RUN),
        max_tries=retries,
        should_retry=retries > 0,  # as the server says for the first of retries + 1 tries
        next_method="execute_complete",
        next_kwargs=serialize({"event": event}),
    )
    ti = task_runner.RuntimeTaskInstance.model_construct(
        id=UUID(int=1), task=approve, task_id="approve", dag_id="night", run_id="r", try_number=1, map_index=-1,
        max_tries=retries, start_date=NOW, state="running", dag_version_id=UUID(int=0),
    )
    ti._ti_context_from_server = told
    reported, _, error = task_runner.run(ti, ti.get_template_context(), structlog.get_logger())
    return reported.value, type(error).__name__


print(*(f"{name} {version(f'apache-airflow-{name}')}" for name in ("core", "task-sdk", "providers-standard")))
for answer, event in EVENTS.items():
    for retries in (2, 0):
        reported, error = state(event, retries)
        print(f"{answer}, retries={retries}: {reported} ({error})")
        assert reported == ("up_for_retry" if retries else "failed")
EOF
echo "AS DESCRIBED"
