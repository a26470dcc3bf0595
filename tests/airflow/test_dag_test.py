"""The documented ways to run one DAG without a scheduler, with jobs that end once a trigger has polled them,
so that each wait really defers, however slow the machine.

Slow, as each command is a process with a database. `tests/guarantees/test_g3_resumed_without_arguments.py`
has the details.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from airflow_provider_seedream.emulator import Emulator, Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

DAGS = """
from airflow.sdk import dag, task, DAG
from airflow_provider_seedream.operators.seedream import SeedreamBatchOperator, SeedreamEditOperator, SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamCreditsSensor, SeedreamGenerationSensor

with DAG("waits", schedule=None, default_args={"deferrable": True}) as waits:
    top_up = SeedreamCreditsSensor(task_id="top_up", min_credits=100, poke_interval=0.5)
    draw = SeedreamGenerateOperator(task_id="draw", prompt="a watch", name="hero", wait=True)
    edit = SeedreamEditOperator(task_id="edit", prompt="at night", images=draw.output, wait=True)
    submit = SeedreamGenerateOperator(task_id="submit", prompt="a bag [rate-limited:1*1]")
    land = SeedreamGenerationSensor(task_id="land", generation=submit.output)
    batch = SeedreamBatchOperator(
        task_id="batch",
        requests=[{"prompt": f"a boot {number}", "name": f"boot-{number}"} for number in range(2)],
    )

    @task.seedream(wait=True)
    def say(landed):
        return "a hat"

    top_up >> [draw, submit] >> batch
    say(edit.output)

with DAG("single", schedule=None) as single:
    SeedreamGenerateOperator(
        task_id="draw", prompt="a watch, {{ run_id }}", name="single", wait=True, deferrable=True
    )
"""
WITH_PYTHON = """
import sys
sys.path.insert(0, "dags")
from waits import single
sys.exit(single.test(logical_date=None).state != "success")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Airflow:
    """An empty Airflow: a database, a folder of DAGs, no process of its own."""

    home: Path
    environment: dict[str, str]

    def run(self, *command: str) -> str:
        """A command's output, both streams; it must end well."""
        ended = subprocess.run(
            [sys.executable, *command],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=1200,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def connect(self, emulator: Emulator) -> None:
        """In the database, as people have it: an environment variable would not ask Airflow's API from
        within a trigger.
        """
        extra = json.dumps({"destination": (self.home / "landed").as_uri(), "requests_per_minute": 6000})
        fields = (
            "--conn-type",
            "seedream",
            "--conn-host",
            emulator.url,
            "--conn-password",
            emulator.key,
            "--conn-extra",
            extra,
        )
        self.run("-m", "airflow", "connections", "add", "seedream_default", *fields)


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    home = tmp_path_factory.mktemp("dag-test")
    (home / "dags").mkdir()
    (home / "dags" / "waits.py").write_text(DAGS)
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__SEEDREAM__POKE_INTERVAL": "0.5",
    }
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW", "PYTHONDONTWRITE"))
    }
    airflow = Airflow(home=home, environment={**kept, **settings})
    airflow.run("-m", "airflow", "db", "migrate")
    return airflow


@pytest.fixture(scope="module")
def connected(airflow: Airflow) -> Iterator[Emulator]:
    with Emulator(Settings.fast(seconds_per_image=(3600.0, 3600.0))) as emulator:
        airflow.connect(emulator)
        yield emulator


@pytest.fixture
def emulator(connected: Emulator) -> Iterator[Emulator]:
    """With jobs that end once a trigger has polled them."""
    connected.reset()
    over = threading.Event()
    ending = threading.Thread(target=end_jobs_that_triggers_poll, args=[connected, over])
    ending.start()
    yield connected
    over.set()
    ending.join()


def end_jobs_that_triggers_poll(emulator: Emulator, over: threading.Event) -> None:
    ended: set[str] = set()
    while not over.wait(0.1):
        requests = emulator.books.requests
        polled = {
            one.path for one in requests if one.area == "status" and one.user_agent.endswith("(trigger)")
        }
        for one in emulator.books.submissions:
            if one.seedream_task_id not in ended and any(one.seedream_task_id in path for path in polled):
                emulator.inject("takes", seconds=0, seedream_task_id=one.seedream_task_id)
                ended.add(one.seedream_task_id)


@pytest.fixture
def landed(airflow: Airflow) -> Iterator[Path]:
    """The folder of the images, empty."""
    folder = airflow.home / "landed"
    yield folder
    shutil.rmtree(folder)


def top_up_later(emulator: Emulator) -> None:
    """As somebody who tops up the wallet while a task waits for it."""
    emulator.books.wait_until(lambda books: books.wallet_calls >= 2, timeout_seconds=1200)
    emulator.configure(balance_credits=1000)


class TestAWholeDag:
    def test_a_whole_dag_lands_everything_and_pays_once(
        self, airflow: Airflow, emulator: Emulator, landed: Path
    ) -> None:
        emulator.configure(balance_credits=5)
        threading.Thread(target=top_up_later, args=[emulator], daemon=True).start()
        log = airflow.run("-m", "airflow", "dags", "test", "waits")
        assert (emulator.books.posts, emulator.books.credits_charged, emulator.books.violations) == (
            6,
            60,
            (),
        )
        assert len(list(landed.glob("*_1.png"))) == 6
        assert {"hero_1.png", "boot-0_1.png", "boot-1_1.png"} <= {path.name for path in landed.iterdir()}
        assert log.count("Trigger completed") >= 6
        for waits in (
            "until the wallet holds",
            "until this request may be sent",
            "for seedream task",
            "in flight; waiting",
        ):
            assert waits in log

    def test_a_whole_dag_is_run_from_python_without_a_logical_date(
        self, airflow: Airflow, emulator: Emulator, landed: Path
    ) -> None:
        log = airflow.run("-c", WITH_PYTHON)
        assert (emulator.books.posts, emulator.books.violations, log.count("Trigger completed")) == (1, (), 1)
        assert (landed / "single_1.png").exists()


class TestOneTask:
    def test_one_task_lands_its_images_and_pays_once(
        self, airflow: Airflow, emulator: Emulator, landed: Path
    ) -> None:
        log = airflow.run("-m", "airflow", "tasks", "test", "single", "draw")
        assert (emulator.books.posts, emulator.books.violations) == (1, ())
        assert (landed / "single_1.png").exists()
        assert log.count("Trigger completed") == 1
