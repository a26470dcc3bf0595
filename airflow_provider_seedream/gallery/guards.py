"""The permissions of the gallery, from Airflow's own auth manager. Plugin apps are anonymous, so every route
guards itself.

The right to read a DAG's XComs is the right to see its images: the page shows what those XComs point to.
Reads no storage.
"""

from collections.abc import Callable
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_asset, requires_access_dag
from fastapi import Depends, HTTPException, Request

IMAGES_OF_THE_DAG = Depends(requires_access_dag("GET", DagAccessEntity.XCOM))  # of the dag_id in the path
# of the asset_id in the path; each image has the guard of its DAG besides
THE_ASSET = Depends(requires_access_asset("GET"))


class Reader:
    """The user of a request and what the user may read. Each DAG is asked for once per request.

    ::

        def page(reader: ReaderDep) -> Response:
            reader.may_read("watches")  # True if the user may read that DAG's XComs

    An answer is remembered for this request only, so a permission that is taken away is gone at the next
    page.
    """

    def __init__(self, request: Request, user: GetUserDep) -> None:
        self._request = request
        self._user = user
        self._known: dict[str, bool] = {}

    def dag_ids(self, of: set[str]) -> set[str]:
        """Those of these DAGs that the user may read at all; their XComs may still be forbidden.

        :param of: DAG ids; others are not returned.
        """
        manager: Any = get_auth_manager()
        return of & set(manager.get_authorized_dag_ids(user=self._user, method="GET"))

    def may_read(self, dag_id: str) -> bool:
        """True if the user may read the DAG's XComs, and so see its images."""
        if dag_id not in self._known:
            # Airflow's check for a path parameter is reused for any DAG id: the rules of every auth manager
            # then apply unchanged. It answers by an exception.
            guard: Callable[..., None] = requires_access_dag("GET", DagAccessEntity.XCOM, param_dag_id=dag_id)
            try:
                guard(self._request, self._user)
                self._known[dag_id] = True
            except HTTPException:
                self._known[dag_id] = False
        return self._known[dag_id]


ReaderDep = Annotated[Reader, Depends(Reader)]
