"""The public API as users write it; mypy --strict checks it, nothing runs it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import task

from airflow_provider_seedream import __version__
from airflow_provider_seedream.decorators.seedream import seedream_edit_task
from airflow_provider_seedream.emulator import Books, Emulator, Fault, Settings
from airflow_provider_seedream.exceptions import (
    Paid,
    SeedreamAPIError,
    SeedreamError,
    SeedreamLandingError,
    SeedreamRateLimitError,
)
from airflow_provider_seedream.gallery import approval_markdown, chosen_rows, contact_sheets
from airflow_provider_seedream.generations import (
    Accepted,
    Generation,
    GenerationStatus,
    LandedGeneration,
    Wallet,
)
from airflow_provider_seedream.hooks.seedream import SeedreamHook
from airflow_provider_seedream.manifest import Manifest
from airflow_provider_seedream.model.contract import ImageSize, Kind
from airflow_provider_seedream.model.submissions import Submission, build_submission
from airflow_provider_seedream.notifications import LandedMessage, landed_message
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator
from airflow_provider_seedream.operators.seedream import SeedreamEditOperator, SeedreamGenerateOperator
from airflow_provider_seedream.provider_info import get_provider_info
from airflow_provider_seedream.reconciliation import Statement, reconcile
from airflow_provider_seedream.retry_policy import SeedreamRetryPolicy
from airflow_provider_seedream.sensors.seedream import SeedreamCreditsSensor, SeedreamGenerationSensor
from airflow_provider_seedream.tables import ResultsTable, SqlTable

version: str = __version__
shown: str = approval_markdown({"schema_version": 1})
pages: list[dict[str, Any]] = contact_sheets(
    "s3://aws_default@bucket/results.jsonl", label="sku", per_page=12
)
chosen: list[dict[str, Any]] = chosen_rows(
    "s3://aws_default@bucket/results.jsonl", pages, [{"chosen_options": ["All on this page"]}]
)
statement: Statement = reconcile(
    ["s3://aws_default@bucket/watches"], seedream_conn_id="seedream_default", since="2026-11-28"
)
told: str = statement.text
info: dict[str, Any] = get_provider_info()


def operators() -> None:
    submit = SeedreamGenerateOperator(task_id="submit", prompt="a leather watch, {{ ds }}")
    SeedreamGenerateOperator(
        task_id="everything",
        prompt="a fox",
        image_size="landscape_16_9",
        num_images="{{ params.n }}",
        seed=None,
        enable_safety_checker=True,
        take=2,
        destination="s3://aws_default@bucket/watches/{{ ds }}",
        name="hero",
        seedream_conn_id="seedream_default",
        on_unknown_submit="fail",
        wait=True,
        deferrable=True,
        poke_interval=timedelta(seconds=5),
        timeout=600,
        on_partial="accept",
        max_image_bytes=1,
        settling_seconds=60.0,
        announce="generation",
        retries=2,
    )
    SeedreamEditOperator(task_id="edit", prompt="make it red", images=["s3://bucket/a.png"])
    land = SeedreamGenerationSensor(task_id="land", generation=submit.output, deferrable=True, soft_fail=True)
    SeedreamGenerationSensor(
        task_id="rescue", generation="0b8c1f0e", destination="/data", poke_interval=timedelta(seconds=5)
    )
    SeedreamCreditsSensor(
        task_id="top_up",
        min_credits="{{ params.price }}",
        poke_interval=timedelta(minutes=5),
        deferrable=True,
    )
    SeedreamGenerateOperator(
        task_id="budget",
        prompt="a fox",
        max_credits=100,
        max_credits_per_run="{{ params.budget }}",
        labels={"team": "shop"},
    )
    SeedreamEditOperator(task_id="chained", prompt="make it blue", images=land.output)
    SeedreamBatchOperator(
        task_id="batch",
        requests=[{"prompt": "a fox", "sku": 7}],
        template="{{ prompt }}, {{ ds }}",
        results="night",
        parquet=True,
        max_in_flight=300,
        max_credits="{{ params.budget }}",
        on_error="continue",
        reuse="content",
        dry_run=True,
        deferrable=True,
        poke_interval=timedelta(seconds=10),
        timeout=timedelta(minutes=30),
    )
    SeedreamBatchOperator(
        task_id="query", requests=SqlTable(sql="SELECT prompt FROM catalogue", conn_id="warehouse")
    )
    rows = ResultsTable(table="a.b", conn_id="warehouse", key=["day", "sku"])
    SeedreamBatchOperator(task_id="rows", requests=[], results_table=rows)
    SeedreamBatchOperator.partial(task_id="shards").expand(
        requests=["s3://bucket/a.csv", "s3://bucket/b.parquet"]
    )
    SeedreamGenerateOperator.partial(task_id="mapped").expand(prompt=["a", "b"])


def decorators() -> None:
    @task.seedream(image_size="square", wait=True)
    def draw(product: str) -> str:
        return f"a {product}"

    @seedream_edit_task(images=["s3://bucket/a.png"], retries=2)
    def recolour(colour: str) -> dict[str, Any]:
        return {"prompt": f"make it {colour}"}

    draw("watch")
    recolour.expand(colour=["red", "blue"])


def retries() -> None:
    policy = SeedreamRetryPolicy(top_up_delay=timedelta(minutes=10), longest_delay=timedelta(hours=1))
    SeedreamGenerateOperator(task_id="patient", prompt="a fox", retries=20, retry_policy=policy)


def hook() -> None:
    size: ImageSize = "auto_2K"
    kind: Kind = "generate"
    submission: Submission = build_submission(
        kind=kind,
        prompt="a fox",
        image_size=size,
        num_images=1,
        seed=None,
        enable_safety_checker=True,
        take=1,
    )
    api = SeedreamHook("seedream_default", max_attempts=2)
    accepted: Accepted = api.submit(submission)
    status: GenerationStatus = api.get_generation(accepted.seedream_task_id)
    wallet: Wallet = api.get_wallet()
    works, text = api.test_connection()
    print(status.images_ready + 1, wallet.balance.upper(), works is True, text.upper())


def values(xcom: dict[str, Any], data: bytes) -> None:
    generation: Generation = Generation.from_dict(xcom)
    landed: LandedGeneration = LandedGeneration.from_dict(xcom)
    manifest: Manifest = Manifest.from_json(data)
    names: list[str] = [image.uri for image in landed.images]
    back: dict[str, Any] = generation.to_dict()
    print(names, back, manifest.missing_images + 1)


def errors(error: SeedreamError) -> None:
    paid: Paid = error.paid
    task_id: str | None = error.seedream_task_id
    if isinstance(error, SeedreamAPIError):
        status: int | None = error.status_code
        code: str | None = error.code
        print(status, code)
    if isinstance(error, SeedreamRateLimitError):
        wait: float | None = error.retry_after_seconds
        print(wait)
    if isinstance(error, SeedreamLandingError):
        stale: bool = error.stale_link
        print(stale)
    print(paid, task_id)


def message(landed: LandedGeneration) -> None:
    with landed_message(landed.to_dict(), max_bytes=1_000_000) as made:
        known: LandedMessage = made
        files: list[str] = known.files
        print(known.subject, known.html, known.text, files)


def emulator() -> None:
    with Emulator(Settings.fast(balance_credits=30)) as running:
        running.inject("refuse", endpoint="status", status=503, times=3)
        running.inject(Fault("fail", prompt_contains="fox"))
        books: Books = running.books
        credits_spent: int = books.credits_charged
        url: str = running.url
        print(url, credits_spent)
