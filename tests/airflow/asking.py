"""When a question to a person may be answered: once Airflow's scheduler knows that the process which asked
has ended.

An answer before that starts the task again while the end of its first process is on its way. Airflow 3.3.2
then takes that end for the death of the second one, and begins another try (``process_executor_events`` in
``scheduler_job_runner.py`` excepts such a task only until it is queued). No person is that quick; a test is.
"""

from __future__ import annotations

from tools.local_airflow import LocalAirflow


def asker_has_ended(airflow: LocalAirflow, dag_id: str, run_id: str, task_id: str) -> bool:
    """True if the scheduler has noticed the end of every process of this task: one may have deferred
    before another asked.
    """
    key = f"TaskInstanceKey(dag_id='{dag_id}', task_id='{task_id}', run_id='{run_id}',"
    fields = {f"dag_id={dag_id}", f"run_id={run_id}", f"task_id={task_id}"}
    lines = (airflow.home / "scheduler.log").read_text(errors="replace").splitlines()
    # the first line of a process
    begun = sum("DAG bundles loaded" in line and fields <= set(line.split()) for line in lines)
    ended = sum(
        any(f"executor event with state {state} " in line for state in ("success", "failed")) and key in line
        for line in lines
    )
    return ended >= max(1, begun)
