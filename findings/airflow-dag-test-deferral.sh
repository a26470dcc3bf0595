#!/bin/bash
# dag.test() and `airflow dags test` run triggers that cannot see Airflow's connections, and drop defer(kwargs=).
#
# Expected: a trigger that `airflow dags test` runs in line finds a connection of the metadata database by
#   `await BaseHook.aget_connection(...)`, as it does in a triggerer and as the task itself does by get_connection(). And the
#   method that the task resumes with gets the arguments of defer(kwargs=...) beside the event, as documented.
# Happens: "The conn_id `probe` isn't defined". The stand-in for the supervisor (InProcessSupervisorComms) has send() and no asend();
#   ExecutionAPISecretsBackend.aget_connection swallows the AttributeError, and the lookup goes on to the environment, which knows
#   nothing. `sync_to_async(BaseHook.get_connection)` finds it in the same trigger. The arguments are gone: next_kwargs is set to
#   {"event": ...} alone, so a resume method that needs another one dies of a TypeError.
# Version: apache-airflow-core 3.3.2 with apache-airflow-task-sdk 1.3.2 (PyPI).
# Source: run here; `_run_task` in airflow/sdk/definitions/dag.py, `InProcessSupervisorComms` in execution_time/supervisor.py.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
unset "${!AIRFLOW@}" PYTHONDONTWRITEBYTECODE
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check uv==0.9.7 2>/dev/null
venv/bin/uv pip install -q --python venv/bin/python apache-airflow-core==3.3.2 apache-airflow-task-sdk==1.3.2 \
  apache-airflow-providers-standard==1.21.0 apache-airflow-providers-common-compat==1.23.0 'sqlalchemy<2.1'
mkdir dags
cat >dags/probe.py <<'DAG'
import asyncio

from airflow.sdk import DAG, BaseHook, BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async


class Probe(BaseTrigger):
    def serialize(self):
        return "probe.Probe", {}

    async def run(self):
        found = {}
        for name, look in (("aget_connection", BaseHook.aget_connection), ("get_connection", sync_to_async(BaseHook.get_connection))):
            try:
                found[name] = (await look("probe")).host
            except Exception as error:
                found[name] = str(error)
        yield TriggerEvent(found)


class Ask(BaseOperator):
    def execute(self, context):
        print("SEEN task get_connection:", BaseHook.get_connection("probe").host)
        self.defer(trigger=Probe(), method_name="resume", kwargs={"kept": "an argument"})

    def resume(self, context, event, kept="dropped"):
        for name, said in event.items():
            print(f"SEEN trigger {name}:", said)
        print("SEEN defer(kwargs=):", kept)


with DAG("probe", schedule=None):
    Ask(task_id="ask")
DAG
export AIRFLOW_HOME=$dir AIRFLOW__CORE__LOAD_EXAMPLES=False PYTHONPATH=$dir/dags
airflow=venv/bin/airflow
$airflow db migrate >/dev/null 2>&1
$airflow connections add probe --conn-type generic --conn-host host-of-the-database >/dev/null 2>&1
venv/bin/pip list --disable-pip-version-check 2>/dev/null | grep -E "^apache-airflow-(core|task-sdk) "
$airflow dags test probe 2>&1 | grep -o "SEEN .*" | sed 's/ \[.*//' | tee seen
grep -q "^SEEN task get_connection: host-of-the-database" seen
grep -q "^SEEN trigger aget_connection: The conn_id .probe. isn't defined" seen
grep -q "^SEEN trigger get_connection: host-of-the-database" seen
grep -q "^SEEN defer(kwargs=): dropped" seen
echo AS DESCRIBED
