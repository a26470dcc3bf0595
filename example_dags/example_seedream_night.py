"""A whole night: a table within a budget, its images on contact sheets, a person's choice, and only the
chosen ones published.

Rows over the budget and rows that failed stop nobody. The pictures need `[seedream] gallery_roots`; the mail
needs `smtp_default`.
"""

from pathlib import Path
from typing import Any

from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, Context, ObjectStoragePath, XComArg, task

from airflow_provider_seedream.gallery import chosen_rows, contact_sheets
from airflow_provider_seedream.notifications import landed_message
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator

TABLE = Path(__file__).parent / "sources" / "catalogue.csv"


@task
def sheets(results: Any) -> list[dict[str, Any]]:
    return contact_sheets(results, label="sku")


def mail(context: Context) -> None:
    published = context["ti"].xcom_pull(task_ids="publish")
    if not published:
        return
    with landed_message(published) as message:
        notifier = SmtpNotifier(
            to="art@example.com",
            from_email="airflow@example.com",
            subject=message.subject,
            html_content=message.html,
            files=message.files,
            mime_subtype="related",  # the pictures belong into the text
        )
        notifier.notify(context)  # and not notifier(context), which would render the prompts as templates


@task(on_success_callback=mail)
def publish(results: Any, pages: Any, answers: Any) -> list[dict[str, Any]]:
    chosen = chosen_rows(results, pages, answers)
    for row in chosen:
        for uri in row["images"]:
            folder, _, name = uri.rpartition("/")
            target = ObjectStoragePath(f"{folder}/public/{name}")  # here the bucket that your web site reads
            target.parent.mkdir(parents=True, exist_ok=True)
            with ObjectStoragePath(uri).open("rb") as file:
                # whole before anything is written: a file system keeps what a failed copy has written
                data = file.read()
            with target.open("wb") as file:
                file.write(data)
    return chosen


with DAG(
    "example_seedream_night",
    description="A whole night: a table within a budget, contact sheets, a person's choice, publication",
    schedule=None,
    default_args={"retries": 2},
    params={"table": TABLE.as_uri(), "max_credits": 30},
    tags=["seedream"],
):
    images = SeedreamBatchOperator(
        task_id="images",
        requests="{{ params.table }}",
        template="a {{ product }} on {{ background | default('a plain table') }}, morning light",
        image_size="landscape_4_3",
        results="night-{{ dag_run.run_after | ts_nodash }}",
        max_credits="{{ params.max_credits }}",
        on_error="continue",
        deferrable=True,
    )
    results = XComArg(images, "results")
    pages = sheets(results)
    choose = HITLOperator.partial(task_id="choose", multiple=True).expand_kwargs(pages)
    publish(results, pages, choose.output)
