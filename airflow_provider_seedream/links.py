"""The button "Images" on the page of a task. Loaded with every DAG, so it imports next to nothing."""

from typing import Any

from airflow.providers.common.compat.sdk import BaseOperatorLink


class SeedreamImagesLink(BaseOperatorLink):
    """The link from a task to its images in the gallery; every operator and sensor that lands images has it::

        # the address of the gallery's page about this task
        SeedreamImagesLink().get_link(operator, ti_key=ti.key)

    Airflow stores the link as an XCom at the end of every try, failed or not. The gallery finds the tasks of
    this provider by these XComs, as their key is part of the index of Airflow's table.
    """

    name = "Images"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The address of the gallery's page about this task instance, relative to Airflow's own.

        :param operator: of the task; not read.
        :param ti_key: of the task instance.
        """
        # Imported here, as every DAG of this provider loads this module.
        from airflow_provider_seedream.model.task_ref import TaskRef

        # Airflow gives the running task instance here. From 3.4 on it has a region: 0 unless it is mapped or
        # in a loop.
        region = getattr(ti_key, "region_id", None)
        known = ti_key.get_template_context() if region is not None and region.int else {}
        return TaskRef.running({"ti": ti_key, "loop": known.get("loop")}).address("task")
