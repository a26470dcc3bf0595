"""What a scheduler test stands on: the session's Airflow, an emulator of its own, a folder, and DAGs of a few
lines.

DAGs find the emulator through a connection of the test's own, so nothing of an earlier test can disturb its
books.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any

from airflow_provider_seedream.emulator import Emulator
from tests.airflow.cluster import Cluster, Run, TaskRow

DAG = """
import datetime
from pathlib import Path

from airflow.sdk import DAG, task

from airflow_provider_seedream.operators.seedream import SeedreamGenerateOperator
from airflow_provider_seedream.sensors.seedream import SeedreamGenerationSensor

USUAL = {usual!r}

with DAG({dag_id!r}, schedule=None):
{tasks}
"""

# for anything to happen: on a quiet machine all takes below 30 s, on a crowded one ten times that and more
WAIT_SECONDS = 600

UNLIMITED = 100_000  # requests a minute; what is unknown would be taken for 3

# A job that ends when the test says so, by `Stage.finish_jobs`.
LONG = "[takes:3000]"
_LONG_SECONDS = 3001.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One test's surroundings; `name` is that of its DAG and of its connection."""

    cluster: Cluster
    emulator: Emulator
    folder: Path
    name: str

    def connect(self, **extra: Any) -> None:
        """The connection of this test's DAGs; keyword arguments become further extras."""
        extras = {
            "destination": f"file://{self.folder}",
            "request_timeout_seconds": 5,
            "requests_per_minute": UNLIMITED,
            **extra,
        }
        self.cluster.add_connection(
            self.name,
            conn_type="seedream",
            host=self.emulator.url,
            password=self.emulator.key,
            extra=json.dumps(extras),
        )

    def start(
        self, tasks: str, *, dag_id: str | None = None, conf: dict[str, Any] | None = None, **usual: Any
    ) -> Run:
        """Run a DAG of these tasks; `USUAL` are the arguments that all of them take, among them those
        given here.
        """
        dag_id = dag_id or self.name
        common = {
            "seedream_conn_id": self.name,
            "poke_interval": 1,
            "retries": 2,
            "retry_delay": 0.0,
            **usual,
        }
        self.cluster.add_dag(dag_id, DAG.format(dag_id=dag_id, usual=common, tasks=indent(tasks, "    ")))
        return self.cluster.trigger(dag_id, conf=conf)

    def wait_for_polls(self, run: Run, *task_ids: str, deferred: bool, posts: int) -> None:
        """Wait until these tasks are waiting, and each of so many generations has been polled where the
        tasks wait.
        """
        state, agent = ("deferred", "(trigger)") if deferred else ("running", "")

        def waiting() -> bool:
            rows = [row for row in run.tasks() if row.task_id in task_ids]
            assert not [row for row in rows if row.state in ("failed", "success")], (
                f"{rows}\n{run.logs()[-6000:]}"
            )
            return {row.state for row in rows} == {state} and len(self.polled(agent)) == posts

        self.cluster.wait(f"{task_ids} {state}", waiting, timeout_seconds=WAIT_SECONDS)

    def polled(self, agent: str = "") -> set[str]:
        """The status paths that were asked for, by callers whose User-Agent ends like this."""
        return {request.path for request in self.polls(agent)}

    def polls(self, agent: str = "") -> list[Any]:
        calls = self.emulator.books.requests
        return [
            request for request in calls if request.area == "status" and request.user_agent.endswith(agent)
        ]

    def finish_jobs(self) -> None:
        """End every `LONG` job, with its images ready."""
        self.emulator.clock.advance(_LONG_SECONDS)

    def records(self) -> list[dict[str, Any]]:
        return _read(self.folder.glob("_seedream/ledger/*.json"))

    def manifests(self) -> list[dict[str, Any]]:
        return _read(self.folder.glob("*.json"))

    def images(self) -> list[str]:
        """The names of the landed images, thumbnails not counted."""
        return sorted(file.name for file in self.folder.glob("*.png") if ".thumb." not in file.name)

    def assert_landed_once(self, *, generations: int, num_images: int) -> None:
        """So many generations were paid for, once each, and lie in the folder; only workers spent
        anything.
        """
        books = self.emulator.books
        assert books.posts_received == books.posts == generations
        assert books.credits_charged == 10 * generations * num_images
        assert len(self.images()) == generations * num_images
        assert {manifest["seedream_task_id"] for manifest in self.manifests()} == {
            submission.seedream_task_id for submission in books.submissions
        }
        assert [record["outcome"] for record in self.records()] == ["landed"] * generations
        self.assert_contract_kept()

    def assert_paid_at_most_once(self, run: Run, *, generations: int, num_images: int) -> set[str]:
        """Every mapped task `watch <map index>` has landed, or has failed over an unknown outcome that it
        names: their prompts.
        """
        paid = Counter(submission.prompt for submission in self.emulator.books.submissions)
        assert set(paid.values()) == {1}
        assert self.emulator.books.posts_received == self.emulator.books.posts == paid.total() <= generations
        records = {record["submission"]["prompt"]: record for record in self.records()}
        assert len(records) == generations
        unknown = {prompt for prompt, record in records.items() if record["outcome"] != "landed"}
        print(f"{len(unknown)} unknown outcomes, {paid.total()} POSTs")
        assert {records[prompt]["outcome"] for prompt in unknown} <= {"intent", "unknown"}
        assert len(self.manifests()) == generations - len(unknown)
        assert len(self.images()) == num_images * (generations - len(unknown))
        for row in run.tasks():
            prompt = f"watch {row.map_index}"
            assert row.state == ("failed" if prompt in unknown else "success"), (
                f"{row} {json.dumps(records[prompt])}"
            )
        log = run.logs()
        assert all(f"{records[prompt]['key']}.json" in log for prompt in unknown)
        self.assert_contract_kept()
        return unknown

    def assert_contract_kept(self) -> None:
        """The triggerer only polled, the key stayed with the API, and no request broke the contract."""
        books = self.emulator.books
        methods = books.methods_by_user_agent
        assert all(set(methods[agent]) == {"GET"} for agent in methods if agent.endswith("(trigger)"))
        assert books.violations == ()
        assert books.key_leaks == ()


def states(rows: Iterable[TaskRow]) -> set[str | None]:
    return {row.state for row in rows}


def _read(files: Iterable[Path]) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(files)]
