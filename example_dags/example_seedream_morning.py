"""Every morning the wallet of the night is explained by the ledgers; a mail goes out if it does not add up or
a person is needed.

It reads and pays nothing. Name all folders that the key pays for: the credits of the others are unexplained.
"""

from datetime import timedelta
from html import escape
from typing import Any

from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from airflow.sdk import DAG, get_current_context, task

from airflow_provider_seedream.reconciliation import reconcile

FOLDERS = None  # e.g. ["s3://aws_default@my-bucket/watches"]; None: the destination of the connection


@task
def explain() -> dict[str, Any]:
    context = get_current_context()
    evening = context["dag_run"].run_after - timedelta(hours=13)
    statement = reconcile(FOLDERS, since=evening.isoformat(), recursive=True)
    if statement.needs_a_person:
        mail = SmtpNotifier(
            to="art@example.com",
            from_email="airflow@example.com",
            subject=f"Seedream: {statement.unexplained} credits unexplained, {len(statement.duties)} things "
            "to do",
            html_content=f"<pre>{escape(statement.text)}</pre>",
        )
        mail.notify(context)  # and not mail(context), which would render prompts as templates
    return {"adds_up": statement.adds_up, "charged": statement.charged, "text": statement.text}


with DAG(
    "example_seedream_morning",
    description="Explains every credit of the night, and mails what a person has to do",
    schedule="0 7 * * *",
    catchup=False,
    default_args={"retries": 2},
    tags=["seedream"],
):
    explain()
