"""G1 to G20 at once: a real Airflow, PostgreSQL, two triggerers and S3 in bad weather, and in the morning all
credits add up.

``SEEDREAM_CHAOS_SECONDS=600`` makes it the whole storm: 200 mapped submissions and sensors, 60 with
``wait=True``, two batches.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_seedream.emulator import Emulator, Settings
from tests.airflow.cluster import Cluster, Run, TaskRow, start_cluster
from tests.scheduler.stage import UNLIMITED, WAIT_SECONDS, Stage
from tests.scheduler.weather import Gate, Storm, weather
from tests.stores.servers import Store, missing, s3_client, s3_store
from tools.signals import ending_cleanly

pytestmark = [pytest.mark.scheduler, pytest.mark.stores, pytest.mark.timeout(7200)]

SECONDS = float(os.environ.get("SEEDREAM_CHAOS_SECONDS", "45"))
SHARE = min(1.0, SECONDS / 600)  # of the whole storm
MAPPED, WHOLE, ROWS = (max(least, round(SHARE * most)) for least, most in ((16, 200), (8, 60), (20, 100)))
AWAY_SECONDS = min(30.0, SECONDS / 4)
STOPPED_SECONDS = min(90.0, SECONDS / 3)
REFUSED_SHARE = 0.3
MEAN_SECONDS = 2.0  # between two strikes
SETTLE_SECONDS = 1800.0 + 2 * SECONDS  # for the retries after the storm, on a busy machine

MORNINGS = 3  # on a busy machine an answer may come too late also in fine weather: one more outcome to settle

# An Airflow that notices a lost scheduler within seconds.
SETTINGS = {
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
}

TASKS = f"""
from airflow_provider_seedream.operators.batch import SeedreamBatchOperator

prompts = [f"watch {{number}}" for number in range({MAPPED})]
submit = SeedreamGenerateOperator.partial(task_id="submit", **USUAL).expand(prompt=prompts)
SeedreamGenerationSensor.partial(task_id="land", trigger_rule="all_done", **USUAL).expand(generation=submit.output)
wholes = [f"whole {{number}}" for number in range({WHOLE})]
SeedreamGenerateOperator.partial(task_id="whole", wait=True, num_images=2, **USUAL).expand(prompt=wholes)
for name in ("first", "second"):
    rows = [{{"prompt": f"{{name}} {{number}}"}} for number in range({ROWS})]
    SeedreamBatchOperator(task_id=name, requests=rows, results=name, on_error="continue", max_in_flight=20, **USUAL)
"""


@dataclass(slots=True, kw_only=True)
class Night:
    """What a storm may strike, and how often it did."""

    cluster: Cluster
    run: Run
    gate: Gate
    storm: Storm
    chance: random.Random
    began: float = field(default_factory=time.monotonic)
    next_at: float = 0.0
    struck: Counter[str] = field(default_factory=Counter)
    # what gets well again, and when
    due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def strike(self) -> None:
        """Do one kind of damage, if it is time; what was broken for a while gets well when it is due."""
        now = time.monotonic()
        for at, mend in [one for one in self.due if one[0] <= now]:
            self.due.remove((at, mend))
            mend()
        if not self.struck["API away"] and now > self.began + SECONDS / 3:
            self.shut_api()
        if now < self.next_at:
            return
        self.next_at = now + self.chance.expovariate(1 / MEAN_SECONDS)
        kinds = {self.kill_task: 10, self.stop_task: 3, self.kill_triggerer: 2, self.kill_scheduler: 1}
        kind = self.chance.choices(list(kinds), list(kinds.values()))[0]
        kind()

    def mend(self) -> None:
        """Fine weather again."""
        while self.due:
            self.due.pop(0)[1]()
        self.storm.share = 0.0

    def kill_task(self) -> None:
        if pid := self._victim():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.struck["tasks killed"] += 1

    def stop_task(self) -> None:
        """A task's process stands still, so long that Airflow gives it up, and then goes on."""
        if pid := self._victim():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self.struck["tasks stopped"] += 1
                self.due.append((time.monotonic() + STOPPED_SECONDS, lambda: _go_on(pid)))

    def kill_triggerer(self) -> None:
        name = self.chance.choice(["triggerer", "triggerer-2"])
        self.cluster.kill_triggerer(name)
        self.cluster.spawn(name, ["triggerer", "--skip-serve-logs"])
        self.struck["triggerers killed"] += 1

    def kill_scheduler(self) -> None:
        """With it die all processes of tasks, as on a lost machine."""
        scheduler = self.cluster.children.pop("scheduler")
        scheduler.kill()
        scheduler.stop()
        self.cluster.spawn("scheduler", ["scheduler", "--skip-serve-logs"])
        self.struck["schedulers killed"] += 1

    def shut_api(self) -> None:
        self.gate.shut()
        self.struck["API away"] += 1
        self.due.append((time.monotonic() + AWAY_SECONDS, self.gate.open))

    def _victim(self) -> int | None:
        scheduler = self.cluster.children["scheduler"].pid
        rows = [row for row in self.run.tasks() if row.state == "running" and _is_of(row, scheduler)]
        return self.chance.choice(rows).pid if rows else None


def _is_of(row: TaskRow, scheduler: int) -> bool:
    """Whether the process of this task is one of ours: its number may be another's by now."""
    with suppress(ProcessLookupError):
        return row.pid is not None and os.getsid(row.pid) == scheduler
    return False


def _go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Files:
    """The destination as the store holds it, asked in fine weather."""

    client: Any
    bucket: str
    folder: str

    @classmethod
    def of(cls, store: Store, destination: str) -> Files:
        bucket, _, folder = destination.partition("@")[2].partition("/")
        endpoint = json.loads(store.connection)["extra"]["endpoint_url"]
        return cls(s3_client(endpoint, "seedream", "seedream-secret"), bucket, folder)

    def names(self) -> list[str]:
        """All files, relative to the destination."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"{self.folder}/"
        )
        return [
            one["Key"].removeprefix(f"{self.folder}/") for page in pages for one in page.get("Contents", ())
        ]

    def json(self, *, below: str) -> dict[str, dict[str, Any]]:
        """The JSON files directly in a folder (``""``: the destination itself), by name."""
        found = [name for name in self.names() if name.endswith(".json") and name.rpartition("/")[0] == below]
        return {
            name: json.loads(
                self.client.get_object(Bucket=self.bucket, Key=f"{self.folder}/{name}")["Body"].read()
            )
            for name in found
        }


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    if sentence := missing("s3"):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(sentence)
    with s3_store(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One of its own, as its schedulers die; with two triggerers."""
    with ending_cleanly(), start_cluster(tmp_path_factory.mktemp("chaos-home"), settings=SETTINGS) as cluster:
        cluster.start_triggerer("triggerer-2")
        yield cluster


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Jobs of 2 to 20 s."""
    settings = Settings.fast(flat_images=True, seconds_per_image=(2.0, 10.0), late_assets_seconds=(0.1, 2.0))
    with Emulator(settings) as running:
        yield running


def test_a_night_of_chaos_adds_up_in_the_morning(
    cluster: Cluster, emulator: Emulator, store: Store, tmp_path: Path
) -> None:
    seed = int(os.environ.get("SEEDREAM_KILL_SEED", time.time_ns() % 1_000_000))
    print(f"SEEDREAM_KILL_SEED={seed}")
    chance = random.Random(seed)
    connection = json.loads(store.connection)
    store_port = int(connection["extra"]["endpoint_url"].rpartition(":")[2])
    with ExitStack() as stack:
        gate, storm = stack.enter_context(weather(int(emulator.url.rpartition(":")[2]), store_port, chance))
        destination = store.fresh_place().uri
        connection["extra"]["endpoint_url"] = f"http://127.0.0.1:{storm.port}"
        cluster.add_connection("seedream_s3", **{**connection, "extra": json.dumps(connection["extra"])})
        stage = Stage(cluster=cluster, emulator=emulator, folder=tmp_path, name="chaos")
        extra = {"destination": destination, "request_timeout_seconds": 5, "requests_per_minute": UNLIMITED}
        cluster.add_connection(
            "chaos",
            conn_type="seedream",
            host=f"http://127.0.0.1:{gate.port}",
            password=emulator.key,
            extra=json.dumps(extra),
        )
        balance = emulator.balance_credits
        run = stage.start(TASKS, deferrable=True, retries=30, poke_interval=2)
        night = Night(cluster=cluster, run=run, gate=gate, storm=storm, chance=chance)
        _storm(night, emulator)
        cluster.wait(
            "the run has ended", lambda: run.state in ("success", "failed"), timeout_seconds=SETTLE_SECONDS
        )
        print(f"{dict(night.struck)}, {storm.refused} storage requests refused")
        assert night.struck["tasks killed"] and night.struck["API away"] and storm.refused
        files = Files.of(store, destination)
        for _ in range(MORNINGS):
            print(
                f"{_settle(cluster, emulator, destination, files)} unknown outcomes, settled by the server's "
                "books"
            )
            # what was not paid is paid now, and what is paid lands
            run.clear("submit", "land", "whole", "first", "second")
            cluster.wait(
                "the run has ended again",
                lambda: run.state in ("success", "failed"),
                timeout_seconds=SETTLE_SECONDS,
            )
            if run.state == "success":
                break
        assert run.state == "success", run.logs()[-6000:]
        _assert_each_was_paid_and_landed_once(emulator, files)
        stage.assert_contract_kept()
        done = _airflow(cluster, "reconcile", destination, "--conn-id", "chaos", "--output", "json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["unexplained"] == 0
        assert balance - emulator.balance_credits == emulator.books.credits_charged


def _storm(night: Night, emulator: Emulator) -> None:
    """From the first POST on: damage every few seconds, until the time is over, or the run has ended.

    A busy machine takes long to the first POST, and a task that is killed at its start meets no store: so the
    time is not over before a task was killed and the store has refused something.
    """
    night.cluster.wait("the first POST", lambda: emulator.books.posts, timeout_seconds=WAIT_SECONDS)
    night.began, night.storm.share = time.monotonic(), REFUSED_SHARE

    def is_over() -> bool:
        night.strike()
        has_struck = (
            night.struck["tasks killed"] and night.storm.refused and time.monotonic() - night.began > SECONDS
        )
        return bool(has_struck or night.run.state in ("success", "failed"))

    try:
        night.cluster.wait("the storm is over", is_over, timeout_seconds=SECONDS + WAIT_SECONDS)
    finally:
        night.mend()


def _settle(cluster: Cluster, emulator: Emulator, destination: str, files: Files) -> int:
    """Say of each unknown outcome what the server's books say, as a person with the vendor's page would;
    how many there were.
    """
    ids = {one.prompt: one.seedream_task_id for one in emulator.books.submissions}
    unknown = [
        (name, record["submission"]["prompt"])
        for name, record in files.json(below="_seedream/ledger").items()
        if record["outcome"] in ("intent", "unknown")
    ]
    for name, prompt in unknown:
        said = ["--paid", ids[prompt]] if prompt in ids else ["--not-paid"]
        done = _airflow(cluster, "resolve", f"{destination}/{name}", *said, "--yes", "--conn-id", "chaos")
        assert done.returncode == 0, done.stdout + done.stderr
    return len(unknown)


def _assert_each_was_paid_and_landed_once(emulator: Emulator, files: Files) -> None:
    """Every request of the night: one charge, one record that says landed, one manifest, and all images,
    whole.
    """
    books, generations = emulator.books, MAPPED + WHOLE + 2 * ROWS
    assert {
        Counter(one.prompt for one in books.submissions)[prompt]
        for prompt in {one.prompt for one in books.submissions}
    } == {1}
    assert books.posts == generations
    assert books.credits_charged == 10 * (generations + WHOLE)
    assert books.credits_refunded == 0
    assert Counter(record["outcome"] for record in files.json(below="_seedream/ledger").values()) == {
        "landed": generations
    }
    manifests = {name: one for name, one in files.json(below="").items() if "images" in one}
    assert {one["seedream_task_id"] for one in manifests.values()} == {
        one.seedream_task_id for one in books.submissions
    }
    listed = {image["file"] for one in manifests.values() for image in one["images"]}
    assert {
        name for name in files.names() if "/" not in name and name.endswith(".png") and ".thumb." not in name
    } == listed
    assert len(listed) == generations + WHOLE


def _airflow(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command of ours, as a person on this Airflow would give it."""
    argv = [sys.executable, "-m", "airflow", "seedream", *arguments]
    return subprocess.run(
        argv, env=cluster.env, cwd=cluster.home, capture_output=True, text=True, timeout=900, check=False
    )
