"""G11: the key and the links are nowhere in the whole database and in no log file of a real Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from airflow_provider_seedream.emulator import Emulator, Settings
from tests.airflow.cluster import Cluster
from tests.scheduler.stage import LONG, WAIT_SECONDS, Stage

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(2400)]

KEY = "canary-3f9c27d1e8/b+a"  # would be seen quoted, too
LINK = ("X-Amz-Signature", "X-Amz-Nonce")

# One task for each way the key or a link could get out.
PROMPTS = {
    "lands": "a watch",
    "waits": f"a watch {LONG}",
    "echoes_the_key": "[echo-key]",
    "echoes_it_to_polls": "[status/echo-key]",
    "refused": "[refuse:400]",
    "unanswered": "[reset-after-accept]",
    "expired": "[expired-link]",
    "truncated": "[truncated]",
    "redirected": "[redirect:http://127.0.0.2:9/stolen]",
    "refused_download": "[download/refuse:500]",
    "finished_failed": "[finished-failed]",
}
TASKS = f"""
for task_id, prompt in {PROMPTS!r}.items():
    SeedreamGenerateOperator(task_id=task_id, prompt=prompt, wait=True, **USUAL)
submit = SeedreamGenerateOperator(task_id="submit", prompt="a chain", **USUAL)
SeedreamGenerationSensor(task_id="land", generation=submit.output, **USUAL)
"""


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(Settings.fast(flat_images=True, key=KEY)) as running:
        yield running


def test_key_and_links_are_nowhere(stage: Stage, deferrable: bool) -> None:
    run = stage.start(TASKS, deferrable=deferrable, retries=1)
    others = [task_id for task_id in (*PROMPTS, "submit", "land") if task_id != "waits"]
    ended = ("success", "failed", "upstream_failed")
    stage.cluster.wait(
        "all but one ended",
        lambda: all(run.task(task_id).state in ended for task_id in others),
        timeout_seconds=WAIT_SECONDS,
    )
    assert {task_id for task_id in others if run.task(task_id).state == "success"} == {
        "lands",
        "submit",
        "land",
    }
    state = "deferred" if deferrable else "running"
    stage.cluster.wait("one waits", lambda: run.task("waits").state == state, timeout_seconds=WAIT_SECONDS)
    search(stage.cluster)
    stage.finish_jobs()
    run.wait(state="failed", timeout_seconds=WAIT_SECONDS)
    search(stage.cluster)
    assert stage.emulator.books.key_leaks == ()


def search(cluster: Cluster) -> None:
    assert places_of(cluster, KEY, quote(KEY, safe=""), *LINK) == []
    assert len(places_of(cluster, "[expired-link]")) > 1  # what is there is found


def places_of(cluster: Cluster, *needles: str) -> list[str]:
    """Where one of these texts occurs: files below Airflow's home, columns of every table."""
    files = [path for path in cluster.home.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    places = {str(path) for path in files if _holds(path.read_text(errors="replace"), needles)}
    for table in cluster.tables():
        for row in cluster.sql(f'select * from "{table}"'):
            places |= {f"{table}.{name}" for name, cell in row.items() if _holds(_text(cell), needles)}
    # else they are encrypted, and were not searched
    assert all(row["kwargs"].startswith("{") for row in cluster.triggers())
    return sorted(places)


def _holds(text: str, needles: tuple[str, ...]) -> bool:
    return any(needle in text for needle in needles)


def _text(cell: object) -> str:
    return bytes(cell).decode(errors="replace") if isinstance(cell, bytes | memoryview) else str(cell)
