"""One process of a task, run in this one: Airflow's in-process supervisor, given our execution API.

Differs from Airflow's own in two ways: no database, and a server error reaches the task as it does through a
real supervisor. Never imports the provider.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from airflow.sdk.api.client import Client, ServerResponseError
from airflow.sdk.api.datamodels._generated import TaskInstance
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse
from airflow.sdk.execution_time.supervisor import InProcessTestSupervisor

from tests.airflow.execution_api import Instance
from tests.airflow.http_library import httpx


class _OneShotClient(Client):
    """Airflow's client repeats a request for half a minute; a test that injects an error wants it now."""

    def request(self, *args: Any, **kwargs: Any) -> httpx.Response:  # type: ignore[override]
        return httpx.Client.request(self, *args, **kwargs)


def run_once(task: Any, instance: Instance, transport: httpx.BaseTransport) -> BaseException | None:
    """Run the task's next process to its end; the state it reported is in `instance`."""

    class Supervisor(InProcessTestSupervisor):
        @staticmethod
        def _api_client(dag: Any = None, attempt_id: UUID | None = None) -> Client:
            return _OneShotClient(base_url=None, token="", dry_run=True, transport=transport)

        def _handle_request(self, msg: Any, log: Any, req_id: int) -> None:
            try:
                super()._handle_request(msg, log, req_id)
            except ServerResponseError as error:
                details = {"status_code": error.response.status_code, "message": str(error)}
                raise AirflowRuntimeError(
                    ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=details)
                ) from error

    result = Supervisor.start(what=_workload(instance), task=task)
    return result.error


def _workload(instance: Instance) -> TaskInstance:
    in_loop = (
        {} if instance.loop_index is None else {"region_id": UUID(int=7), "region_index": instance.loop_index}
    )
    return TaskInstance(
        **in_loop,
        id=instance.id,
        dag_id=instance.dag_id,
        task_id=instance.task_id,
        run_id=instance.run_id,
        map_index=instance.map_index,
        try_number=instance.try_number,
        dag_version_id=UUID(int=0),
    )
