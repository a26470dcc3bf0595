"""The button "Images" on the page of a task. Loaded with every DAG, so it imports next to nothing."""

from typing import Any

from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_provider_seedream.model.task_ref import Place


class SeedreamImagesLink(BaseOperatorLink):
    """Leads to the task's images in the gallery.

    Airflow stores it as an XCom at the end of every try, whatever its outcome. By these XComs the gallery finds our tasks among all
    others: the key is part of its index.
    """

    name = "Images"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        place = Place(dag_id=ti_key.dag_id, run_id=ti_key.run_id, task_id=ti_key.task_id, map_index=ti_key.map_index)
        return place.address("task")
