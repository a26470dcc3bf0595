"""G1 and G4 on more than one machine: CeleryExecutor, two workers and two triggerers, of which some are lost on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.airflow.celery import TASKS_PER_WORKER, CeleryCluster, start_celery_cluster
from tests.airflow.cluster import Run, TaskRow
from tests.scheduler.stage import LONG, WAIT_SECONDS, Stage, states
from tools.signals import ending_cleanly

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(900)]

MAPPED = 60
WHOLE_MAPPED = 40
NUM_IMAGES = 2

CHAIN = f"""
prompts = [f"watch {{number}} {LONG}" for number in range({MAPPED})]
submit = SeedreamGenerateOperator.partial(task_id="submit", num_images={NUM_IMAGES}, **USUAL).expand(prompt=prompts)
SeedreamGenerationSensor.partial(task_id="land", **USUAL).expand(generation=submit.output)
"""

WHOLE = f"""
prompts = [f"watch {{number}}" for number in range({WHOLE_MAPPED})]
SeedreamGenerateOperator.partial(task_id="whole", num_images={NUM_IMAGES}, wait=True, **USUAL).expand(prompt=prompts)
"""


@pytest.fixture(scope="module")
def running_celery_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CeleryCluster]:
    """One for all tests here; nothing of it may be alive afterwards."""
    home = tmp_path_factory.mktemp("celery-home")
    with ending_cleanly(), start_celery_cluster(home) as cluster:
        yield cluster
    assert living(home) == []


@pytest.fixture
def cluster(running_celery_cluster: CeleryCluster) -> Iterator[CeleryCluster]:
    """Two workers and two triggerers before each test."""
    running_celery_cluster.restore()
    yield running_celery_cluster
    running_celery_cluster.end_runs()


def test_lost_workers_and_a_lost_triggerer_cost_nothing(cluster: CeleryCluster, stage: Stage) -> None:
    run = stage.start(CHAIN, deferrable=True, retries=3)
    wait_for_posts(stage, MAPPED // 3)
    submitting = lose_worker(stage, cluster, run, "worker-1")
    cluster.start_worker("worker-3")
    stage.wait_for_looks(run, "land", deferred=True, posts=MAPPED)
    lose_triggerer(stage, cluster)
    stage.finish_jobs()
    cluster.wait("some have landed", lambda: len(stage.manifests()) > MAPPED // 3, timeout_seconds=WAIT_SECONDS)
    landing = lose_worker(stage, cluster, run, "worker-2")
    run.wait(timeout_seconds=WAIT_SECONDS)
    print(f"lost while they submitted: {len(submitting)}, while they landed: {len(landing)}")
    assert states(run.tasks()) == {"success"}
    stage.assert_landed_once(generations=MAPPED, num_images=NUM_IMAGES)


def test_a_worker_lost_with_posts_on_their_way_leaves_visible_unknowns(cluster: CeleryCluster, stage: Stage) -> None:
    stage.emulator.inject("stall-after-accept", seconds=1.0)
    run = stage.start(WHOLE, deferrable=True, retries=3)
    wait_for_posts(stage, WHOLE_MAPPED // 3)
    victims = cluster.wait("worker-1 runs tasks", lambda: cluster.tasks_of("worker-1", run), timeout_seconds=WAIT_SECONDS)
    cluster.kill_worker("worker-1")
    cluster.wait("the run has ended", lambda: run.state in ("success", "failed"), timeout_seconds=WAIT_SECONDS)
    unknown = stage.assert_paid_at_most_once(run, generations=WHOLE_MAPPED, num_images=NUM_IMAGES)
    print(f"{len(victims)} tasks lost, {len(unknown)} outcomes unknown")
    assert len(unknown) <= TASKS_PER_WORKER


def lose_worker(stage: Stage, cluster: CeleryCluster, run: Run, name: str) -> list[TaskRow]:
    """Kill a worker while it runs tasks, at a moment when none of them has a POST on its way. What it ran."""

    def lost() -> list[TaskRow]:
        with cluster.frozen(name):
            rows = cluster.tasks_of(name, run)
            if not rows or {row.map_index for row in rows} & in_flight(stage):
                return []
            cluster.kill_worker(name)
            return rows

    return cluster.wait(f"{name} lost", lost, timeout_seconds=WAIT_SECONDS)


def in_flight(stage: Stage) -> set[int]:
    """The map indexes whose claims stand without the id of what was bought."""
    return {record["made_by"]["map_index"] for record in stage.records() if record["outcome"] == "intent"}


def lose_triggerer(stage: Stage, cluster: CeleryCluster) -> None:
    """Kill the triggerer that most generations wait in, and wait until the other has looked at every one of them."""
    held = Counter(row["triggerer_id"] for row in cluster.triggers())
    name, lost = max(cluster.triggerers().items(), key=lambda item: held[item[1]])
    cluster.kill_triggerer(name)
    seen, waiting = len(stage.looks("(trigger)")), held.total()

    def taken_over() -> bool:
        looked_at = {look.path for look in stage.looks("(trigger)")[seen:]}
        return lost not in {row["triggerer_id"] for row in cluster.triggers()} and len(looked_at) == waiting

    cluster.wait("the other looks at all", taken_over, timeout_seconds=WAIT_SECONDS)


def wait_for_posts(stage: Stage, number: int) -> None:
    stage.cluster.wait(f"{number} POSTs", lambda: stage.emulator.books.posts >= number, timeout_seconds=WAIT_SECONDS)


def living(home: Path) -> list[list[str]]:
    """The command lines of all processes that work for the Airflow of this folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("AIRFLOW_HOME") == str(home):
                found.append(process.cmdline())
    return found
