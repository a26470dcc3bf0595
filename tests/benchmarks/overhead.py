"""From "ready", by the server's clock, to "landed": seconds, and seconds of worker slots, in a real Airflow.

Slots are counted by looking at Airflow's table five times a second, so short tasks are seen in the sum only.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_seedream.emulator import Emulator
from tests.airflow.cluster import ENDED, Cluster, Run
from tests.benchmarks.overhead_dags import DAGS, HEAD

LOOKS_PER_SECOND = 5
SHORTEST_SECONDS, LONGEST_SECONDS = 20, 40  # of the jobs, evenly [doc]
LATE_SECONDS = 0.1  # links after FINISHED
WHOLE_TABLE = -1  # the map index of a task that is not mapped


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """Per image, from ready to landed: the median delay, the longest, and slot seconds; and all slot
    seconds of the run.
    """

    delay_seconds: float
    longest_seconds: float
    slot_seconds: float
    all_slot_seconds: float
    status_calls: float


def measure_overhead(
    cluster: Cluster, emulator: Emulator, folder: Path, name: str, dag_id: str, *, images: int
) -> Overhead:
    emulator.books.clear()
    takes = [
        round(SHORTEST_SECONDS + (LONGEST_SECONDS - SHORTEST_SECONDS) * (number + 0.5) / images, 1)
        for number in range(images)
    ]
    prompts = [f"{dag_id} {number} [takes:{seconds:g}]" for number, seconds in enumerate(takes)]
    head = HEAD.format(prompts=prompts, url=emulator.url, key=emulator.key, folder=str(folder), dag_id=dag_id)
    cluster.add_dag(dag_id, head + DAGS[name], timeout_seconds=180)
    looks = list(_running(cluster, cluster.trigger(dag_id)))
    index = {s.seedream_task_id: int(s.prompt.split()[1]) for s in emulator.books.submissions}
    ready = {
        s.seedream_task_id: s.at + takes[index[s.seedream_task_id]] + LATE_SECONDS
        for s in emulator.books.submissions
    }
    landed = {seedream_task_id: _landed_epoch(folder, seedream_task_id) for seedream_task_id in ready}
    delays = [landed[one] - at for one, at in ready.items()]
    ready_at = {index[one]: at for one, at in ready.items()} | {WHOLE_TABLE: min(ready.values())}
    after = sum(seconds for at, map_index, seconds in looks if at > ready_at[map_index])
    calls = sum(request.area == "status" for request in emulator.books.requests)
    return Overhead(
        delay_seconds=statistics.median(delays),
        longest_seconds=max(delays),
        slot_seconds=after / images,
        all_slot_seconds=sum(seconds for _, _, seconds in looks) / images,
        status_calls=calls / images,
    )


def _running(cluster: Cluster, run: Run) -> Iterator[tuple[float, int, float]]:
    """When, which map index, and for how long: each task instance that holds a slot, until the run has
    ended.
    """
    before, give_up = time.time(), time.time() + 300
    while (state := run.state) not in ENDED:
        if time.time() > give_up:
            raise RuntimeError(f"{run.dag_id} is still {state}: {run.tasks()}\n{run.logs()[-4000:]}")
        time.sleep(1 / LOOKS_PER_SECOND)
        now = time.time()
        for row in run.tasks():
            if row.state == "running":
                yield now, row.map_index, now - before
        before = now
    if state != "success":
        raise RuntimeError(f"{run.dag_id} is {state}: {run.logs()[-6000:]}")


def _landed_epoch(folder: Path, seedream_task_id: str) -> float:
    """When the last file about this generation was written: its manifest where there is one."""
    files = [file for file in folder.iterdir() if file.is_file() and seedream_task_id in file.name]
    return max(file.stat().st_mtime for file in files)
