"""The question about the rest of a table: the sample's rows as pictures, how they ended, and what a yes would
cost.

Reads the manifests of the sample, and publishes its rows as a table: the gallery shows a batch by its table.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_seedream.batch.plan import Plan
from airflow_provider_seedream.batch.progress import Progress
from airflow_provider_seedream.batch.sampling import elapsed, outlook, subject_of
from airflow_provider_seedream.batch.sheets import shown_of, summary, tables, without_pictures
from airflow_provider_seedream.bounds import Sample
from airflow_provider_seedream.model.counting import counted
from airflow_provider_seedream.model.task_ref import TaskRef
from airflow_provider_seedream.tasks.asking import MAX_BODY_BYTES, Question

PICTURES = 24  # at most; the gallery shows all of them


def sample_table(results: str) -> str:
    """The stem of the table with the sample's rows.

    :param results: the stem of the whole table.
    """
    return f"{results}_sample"


def question_about(
    lines: Sequence[Mapping[str, Any]],
    progress: Progress,
    plan: Plan,
    *,
    by: TaskRef,
    sample: Sample,
    file: str,
    per_minute: float,
) -> Question:
    """The question, with as many pictures as fit into a text of Airflow's database.

    :param lines: of the sample's rows, as in the table of results.
    :param plan: of the rest of the table.
    :param by: the batch; its name is in the headline, and its page in the gallery has all pictures.
    :param file: with the progress, for the answer.
    :param per_minute: requests that the key allows.
    """
    rows = [dict(line) for line in lines]
    shown, odd = shown_of(rows, None)
    head = [
        f"A sample of {summary(rows)}",
        outlook(plan, per_minute=per_minute),
        elapsed(sample.response_timeout),
    ]
    foot = without_pictures(rows, odd)
    for most in range(min(len(shown), PICTURES), -1, -1):
        more = f"[{counted(len(shown) - most, 'more picture', 'are')} in the gallery.]({by.address('task')})"
        body = "\n\n".join([*head, *tables(shown[:most]), *([more] if most < len(shown) else []), *foot])
        if len(body.encode()) <= MAX_BODY_BYTES:
            break
    return Question(
        subject=subject_of(by.task_id, progress),
        body=body,
        progress=file,
        timeout=sample.response_timeout,
        notifiers=sample.notifiers,
        assigned_users=sample.assigned_users,
    )
