"""A mail with the thumbnails for every landed generation, through Airflow's own SMTP notifier and its
connection `smtp_default`.

A callback that fails only leaves a line in the task's log; where the mail matters, send it from a task of its
own.
"""

from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from airflow.sdk import DAG, Context

from airflow_provider_seedream.notifications import landed_message
from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor


def mail(context: Context) -> None:
    with landed_message(context["ti"].xcom_pull(task_ids="land")) as message:
        notifier = SmtpNotifier(
            to="art@example.com",
            from_email="airflow@example.com",
            subject=message.subject,
            html_content=message.html,
            files=message.files,
            mime_subtype="related",  # the pictures belong into the text
        )
        notifier.notify(context)  # and not notifier(context), which would render the prompt as a template


with DAG(
    "example_seedream_mail",
    description="A mail with the thumbnails of each landed generation",
    schedule=None,
    default_args={"retries": 2},
    tags=["seedream"],
):
    submit = SeedreamGenerateOperator(task_id="submit", prompt="a leather watch on a wet stone", num_images=2)
    SeedreamGenerationSensor(
        task_id="land", generation=submit.output, deferrable=True, poke_interval=4, on_success_callback=mail
    )
