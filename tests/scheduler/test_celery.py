"""G1 and G4 on more than one machine: CeleryExecutor, two workers and two triggerers, of which some are
lost on the way.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from airflow_provider_seedream.tasks.wait_options import MAX_POSTS_AT_ONCE
from tests.airflow.celery import TASKS_PER_WORKER, CeleryCluster, start_celery_cluster
from tests.airflow.cluster import Run
from tests.scheduler.stage import LONG, WAIT_SECONDS, Stage, states
from tools.signals import ending_cleanly

pytestmark = [pytest.mark.scheduler, pytest.mark.timeout(2400)]

MAPPED = 60
WHOLE_MAPPED = 30
ROWS, SHARDS = 400, 4
# of a shard: its long half, and room for some of the others, so it lands and submits in turn
AT_ONCE = ROWS // SHARDS * 3 // 5
# keeps the batches on their workers for seconds, mostly without a POST, however fast the machine
DOWNLOAD_SECONDS = 1.0
# of a batch: short enough to land on its worker what ends soon, long enough to leave it for what does not
POKE_SECONDS = 4
NUM_IMAGES = 2
ANSWER_SECONDS = 0.5  # so that many POSTs of a shard are under way

CHAIN = f"""
prompts = [f"watch {{number}} {LONG}" for number in range({MAPPED})]
submit = SeedreamGenerateOperator.partial(task_id="submit", num_images={NUM_IMAGES}, **USUAL).expand(prompt=prompts)
SeedreamGenerationSensor.partial(task_id="land", **USUAL).expand(generation=submit.output)
"""

WHOLE = f"""
prompts = [f"watch {{number}}" for number in range({WHOLE_MAPPED})]
SeedreamGenerateOperator.partial(task_id="whole", num_images={NUM_IMAGES}, wait=True, **USUAL).expand(prompt=prompts)
"""

BATCH = f"""
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator

def rows(shard):
    return [{{"prompt": f"watch {{shard}} {{number}}" + " {LONG}" * (number % 2)}} for number in range({ROWS // SHARDS})]

batch = SeedreamBatchOperator.partial(task_id="batch", num_images={NUM_IMAGES}, max_in_flight={AT_ONCE}, **USUAL)
batch.expand(requests=[rows(shard) for shard in range({SHARDS})])
"""

WIDE_BATCH = f"""
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator

def rows(shard):
    return [{{"prompt": f"clock {{shard}} {{number}}"}} for number in range({ROWS // SHARDS})]

batch = SeedreamBatchOperator.partial(task_id="batch", max_in_flight={ROWS}, on_error="continue", **USUAL)
batch.expand(requests=[rows(shard) for shard in range({SHARDS})])
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
    lose_worker(stage, cluster, run)
    cluster.start_worker("worker-3")
    stage.wait_for_polls(run, "land", deferred=True, posts=MAPPED)
    lose_triggerer(stage, cluster)
    stage.finish_jobs()
    wait_for_manifests(stage, MAPPED // 3)
    lose_worker(stage, cluster, run)
    run.wait(timeout_seconds=WAIT_SECONDS)
    assert states(run.tasks()) == {"success"}
    stage.assert_landed_once(generations=MAPPED, num_images=NUM_IMAGES)


def test_a_worker_lost_with_posts_on_their_way_leaves_visible_unknowns(
    cluster: CeleryCluster, stage: Stage
) -> None:
    stage.emulator.inject("stall-after-accept", seconds=1.0)
    run = stage.start(WHOLE, deferrable=True, retries=3)
    wait_for_posts(stage, WHOLE_MAPPED // 3)
    victims = cluster.wait(
        "worker-1 runs tasks", lambda: cluster.tasks_of("worker-1", run), timeout_seconds=WAIT_SECONDS
    )
    cluster.kill_worker("worker-1")
    cluster.wait(
        "the run has ended", lambda: run.state in ("success", "failed"), timeout_seconds=WAIT_SECONDS
    )
    unknown = stage.assert_paid_at_most_once(run, generations=WHOLE_MAPPED, num_images=NUM_IMAGES)
    print(f"{len(victims)} tasks lost, {len(unknown)} outcomes unknown")
    assert len(unknown) <= TASKS_PER_WORKER


def test_a_batch_mapped_over_workers_goes_on_where_a_lost_worker_left_it(
    cluster: CeleryCluster, stage: Stage
) -> None:
    stage.emulator.inject("stall", endpoint="download", seconds=DOWNLOAD_SECONDS)
    run = stage.start(BATCH, deferrable=True, retries=3, poke_interval=POKE_SECONDS)
    wait_for_posts(stage, SHARDS * AT_ONCE + ROWS // 20)
    lose_worker(stage, cluster, run)
    wait_for_posts(stage, ROWS)
    cluster.wait("all wait", lambda: states(run.tasks()) == {"deferred"}, timeout_seconds=WAIT_SECONDS)
    lose_triggerer(stage, cluster)
    stage.finish_jobs()
    wait_for_manifests(stage, ROWS // 2 + ROWS // 20)
    cluster.start_worker("worker-3")
    lose_worker(stage, cluster, run)
    run.wait(timeout_seconds=WAIT_SECONDS)
    stage.assert_landed_once(generations=ROWS, num_images=NUM_IMAGES)
    lines = [
        json.loads(line)
        for file in stage.folder.glob("results_*.jsonl")
        for line in file.read_text().splitlines()
    ]
    assert sorted(line["prompt"] for line in lines if line["status"] == "landed") == sorted(
        submission.prompt for submission in stage.emulator.books.submissions
    )


def test_shards_that_lose_a_worker_amid_many_posts_at_once_name_each_unknown_row(
    cluster: CeleryCluster, stage: Stage
) -> None:
    """Four shards with as many POSTs under way as the rate takes; the worker is killed without regard to
    them.
    """
    stage.emulator.inject("stall-after-accept", seconds=ANSWER_SECONDS)
    run = stage.start(WIDE_BATCH, deferrable=True, retries=3, poke_interval=POKE_SECONDS)
    wait_for_posts(stage, ROWS // 4)
    lost = cluster.wait("a worker runs shards", lambda: busiest(cluster, run), timeout_seconds=WAIT_SECONDS)
    with cluster.frozen(lost):
        victims = cluster.tasks_of(lost, run)
        cluster.kill_worker(lost)
    cluster.start_worker("worker-3")
    run.wait(timeout_seconds=WAIT_SECONDS)
    lines = [
        json.loads(line)
        for file in stage.folder.glob("results_*.jsonl")
        for line in file.read_text().splitlines()
    ]
    counted = Counter(line["status"] for line in lines)
    print(f"{len(victims)} shards lost, {counted['unknown']} rows unknown")
    assert counted["landed"] + counted["unknown"] == len(lines) == ROWS
    assert counted["unknown"] <= MAX_POSTS_AT_ONCE * len(victims)
    assert all("It was sent at" in line["detail"] for line in lines if line["status"] == "unknown")
    paid = Counter(submission.prompt for submission in stage.emulator.books.submissions)
    assert set(paid.values()) == {1}
    assert {line["prompt"] for line in lines if line["status"] == "landed"} <= set(paid)
    assert stage.emulator.books.posts_received == paid.total() >= counted["landed"]
    stage.assert_contract_kept()


def busiest(cluster: CeleryCluster, run: Run) -> str | None:
    """The worker that runs most of the tasks; None while no worker runs any."""
    name = max(cluster.workers(), key=lambda name: len(cluster.tasks_of(name, run)))
    return name if cluster.tasks_of(name, run) else None


def lose_worker(stage: Stage, cluster: CeleryCluster, run: Run) -> None:
    """Kill the busiest worker while it runs tasks, at a moment when none of them has a POST on its way."""

    def lost() -> bool:
        name = busiest(cluster, run)
        if name is None:
            return False
        with cluster.frozen(name):
            running = {row.map_index for row in cluster.tasks_of(name, run)}
            if running and not running & in_flight(stage):
                cluster.kill_worker(name)
                print(f"{name} is lost, and with it the tasks {sorted(running)}")
        return name not in cluster.workers()

    cluster.wait("a worker lost", lost, timeout_seconds=WAIT_SECONDS)


def in_flight(stage: Stage) -> set[int]:
    """The map indexes whose claims stand without the id of what was bought."""
    return {record["made_by"]["map_index"] for record in stage.records() if record["outcome"] == "intent"}


def lose_triggerer(stage: Stage, cluster: CeleryCluster) -> None:
    """Kill the triggerer that most tasks wait in, and wait until the other has all of them."""
    held = Counter(row["triggerer_id"] for row in cluster.triggers())
    name, lost = max(cluster.triggerers().items(), key=lambda item: held[item[1]])
    cluster.kill_triggerer(name)
    cluster.wait(
        "taken over",
        lambda: not {row["triggerer_id"] for row in cluster.triggers()} & {lost, None},
        timeout_seconds=WAIT_SECONDS,
    )


def wait_for_manifests(stage: Stage, number: int) -> None:
    stage.cluster.wait(
        f"{number} landed", lambda: len(stage.manifests()) >= number, timeout_seconds=WAIT_SECONDS
    )


def wait_for_posts(stage: Stage, number: int) -> None:
    stage.cluster.wait(
        f"{number} POSTs", lambda: stage.emulator.books.posts >= number, timeout_seconds=WAIT_SECONDS
    )


def living(home: Path) -> list[list[str]]:
    """The command lines of all processes that work in the folder of this Airflow."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(home):
                found.append(process.cmdline())
    return found
