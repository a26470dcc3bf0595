"""The real Airflow of the tests does what its helpers say."""

from __future__ import annotations

from typing import Any

import pytest

from tests.airflow.cluster import Cluster

pytestmark = pytest.mark.scheduler

DAG = """
import os, time
from datetime import timedelta
from pathlib import Path
from airflow.sdk import DAG, BaseOperator, Connection
from airflow.providers.standard.triggers.file import FileTrigger

class WaitForFile(BaseOperator):
    template_fields = ("path",)
    def __init__(self, *, path, **kwargs):
        super().__init__(**kwargs)
        self.path = path
    def execute(self, context):
        context["ti"].xcom_push("try", context["ti"].try_number)
        self.defer(trigger=FileTrigger(filepath=self.path, poke_interval=0.5), method_name="resume")
    def resume(self, context, event):
        return Connection.get("harness").host

class Hang(BaseOperator):
    def execute(self, context):
        if context["ti"].try_number == 1:
            time.sleep(600)
        return context["ti"].try_number

with DAG("{dag_id}", schedule=None):
    if "{kind}" == "wait":
        WaitForFile(task_id="one", path="{{{{ dag_run.conf['path'] }}}}", retries=1, retry_delay=timedelta(seconds=0))
    elif "{kind}" == "hang":
        Hang(task_id="one", retries=1, retry_delay=timedelta(seconds=0))
    else:
        WaitForFile.partial(task_id="one", path="{{{{ dag_run.conf['path'] }}}}").expand(doc=["a", "b", "c"])
"""


@pytest.fixture
def dag(cluster: Cluster, request: pytest.FixtureRequest) -> Any:
    def make(kind: str) -> str:
        dag_id = str(request.node.name)
        cluster.add_dag(dag_id, DAG.format(dag_id=dag_id, kind=kind))
        return dag_id

    if not cluster.sql("select 1 from connection where conn_id = 'harness'"):
        cluster.add_connection(
            "harness", conn_type="http", host="example.invalid", password="canary-password"
        )
    return make


def test_a_deferred_task_survives_the_loss_of_its_triggerer(
    cluster: Cluster, dag: Any, tmp_path: Any
) -> None:
    run = cluster.trigger(dag("wait"), conf={"path": str(tmp_path / "go")})
    row = run.wait_for_task("one", state="deferred")
    cluster.wait("trigger taken", lambda: cluster.triggers()[0]["triggerer_id"], timeout_seconds=240)
    cluster.kill_triggerer()
    cluster.start_triggerer("triggerer-2")
    (tmp_path / "go").touch()
    run.wait()
    assert run.task("one").try_number == row.try_number == 1
    assert run.xcom("one") == "example.invalid"
    assert run.rendered("one")["path"] == str(tmp_path / "go")
    assert "Pausing task as DEFERRED" in run.logs()


def test_a_killed_worker_is_retried(cluster: Cluster, dag: Any) -> None:
    run = cluster.trigger(dag("hang"))
    run.wait_for_task("one", state="running")
    cluster.wait("process known", lambda: run.task("one").pid, timeout_seconds=240)
    run.kill_worker("one")
    run.wait()
    assert run.xcom("one") == 2


def test_a_clear_while_deferred_starts_a_new_try(cluster: Cluster, dag: Any, tmp_path: Any) -> None:
    run = cluster.trigger(dag("wait"), conf={"path": str(tmp_path / "go")})
    before = run.wait_for_task("one", state="deferred")
    run.clear("one")
    cluster.wait("second try", lambda: run.task("one").try_number == 2, timeout_seconds=240)
    after = run.wait_for_task("one", state="deferred")
    assert after.id != before.id
    assert after.max_tries == 2
    (tmp_path / "go").touch()
    run.wait()


def test_a_waiting_task_can_be_marked(cluster: Cluster, dag: Any, tmp_path: Any) -> None:
    run = cluster.trigger(dag("wait"), conf={"path": str(tmp_path / "go")})
    run.wait_for_task("one", state="deferred")
    run.mark("one", "failed")
    run.wait(state="failed")


def test_wiped_tables_are_empty_and_needles_are_found(cluster: Cluster, dag: Any, tmp_path: Any) -> None:
    (tmp_path / "go-needle").touch()
    run = cluster.trigger(dag("wait"), conf={"path": str(tmp_path / "go-needle")})
    run.wait()
    assert "dag_run.conf" in cluster.find("go-needle")
    assert cluster.find("canary-password") == []
    cluster.wipe("xcom")
    assert cluster.sql("select * from xcom") == []
